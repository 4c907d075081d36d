#include "stream_internal.h"

#include "callback.h"
#include "inbox.h"
#include "module.h"
#include "reply.h"
#include "stream_object.h"
#include "waiter.h"

#include <stdlib.h>

/* ---- who waits for what ---- */

/* Last, or first again where it had its turn and the room went to somebody else. */
static void add_writer(nrpy_stream *stream, nrpy_stream_wait *wait) {
    bool first = wait->has_turn || stream->first_writer == NULL;
    wait->next = wait->has_turn ? stream->first_writer : NULL;
    wait->has_turn = false;
    if (wait->next == NULL) {
        if (!first) {
            stream->last_writer->next = wait;
        }
        stream->last_writer = wait;
    }
    if (first) {
        stream->first_writer = wait;
    }
}

static void remove_writer(nrpy_stream *stream, const nrpy_stream_wait *wait) {
    nrpy_stream_wait *before = NULL;
    nrpy_stream_wait *at = stream->first_writer;
    while (at != NULL && at != wait) {
        before = at;
        at = at->next;
    }
    if (at != NULL) {
        *(before != NULL ? &before->next : &stream->first_writer) = at->next;
        if (stream->last_writer == at) {
            stream->last_writer = before;
        }
    }
}

static void stop_waiting(nrpy_stream_wait *self) {
    if (!self->is_waiting) {
        return;
    }
    self->is_waiting = false;
    if (self->kind == NRPY_WAIT_FRAME) {
        self->stream->reader = NULL;
    } else if (self->kind == NRPY_WAIT_ROOM) {
        remove_writer(self->stream, self);
    }
    Py_DECREF(self); /* the stream's */
}

static void begin(nrpy_stream_wait *self) {
    if (self->is_unbegun) {
        self->is_unbegun = false;
        self->stream->unbegun--;
    }
}

/* The task is suspended on the waiter. */
static PySendResult begin_waiting(nrpy_stream_wait *self, PyObject **result) {
    if (self->waiter == NULL) {
        self->waiter = nrpy_waiter_new(nrpy_stream_loop(self->stream)->event_loop);
    }
    *result = Py_XNewRef(self->waiter);
    if (self->waiter == NULL) {
        return PYGEN_ERROR;
    }
    self->is_waiting = true;
    Py_INCREF(self); /* the stream's: nobody else may keep the task that waits here */
    self->stream->steps = 0;
    if (self->kind == NRPY_WAIT_FRAME) {
        self->stream->reader = self;
    } else {
        add_writer(self->stream, self);
    }
    nrpy_waiter_begin(self->waiter);
    return PYGEN_NEXT;
}

PyObject *nrpy_stream_wait_wake(nrpy_stream_wait *wait) {
    PyObject *waiter = Py_NewRef(wait->waiter); /* and the waiter keeps the task, which keeps the wait */
    wait->has_turn = wait->kind == NRPY_WAIT_ROOM;
    stop_waiting(wait);
    PyObject *done = nrpy_waiter_wake(waiter);
    Py_DECREF(waiter);
    return done;
}

/* ---- the steps ---- */

static PySendResult step_frame(nrpy_stream_wait *self, PyObject **result) {
    nrpy_stream *stream = self->stream;
    if (stream->reader != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "another task is reading this stream");
        return PYGEN_ERROR;
    }
    if (stream->steps >= NRPY_STREAM_STEPS) {
        stream->steps = 0;
        *result = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    }
    bool is_over;
    nrpy_frame *frame = nrpy_inbox_take(stream->exchange, true, &is_over);
    if (frame != NULL) {
        stream->steps++;
        *result = PyBytes_FromStringAndSize((const char *)frame->bytes, (Py_ssize_t)frame->length);
        free(frame);
        return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    }
    if (is_over) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return PYGEN_ERROR;
    }
    return begin_waiting(self, result);
}

static PySendResult step_room(nrpy_stream_wait *self, PyObject **result) {
    if (self->stream->first_writer == NULL || self->has_turn) {
        int sent = nrpy_stream_try_send(self->stream, self->data);
        if (sent != 0) {
            *result = sent > 0 ? Py_NewRef(Py_None) : NULL;
            return sent > 0 ? PYGEN_RETURN : PYGEN_ERROR;
        }
    }
    return begin_waiting(self, result);
}

