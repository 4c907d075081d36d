#include "streams.h"

#include "dispatch.h"
#include "generator.h"
#include "handler.h"
#include "host.h"
#include "inbox.h"
#include "views.h"

#include <stdlib.h>

/* After so many frames of one stream the other calls get their turn. */
enum { FRAMES_PER_TURN = 64 };

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
    if (nrpy_resume_generator(exchange)) {
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
