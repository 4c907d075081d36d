#include "streams.h"

#include "dispatch.h"
#include "forked.h"
#include "handler.h"
#include "host.h"
#include "inbox.h"
#include "views.h"

#include <stdlib.h>

/* After so many frames of one stream the other calls get their turn. */
enum { FRAMES_PER_TURN = 64 };

/* ---- generators ---- */

void nrpy_stream_send_end(nrpy_exchange *exchange) {
    static const char text[] = "the plugin is shutting down";
    nrpy_reply end = {.status = NR_STREAM_END, .bytes = "", .length = 0};
    if (!nrpy_is_open(exchange->instance)) {
        end.status = NR_ERR;
        end.bytes = text;
        end.length = sizeof text - 1;
    }
    nrpy_exchange_reply(exchange, &end, true);
}

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

/* Returns whether the generator is to be asked for another frame. */
static bool send_frame(nrpy_exchange *exchange, const nrpy_source *source, PyObject *generator, PyObject *value) {
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, value);
    bool terminal = nrpy_exchange_is_terminal(exchange, reply.status);
    bool taken = nrpy_exchange_reply(exchange, &reply, true);
    if (taken && !terminal && !nrpy_exchange_has_ended(exchange)) {
        return true;
    }
    close_generator(exchange, source, generator);
    return false;
}

/* Until it ends, or the host has enough frames for now. */
static void make_frames(nrpy_exchange *exchange, PyObject *generator) {
    nrpy_source source = nrpy_source_of(exchange->instance, exchange->entry, exchange->sid);
    while (!nrpy_exchange_park(exchange, generator)) {
        if (nrpy_exchange_has_ended(exchange)) {
            close_generator(exchange, &source, generator);
            return;
        }
        if (atomic_load_explicit(&exchange->cancelled, memory_order_acquire) != 0) {
            if (close_generator(exchange, &source, generator)) {
                nrpy_stream_send_end(exchange);
            }
            return;
        }
        PyObject *value;
        PySendResult result = PyIter_Send(generator, Py_None, &value);
        nrpy_author_returned(result != PYGEN_ERROR ? value : NULL);
        if (result != PYGEN_NEXT) {
            nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER);
        }
        if (result == PYGEN_NEXT) {
            if (!send_frame(exchange, &source, generator, value)) {
                return;
            }
        } else if (result == PYGEN_RETURN) {
            bool empty = value == Py_None;
            Py_DECREF(value);
            if (empty) {
                nrpy_reply end = {.status = NR_STREAM_END, .bytes = "", .length = 0};
                nrpy_exchange_reply(exchange, &end, true);
                return;
            }
            PyErr_SetString(PyExc_TypeError, "a generator handler must not return a value: yield it as a frame");
            send_exception(exchange, &source);
            return;
        } else {
            send_exception(exchange, &source);
            return;
        }
    }
}

/* Takes `generator`. */
static void run_frames(nrpy_exchange *exchange, PyObject *generator) {
    make_frames(exchange, generator);
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

/* Goes on with a generator that waited for room. Returns whether there was one. */
static bool resume_generator(nrpy_exchange *exchange) {
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

/* ---- input ---- */

static PyObject *call_stream_handler(nrpy_exchange *exchange, const nrpy_frame *frame) {
    PyObject *sid = PyLong_FromUnsignedLongLong(exchange->sid);
    PyObject *result = NULL;
    if (sid != NULL && frame->is_close) {
        result = nrpy_call_handler(exchange->instance->stream_close, sid, NULL);
    } else if (sid != NULL) {
        PyObject *data = PyBytes_FromStringAndSize((const char *)frame->bytes, (Py_ssize_t)frame->length);
        if (data != NULL) {
            result = nrpy_call_handler(exchange->instance->stream_data, sid, data);
            Py_DECREF(data);
        }
    }
    Py_XDECREF(sid);
    return result;
}

static void handle_input(nrpy_exchange *exchange, const nrpy_frame *frame) {
    nrpy_source source = {
        .instance = exchange->instance,
        .kind = "handler",
        .name = frame->is_close ? "stream_close" : "stream_data",
        .name_length = frame->is_close ? 12 : 11,
        .sid = exchange->sid,
    };
    PyObject *handler = frame->is_close ? exchange->instance->stream_close : exchange->instance->stream_data;
    if (handler != NULL && !nrpy_exchange_has_ended(exchange)) {
        nrpy_context_reset(PyThreadState_Get()); /* several frames may be served in one go */
        atomic_fetch_add(&exchange->handlers, 1);
        nrpy_exchange_result(exchange, &source, call_stream_handler(exchange, frame), true);
        atomic_fetch_sub(&exchange->handlers, 1);
    }
    if (frame->is_close && !nrpy_exchange_has_ended(exchange)) {
        nrpy_stream_send_end(exchange);
    }
}

void nrpy_serve_inbox(nrpy_exchange *exchange) {
    if (resume_generator(exchange)) {
        return;
    }
    for (int served = 0; served < FRAMES_PER_TURN; served++) {
        if (nrpy_exchange_park(exchange, NULL)) {
            return;
        }
        nrpy_frame *frame = nrpy_inbox_next(exchange);
        if (frame == NULL) {
            return;
        }
        handle_input(exchange, frame);
        free(frame);
    }
    nrpy_inbox_queue(exchange);
}

/* ---- the ABI's functions ---- */

/* The open stream, a reference, or the status to answer. */
static nrpy_exchange *find_stream(nrpy_instance *instance, uint64_t sid, NrStatus *status) {
    if (!nrpy_is_open(instance)) {
        *status = nrpy_refusal(instance);
        return NULL;
    }
    if ((instance->entries.all_flags & (NRPY_GENERATOR | NRPY_STREAM | NRPY_DUPLEX)) == 0) {
        *status = NR_UNSUPPORTED;
        return NULL;
    }
    nrpy_exchange *exchange = nrpy_registry_find(&instance->registry, sid);
    if (exchange != NULL && !exchange->is_stream) {
        nrpy_exchange_release(exchange);
        exchange = NULL;
    }
    *status = exchange != NULL ? NR_OK : NR_INVALID;
    return exchange;
}

NrStatus nrpy_stream_data(nrpy_instance *instance, uint64_t sid, NrBytes data) {
    NrStatus status;
    nrpy_exchange *exchange = find_stream(instance, sid, &status);
    if (exchange == NULL) {
        return status;
    }
    if (!nrpy_can_hold(data.ptr, data.len)) {
        status = NR_INVALID;
    } else if (!exchange->takes_input || (exchange->has_hooks && !instance->has_stream_data)) {
        status = NR_UNSUPPORTED;
    } else {
        status = nrpy_inbox_add(exchange, data);
    }
    nrpy_exchange_release(exchange);
    return status;
}

NrStatus nrpy_stream_close(nrpy_instance *instance, uint64_t sid) {
    NrStatus status;
    nrpy_exchange *exchange = find_stream(instance, sid, &status);
    if (exchange == NULL) {
        return status;
    }
    if (exchange->takes_input) {
        status = nrpy_inbox_close(exchange);
    } else if (atomic_exchange(&exchange->cancelled, 1) != 0) {
        status = NR_INVALID; /* the second close */
    } else {
        nrpy_exchange_wake(exchange);
    }
    if (status == NR_OK) {
        nrpy_deadlines_note_close(exchange);
    }
    nrpy_exchange_release(exchange);
    return status;
}
