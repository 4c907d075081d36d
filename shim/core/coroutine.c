#include "coroutine.h"

#include "callback.h"
#include "handler.h"
#include "queued.h"
#include "stream_object.h"

/* Takes the call. New reference, or NULL with an exception set. */
static PyObject *make_argument(nrpy_runner *runner, nrpy_call *call) {
    if ((call->entry->flags & (NRPY_DUPLEX | NRPY_GENERATOR)) == 0) {
        return nrpy_argument_over_call(call);
    }
    PyObject *stream = nrpy_stream_new(call->exchange, NULL, call);
    if (stream == NULL) {
        nrpy_call_free(call);
    }
    runner->stream = Py_XNewRef(stream);
    return stream;
}

/* New reference, or NULL with an exception set. */
static PyObject *call_handler(nrpy_runner *runner, PyObject *argument) {
    const nrpy_entry *entry = runner->exchange->entry;
    if ((entry->flags & NRPY_CALLBACK) != 0) {
        runner->callback = nrpy_callback_new(runner->exchange);
        if (runner->callback == NULL) {
            return NULL;
        }
    }
    PyObject *coroutine = nrpy_call_handler(entry->handler, argument, runner->callback);
    if (coroutine != NULL && !PyCoro_CheckExact(coroutine) && !PyObject_HasAttrString(coroutine, "throw")) {
        PyErr_Format(PyExc_TypeError, "an async handler returned %.100s, and no coroutine",
                     Py_TYPE(coroutine)->tp_name);
        Py_CLEAR(coroutine);
    }
    return coroutine;
}

PyObject *nrpy_coroutine_of(nrpy_runner *runner, nrpy_call *call) {
    PyObject *argument = make_argument(runner, call);
    PyObject *coroutine = argument != NULL ? call_handler(runner, argument) : NULL;
    Py_XDECREF(argument);
    return coroutine;
}
