#include "handler.h"

#include "callback.h"
#include "module.h"
#include "running.h"
#include "stream_object.h"
#include "streams.h"

bool nrpy_exchange_reply(nrpy_exchange *exchange, nrpy_reply *reply, bool may_send) {
    PyThreadState *state = PyEval_SaveThread();
    bool taken = nrpy_exchange_send(exchange, reply->status, reply->bytes, reply->length, may_send);
    nrpy_back_from_host(state);
    nrpy_reply_clear(reply);
    return taken;
}

void nrpy_exchange_result(nrpy_exchange *exchange, const nrpy_source *source, PyObject *result, bool may_send) {
    if (result == Py_None) {
        Py_DECREF(result);
        return;
    }
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, result);
    nrpy_exchange_reply(exchange, &reply, may_send);
}

void nrpy_handler_begins(nrpy_exchange *exchange) {
    atomic_fetch_add(&exchange->handlers, 1);
    nrpy_count_with_gil(&exchange->entry->counters->calls);
    nrpy_note_sid(exchange->instance, exchange->sid);
}

void nrpy_skip_handler(nrpy_exchange *exchange) {
    if (exchange->is_stream && !nrpy_exchange_has_ended(exchange)) {
        nrpy_stream_send_end(exchange);
    }
    nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER);
}

void nrpy_handler_ended(nrpy_exchange *exchange) {
    nrpy_count_with_gil(&exchange->entry->counters->ended);
    nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER);
    atomic_fetch_sub(&exchange->handlers, 1);
}

/* Whether a handler that was told to end has done so in the way it was told. */
static bool has_obeyed(nrpy_exchange *exchange) {
    return nrpy_exchange_is_cancelled(exchange) &&
           (PyErr_ExceptionMatches(nrpy_names.call_ended_error) ||
            (nrpy_names.cancelled_error != NULL && PyErr_ExceptionMatches(nrpy_names.cancelled_error)));
}

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

static void finish_obeyed(nrpy_exchange *exchange) {
    static const char text[] = "the handler was cancelled";
    PyErr_Clear();
    if (nrpy_exchange_has_ended(exchange)) {
        return;
    }
    if (exchange->is_stream || !nrpy_is_open(exchange->instance)) {
        nrpy_stream_send_end(exchange);
    } else {
        nrpy_reply reply = {.status = NR_ERR, .bytes = text, .length = sizeof text - 1};
        nrpy_exchange_reply(exchange, &reply, true);
    }
}

static void finish_stream(nrpy_exchange *exchange, const nrpy_source *source, PyObject *result) {
    if (result == Py_None) {
        Py_DECREF(result);
        if (!nrpy_exchange_has_ended(exchange)) {
            nrpy_stream_send_end(exchange);
        }
        return;
    }
    if (result != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "a handler of a stream returned %.100s: send what the host is to have, and return None",
                     Py_TYPE(result)->tp_name);
        Py_DECREF(result);
    }
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, NULL);
    nrpy_exchange_reply(exchange, &reply, true);
}

void nrpy_exchange_finish(nrpy_exchange *exchange, PyObject *result, bool may_send) {
    nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER); /* the author's code has returned: the rest is sending */
    const nrpy_entry *entry = exchange->entry;
    nrpy_source source = nrpy_source_of(exchange->instance, entry, exchange->sid);
    if (result == NULL && has_obeyed(exchange)) {
        finish_obeyed(exchange);
    } else if ((entry->flags & (NRPY_STREAM | NRPY_CALLBACK)) != 0) {
        nrpy_exchange_result(exchange, &source, result, may_send);
    } else if (exchange->is_stream) {
        finish_stream(exchange, &source, result);
    } else {
        nrpy_reply reply;
        nrpy_reply_make(&reply, &source, result);
        nrpy_exchange_reply(exchange, &reply, may_send);
    }
}

void nrpy_run_handler(nrpy_exchange *exchange, PyObject *argument, bool may_send) {
    const nrpy_entry *entry = exchange->entry;
    PyObject *callback = NULL;
    PyObject *result = NULL;
    if (argument != NULL && (entry->flags & NRPY_CALLBACK) != 0) {
        callback = nrpy_callback_new(exchange);
    }
    if (argument != NULL && (callback != NULL || (entry->flags & NRPY_CALLBACK) == 0)) {
        result = nrpy_call_handler(entry->handler, argument, callback);
    }
    nrpy_exchange_finish(exchange, result, may_send);
    Py_XDECREF(argument);
    Py_XDECREF(callback); /* unanswered and kept by nobody: it answers Err now */
}

void nrpy_run_duplex(nrpy_exchange *exchange, PyObject *argument) {
    PyObject *stream = argument != NULL ? nrpy_stream_new(exchange, argument, NULL) : NULL;
    PyObject *result = stream != NULL ? nrpy_call_handler(exchange->entry->handler, stream, NULL) : NULL;
    nrpy_exchange_finish(exchange, result, true);
    Py_XDECREF(stream);
    Py_XDECREF(argument);
}