static PySendResult wait_am_send(PyObject *object, PyObject *value, PyObject **result) {
    (void)value;
    nrpy_stream_wait *self = (nrpy_stream_wait *)object;
    *result = NULL;
    begin(self);
    stop_waiting(self);
    switch (self->kind) {
    case NRPY_WAIT_FRAME:
        return step_frame(self, result);
    case NRPY_WAIT_ROOM:
        return step_room(self, result);
    case NRPY_WAIT_TURN:
        self->kind = NRPY_WAIT_NOTHING;
        *result = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    case NRPY_WAIT_NOTHING:
        break;
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* For who drives it without am_send. */
static PyObject *wait_send(PyObject *object, PyObject *value) {
    PyObject *result;
    PySendResult how = wait_am_send(object, value, &result);
    if (how != PYGEN_RETURN) {
        return result;
    }
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
    Py_DECREF(result);
    return NULL;
}

static PyObject *wait_next(PyObject *object) {
    return wait_send(object, Py_None);
}

/* throw(exception), or the older throw(type, value, traceback). */
static PyObject *wait_throw(PyObject *object, PyObject *args) {
    PyObject *type;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO:throw", &type, &value, &traceback)) {
        return NULL;
    }
    begin((nrpy_stream_wait *)object);
    stop_waiting((nrpy_stream_wait *)object);
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else {
        PyErr_SetObject(type, value);
    }
    return NULL;
}

static PyObject *wait_close(PyObject *object, PyObject *ignored) {
    (void)ignored;
    begin((nrpy_stream_wait *)object);
    stop_waiting((nrpy_stream_wait *)object);
    Py_RETURN_NONE;
}

static PyObject *wait_await(PyObject *object) {
    return Py_NewRef(object);
}

/* ---- life ---- */

PyObject *nrpy_stream_wait_new(nrpy_stream *stream, nrpy_wait_kind kind, PyObject *data) {
    nrpy_stream_wait *self = PyObject_GC_New(nrpy_stream_wait, &nrpy_stream_wait_type);
    if (self != NULL) {
        self->stream = (nrpy_stream *)Py_XNewRef((PyObject *)stream);
        self->kind = kind;
        self->is_waiting = self->has_turn = false;
        self->is_unbegun = kind == NRPY_WAIT_ROOM;
        if (self->is_unbegun) {
            stream->unbegun++;
        }
        self->waiter = NULL;
        self->data = Py_XNewRef(data);
        self->next = NULL;
        PyObject_GC_Track((PyObject *)self);
    }
    return (PyObject *)self;
}

PyObject *nrpy_stream_wait_for_frame(nrpy_stream *stream) {
    nrpy_stream_wait *spare = stream->spare;
    if (spare != NULL && Py_REFCNT(spare) == 1) {
        return Py_NewRef((PyObject *)spare);
    }
    PyObject *made = nrpy_stream_wait_new(stream, NRPY_WAIT_FRAME, NULL);
    if (made != NULL && spare == NULL) {
        stream->spare = (nrpy_stream_wait *)Py_NewRef(made);
    }
    return made;
}

static int wait_traverse(PyObject *object, visitproc visit, void *arg) {
    nrpy_stream_wait *self = (nrpy_stream_wait *)object;
    Py_VISIT((PyObject *)self->stream);
    Py_VISIT(self->waiter);
    Py_VISIT(self->data);
    return 0;
}

static int wait_clear(PyObject *object) {
    nrpy_stream_wait *self = (nrpy_stream_wait *)object;
    begin(self);
    stop_waiting(self);
    Py_CLEAR(self->stream);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->data);
    return 0;
}

static void wait_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    wait_clear(object);
    PyObject_GC_Del(object);
}

static PyMethodDef methods[] = {
    {"send", wait_send, METH_O, "As a generator's."},
    {"throw", wait_throw, METH_VARARGS, "As a generator's."},
    {"close", wait_close, METH_NOARGS, "As a generator's."},
    {NULL, NULL, 0, NULL},
};

static PyAsyncMethods as_async = {.am_await = wait_await, .am_send = wait_am_send};

PyTypeObject nrpy_stream_wait_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py._core.StreamWait",
    .tp_doc = "What a stream gives to await.",
    .tp_basicsize = sizeof(nrpy_stream_wait),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = wait_dealloc,
    .tp_traverse = wait_traverse,
    .tp_clear = wait_clear,
    .tp_as_async = &as_async,
    .tp_iter = wait_await,
    .tp_iternext = wait_next,
    .tp_methods = methods,
};
