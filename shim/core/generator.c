#include "generator.h"

#include "burst.h"
#include "forked.h"
#include "handler.h"

static void send_exception(nrpy_exchange *exchange, const nrpy_source *source) {
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, NULL);
    nrpy_exchange_reply(exchange, &reply, true);
}

/* Runs the generator's finally blocks. Returns whether they went well; the failure was sent otherwise. */
static bool close_generator(nrpy_exchange *exchange, const nrpy_source *source, PyObject *generator) {
    PyObject *closed = PyObject_CallMethod(generator, "close", NULL);
    nrpy_author_returned(closed);
    if (closed == NULL) {
        send_exception(exchange, source);
        return false;
    }
    Py_DECREF(closed);
    return true;
}

/* Sends what is kept and then `reply`, which it takes. Returns whether the generator is to be asked for another frame. */
static bool send_frame(nrpy_exchange *exchange, nrpy_burst *burst, nrpy_reply *reply) {
    bool taken = nrpy_burst_send(burst);
    bool terminal = nrpy_exchange_is_terminal(exchange, reply->status);
    taken &= nrpy_exchange_reply(exchange, reply, true);
    return taken && !terminal && !nrpy_exchange_has_ended(exchange);
}

/* A frame that the generator has given. Returns whether it is to be asked for another. */
static bool take_frame(nrpy_exchange *exchange, nrpy_burst *burst, const nrpy_source *source, PyObject *value) {
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, value);
    if (!nrpy_burst_keep(burst, &reply)) {
        return send_frame(exchange, burst, &reply);
    }
    return !nrpy_burst_is_full(burst) || (nrpy_burst_send(burst) && !nrpy_exchange_has_ended(exchange));
}

/* Nobody wants more of it. */
static void end_cancelled(nrpy_exchange *exchange, const nrpy_source *source, PyObject *generator) {
    if (close_generator(exchange, source, generator) && !nrpy_exchange_has_ended(exchange)) {
        nrpy_stream_send_end(exchange);
    }
}

/* It has returned `value`, taken, or raised: then NULL, and the exception is set. That one becomes its reply before the
 * frames in hand are sent: the host may be Python itself, on this thread. */
static void end_finished(nrpy_exchange *exchange, nrpy_burst *burst, const nrpy_source *source, PyObject *value) {
    nrpy_reply end = {.status = NR_STREAM_END, .bytes = "", .length = 0};
    if (value != NULL && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "a generator handler must not return a value: yield it as a frame");
    }
    if (value != Py_None) {
        nrpy_reply_make(&end, source, NULL);
    }
    Py_XDECREF(value);
    (void)send_frame(exchange, burst, &end);
}

/* Until it ends, or the host has enough frames for now. */
static void make_frames(nrpy_exchange *exchange, nrpy_burst *burst, PyObject *generator) {
    nrpy_source source = nrpy_source_of(exchange->instance, exchange->entry, exchange->sid);
    while (burst->count > 0 || !nrpy_exchange_park(exchange, generator)) {
        if (nrpy_exchange_is_cancelled(exchange)) {
            (void)nrpy_burst_send(burst);
            end_cancelled(exchange, &source, generator);
            return;
        }
        PyObject *value;
        PySendResult result = nrpy_burst_pull(burst, generator, &value);
        if (result != PYGEN_NEXT) {
            nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER);
            end_finished(exchange, burst, &source, result == PYGEN_RETURN ? value : NULL);
            return;
        }
        if (!take_frame(exchange, burst, &source, value)) {
            close_generator(exchange, &source, generator);
            return;
        }
    }
}

/* Takes `generator`. */
static void run_frames(nrpy_exchange *exchange, PyObject *generator) {
    nrpy_burst burst;
    nrpy_burst_begin(&burst, exchange);
    make_frames(exchange, &burst, generator);
    nrpy_burst_end(&burst);
    Py_DECREF(generator);
    if (exchange->generator == NULL) {
        nrpy_handler_ended(exchange);
    } else {
        atomic_fetch_sub(&exchange->handlers, 1); /* it is set aside, and goes on later */
    }
}

void nrpy_run_generator(nrpy_exchange *exchange, PyObject *argument) {
    PyObject *generator = argument != NULL ? nrpy_call_handler(exchange->entry->handler, argument, NULL) : NULL;
    Py_XDECREF(argument);
    if (generator != NULL && !PyIter_Check(generator)) {
        PyErr_Format(PyExc_TypeError, "a generator handler returned %.100s", Py_TYPE(generator)->tp_name);
        Py_CLEAR(generator);
    }
    if (generator == NULL) {
        nrpy_source source = nrpy_source_of(exchange->instance, exchange->entry, exchange->sid);
        send_exception(exchange, &source);
        nrpy_handler_ended(exchange);
        return;
    }
    run_frames(exchange, generator);
}

bool nrpy_resume_generator(nrpy_exchange *exchange) {
    PyObject *generator = nrpy_exchange_unpark(exchange);
    if (generator == NULL) {
        return false;
    }
    atomic_fetch_add(&exchange->handlers, 1);
    run_frames(exchange, generator);
    return true;
}

void nrpy_close_parked(nrpy_exchange *exchange) {
    PyObject *generator = nrpy_exchange_unpark(exchange);
    if (generator != NULL) {
        nrpy_source source = nrpy_source_of(exchange->instance, exchange->entry, exchange->sid);
        close_generator(exchange, &source, generator);
        Py_DECREF(generator);
        nrpy_context_reset(PyThreadState_Get()); /* what runs next on this thread is none of the generator's */
    }
}
