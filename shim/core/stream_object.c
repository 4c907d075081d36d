#include "stream_object.h"

#include "callback.h"
#include "forked.h"
#include "inbox.h"
#include "instance.h"
#include "module.h"
#include "queued.h"
#include "reply.h"
#include "runner.h"
#include "status.h"
#include "stream_internal.h"

#include <stdlib.h>

PyObject *nrpy_stream_new(nrpy_exchange *exchange, PyObject *request, nrpy_call *call) {
    nrpy_stream *self = PyObject_GC_New(nrpy_stream, &nrpy_stream_type);
    if (self != NULL) {
        nrpy_exchange_retain(exchange);
        self->exchange = exchange;
        self->call = call;
        self->request = Py_XNewRef(request);
        self->reader = self->first_writer = self->last_writer = self->spare = NULL;
        self->steps = self->unbegun = 0;
        PyObject_GC_Track((PyObject *)self);
    }
    return (PyObject *)self;
}

/* An idle stream's request is no object yet: there may be very many. Borrowed, or NULL with an exception set. */
static PyObject *request_of(nrpy_stream *self) {
    if (self->call != NULL) {
        nrpy_call *call = self->call;
        self->call = NULL;
        self->request = nrpy_argument_over_call(call);
    } else if (self->request == NULL) {
        PyErr_SetString(PyExc_MemoryError, "there was no memory for the stream's request");
    }
    return self->request;
}

/* Tasks that the handler has left behind may wait for the stream: they learn of its end in the loop's next round. */
static void wake_all_soon(nrpy_stream *self) {
    const nrpy_loop *loop = nrpy_stream_loop(self);
    if ((self->reader == NULL && self->first_writer == NULL) || loop == NULL || loop->event_loop == NULL) {
        return;
    }
    PyObject *look = PyObject_GetAttrString((PyObject *)self, "_look");
    PyObject *handle = look != NULL ? PyObject_CallMethod(loop->event_loop, "call_soon", "O", look) : NULL;
    if (handle == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(look);
    Py_XDECREF(handle);
}

void nrpy_stream_retire(PyObject *object) {
    nrpy_stream *self = (nrpy_stream *)object;
    Py_CLEAR(self->spare);
    wake_all_soon(self);
    if (self->call != NULL && Py_REFCNT(object) > 1 && request_of(self) == NULL) { /* while its instance is there */
        PyErr_WriteUnraisable(object);
    }
}

static PyObject *wake_who_can_go_on(nrpy_stream *self) {
    if (self->reader != NULL && nrpy_inbox_has_news(self->exchange)) {
        PyObject *done = nrpy_stream_wait_wake(self->reader);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    while (self->first_writer != NULL && nrpy_exchange_has_room(self->exchange)) {
        PyObject *done = nrpy_stream_wait_wake(self->first_writer);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    Py_RETURN_NONE;
}

PyObject *nrpy_stream_look(PyObject *object) {
    Py_INCREF(object); /* a task that is woken runs, and may end: then nobody else keeps the stream */
    PyObject *done = wake_who_can_go_on((nrpy_stream *)object);
    Py_DECREF(object);
    return done;
}

/* ---- reading ---- */

static bool is_on_loop(const nrpy_stream *self) {
    const nrpy_loop *loop = nrpy_stream_loop(self);
    return loop != NULL && nrpy_thread_self() == atomic_load(&loop->thread);
}

static int check_input(const nrpy_stream *self) {
    if (!self->exchange->takes_input) {
        PyErr_SetString(PyExc_TypeError, "a generator's stream takes no input");
        return -1;
    }
    return 0;
}

static PyObject *self_iter(PyObject *object) {
    return Py_NewRef(object);
}

static PyObject *stream_next(PyObject *object) {
    nrpy_stream *self = (nrpy_stream *)object;
    if (check_input(self) != 0) {
        return NULL;
    }
    if (is_on_loop(self)) {
        PyErr_SetString(PyExc_TypeError, "reading would stop the event loop here: write `async for`, or await anext()");
        return NULL;
    }
    for (;;) {
        bool is_over;
        nrpy_frame *frame = nrpy_inbox_take(self->exchange, false, &is_over);
        if (frame != NULL) {
            PyObject *data = PyBytes_FromStringAndSize((const char *)frame->bytes, (Py_ssize_t)frame->length);
            free(frame);
            return data;
        }
        if (is_over || nrpy_exchange_is_cancelled(self->exchange)) {
            return NULL; /* the end of the iteration */
        }
        PyThreadState *state = PyEval_SaveThread();
        nrpy_inbox_wait(self->exchange);
        PyEval_RestoreThread(state);
    }
}

static PyObject *stream_anext(PyObject *object) {
    nrpy_stream *self = (nrpy_stream *)object;
    if (check_input(self) != 0) {
        return NULL;
    }
    if (!is_on_loop(self)) {
        PyErr_SetString(PyExc_TypeError, nrpy_stream_loop(self) == NULL
                                             ? "this handler is a plain function: write `for frame in stream`"
                                             : "this stream is read on its event loop's thread only");
        return NULL;
    }
    return nrpy_stream_wait_for_frame(self);
}

/* ---- sending ---- */

static PyObject *set_ended(const nrpy_exchange *exchange) {
    return PyErr_Format(nrpy_names.call_ended_error, "the stream of sid %llu has ended: nothing can be sent any more",
                        (unsigned long long)exchange->sid);
}

int nrpy_stream_try_send(nrpy_stream *stream, PyObject *data) {
    if (!nrpy_exchange_has_room(stream->exchange)) {
        return 0;
    }
    nrpy_reply reply;
    if (nrpy_reply_from_data(&reply, data, -1) != 0) {
        return -1;
    }
    PyThreadState *state = PyEval_SaveThread();
    bool taken = nrpy_exchange_send(stream->exchange, reply.status, reply.bytes, reply.length, true);
    nrpy_back_from_host(state);
    nrpy_reply_clear(&reply);
    if (!taken) {
        set_ended(stream->exchange);
        return -1;
    }
    return 1;
}

static PyObject *send_on_loop(nrpy_stream *self, PyObject *data) {
    int sent = self->first_writer == NULL && self->unbegun == 0 ? nrpy_stream_try_send(self, data) : 0;
    if (sent < 0) {
        return NULL;
    }
    if (sent == 0) {
        return nrpy_stream_wait_new(self, NRPY_WAIT_ROOM, data);
    }
    if (++self->steps < NRPY_STREAM_STEPS) {
        return Py_NewRef(nrpy_names.no_wait);
    }
    self->steps = 0;
    return nrpy_stream_wait_new(self, NRPY_WAIT_TURN, NULL);
}

static PyObject *stream_send(PyObject *object, PyObject *data) {
    nrpy_stream *self = (nrpy_stream *)object;
    if (nrpy_exchange_has_ended(self->exchange)) {
        return set_ended(self->exchange);
    }
    if (is_on_loop(self)) {
        return send_on_loop(self, data);
    }
    int taken = nrpy_exchange_answer(self->exchange, data, -1);
    if (taken == 0) {
        return set_ended(self->exchange);
    }
    return taken > 0 ? Py_NewRef(nrpy_names.no_wait) : NULL;
}

static PyObject *stream_close(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"status", "data", NULL};
    nrpy_exchange *exchange = ((nrpy_stream *)object)->exchange;
    PyObject *status_object = NULL;
    PyObject *data = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:close", names, &status_object, &data)) {
        return NULL;
    }
    int status = status_object != NULL ? nrpy_status_from(status_object) : (int)NR_STREAM_END;
    if (status == (int)NR_OK) {
        PyErr_SetString(PyExc_ValueError, "Status.OK does not end a stream: close with STREAM_END, or with a failure");
        return NULL;
    }
    int taken = status >= 0 ? nrpy_exchange_answer(exchange, data, status) : -1;
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *stream_look(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return nrpy_stream_look(object);
}

static PyObject *stream_acknowledge(PyObject *object, PyObject *ignored) {
    (void)ignored;
    nrpy_runner_acknowledge(((nrpy_stream *)object)->exchange);
    Py_RETURN_NONE;
}

/* ---- fields ---- */

static PyObject *get_sid(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(((nrpy_stream *)object)->exchange->sid);
}

static PyObject *get_entry(PyObject *object, void *closure) {
    (void)closure;
    const nrpy_entry *entry = ((nrpy_stream *)object)->exchange->entry;
    return PyUnicode_DecodeUTF8(entry->name, (Py_ssize_t)entry->length, NULL);
}

static PyObject *get_request(PyObject *object, void *closure) {
    (void)closure;
    return Py_XNewRef(request_of((nrpy_stream *)object));
}

static PyObject *get_state(PyObject *object, void *closure) {
    (void)closure;
    PyObject *request = request_of((nrpy_stream *)object);
    return request != NULL ? PyObject_GetAttrString(request, "state") : NULL;
}

static PyObject *get_closed(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(nrpy_exchange_has_ended(((nrpy_stream *)object)->exchange));
}

static PyObject *get_cancelled(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(nrpy_exchange_is_cancelled(((nrpy_stream *)object)->exchange));
}

static PyObject *stream_repr(PyObject *object) {
    nrpy_stream *self = (nrpy_stream *)object;
    PyObject *entry = get_entry(object, NULL);
    PyObject *text = NULL;
    if (entry != NULL) {
        text = PyUnicode_FromFormat("<Stream entry=%R sid=%llu%s>", entry, (unsigned long long)self->exchange->sid,
                                    nrpy_exchange_has_ended(self->exchange) ? " closed" : "");
        Py_DECREF(entry);
    }
    return text;
}

static int stream_traverse(PyObject *object, visitproc visit, void *arg) {
    nrpy_stream *self = (nrpy_stream *)object;
    Py_VISIT(self->request);
    Py_VISIT((PyObject *)self->spare);
    Py_VISIT((PyObject *)self->reader);
    for (nrpy_stream_wait *writer = self->first_writer; writer != NULL; writer = writer->next) {
        Py_VISIT((PyObject *)writer);
    }
    return 0;
}

static int stream_clear(PyObject *object) {
    nrpy_stream *self = (nrpy_stream *)object;
    Py_CLEAR(self->request);
    Py_CLEAR(self->spare);
    return 0;
}

static void stream_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    stream_clear(object);
    nrpy_stream *self = (nrpy_stream *)object;
    if (self->call != NULL) {
        nrpy_call_free(self->call);
    }
    nrpy_exchange_release(self->exchange);
    PyObject_GC_Del(object);
}

static PyMethodDef methods[] = {
    {"send", stream_send, METH_O, "Sends a frame; a coroutine awaits the result."},
    {"close", (PyCFunction)(void (*)(void))stream_close, METH_VARARGS | METH_KEYWORDS, "Ends the stream."},
    {"_look", stream_look, METH_NOARGS, "Wakes the tasks that can go on."},
    {"_acknowledge", stream_acknowledge, METH_NOARGS, "The handler knows that it is to end: no cancel has to tell it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"sid", get_sid, NULL, "The host's number for this stream.", NULL},
    {"entry", get_entry, NULL, "The name of the entry that was called.", NULL},
    {"request", get_request, NULL, "The request that opened the stream.", NULL},
    {"state", get_state, NULL, "What is kept for this stream until its end.", NULL},
    {"closed", get_closed, NULL, "Whether the stream has ended.", NULL},
    {"cancelled", get_cancelled, NULL, "Whether the stream has ended, or is to end.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods as_async = {.am_aiter = self_iter, .am_anext = stream_anext};

PyTypeObject nrpy_stream_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.Stream",
    .tp_doc = "Both directions of one stream.",
    .tp_basicsize = sizeof(nrpy_stream),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = stream_dealloc,
    .tp_traverse = stream_traverse,
    .tp_clear = stream_clear,
    .tp_repr = stream_repr,
    .tp_as_async = &as_async,
    .tp_iter = self_iter,
    .tp_iternext = stream_next,
    .tp_methods = methods,
    .tp_getset = fields,
};
