#include "runner.h"

#include "clock.h"
#include "coroutine.h"
#include "forked.h"
#include "handler.h"
#include "module.h"
#include "runner_internal.h"
#include "task_type.h"
#include "traces.h"

/* ---- steps ---- */

static void step_begins(nrpy_runner *self) {
    nrpy_loop *loop = self->loop;
    atomic_store_explicit(&nrpy_thread_cached->exchange, self->exchange, memory_order_relaxed);
    atomic_store_explicit(&loop->step_entry, self->exchange->entry, memory_order_relaxed);
    atomic_store_explicit(&loop->step_sid, self->exchange->sid, memory_order_relaxed);
    atomic_store_explicit(&loop->step_began_ns, nrpy_time_ns(CLOCK_MONOTONIC_COARSE), memory_order_release);
}

static void step_ends(nrpy_runner *self) {
    nrpy_loop *loop = self->loop;
    if (atomic_load_explicit(&loop->wake_sent_ns, memory_order_relaxed) != 0) { /* the time until now was the step's */
        atomic_store_explicit(&loop->wake_sent_ns, nrpy_time_ns(CLOCK_MONOTONIC_COARSE), memory_order_relaxed);
    }
    atomic_store_explicit(&loop->step_began_ns, 0, memory_order_release);
    atomic_store_explicit(&nrpy_thread_cached->exchange, NULL, memory_order_relaxed);
}

/* What was made of a step whose task had so many references before it. */
static void note_step(nrpy_runner *self, Py_ssize_t references, PySendResult how) {
    self->is_kept |= Py_REFCNT(self->task) != references;
    if (how == PYGEN_NEXT) {
        nrpy_runner_note_wait(self);
    }
}

/* A step of the author's coroutine, which `call` is made one of where there is one: taken. */
static PySendResult step(nrpy_runner *self, nrpy_call *call, PyObject *value, PyObject **result) {
    Py_ssize_t references = Py_REFCNT(self->task);
    PyObject *sent = NULL;
    step_begins(self);
    if (call != NULL) {
        self->coroutine = nrpy_coroutine_of(self, call);
    }
    PyObject *coroutine = Py_XNewRef(self->coroutine);
    PySendResult how = coroutine != NULL ? PyIter_Send(coroutine, value, &sent) : PYGEN_ERROR;
    Py_XDECREF(coroutine);
    nrpy_author_returned(how != PYGEN_ERROR ? sent : NULL);
    step_ends(self);
    if (how != PYGEN_NEXT) {
        nrpy_runner_finish(self, how == PYGEN_RETURN ? sent : NULL);
        how = PYGEN_RETURN;
    }
    note_step(self, references, how);
    *result = how == PYGEN_NEXT ? sent : NULL;
    return how;
}

/* Takes the call. */
static PySendResult begin_call(nrpy_runner *self, nrpy_call *call, PyObject **result) {
    nrpy_exchange *exchange = call->exchange;
    if (nrpy_exchange_is_cancelled(exchange)) {
        nrpy_call_free(call);
        nrpy_skip_handler(exchange);
        nrpy_exchange_release(exchange);
        return PYGEN_RETURN;
    }
    nrpy_handler_begins(exchange);
    nrpy_runner_engage(self, exchange);
    return step(self, call, Py_None, result);
}

/* Takes the calls that wait, one after the other, until one of them does not end in its first step. */
static PySendResult serve(nrpy_runner *self, PyObject **result) {
    bool is_new = !self->has_begun;
    if (is_new) {
        nrpy_runner_begin(self);
    }
    nrpy_task_marks *marks = nrpy_task_marks_of(self->task);
    if (self->link != NULL) {
        nrpy_runner_leave_rest(self); /* nobody has woken it: its step failed, and comes again */
    }
    marks->is_resting = marks->is_seen = false;
    while (is_new || nrpy_is_as_new(self)) {
        is_new = false;
        nrpy_call *call = nrpy_loop_take_call(self->loop);
        if (call == NULL) {
            return nrpy_runner_rest(self, result);
        }
        if (begin_call(self, call, result) == PYGEN_NEXT) {
            return PYGEN_NEXT;
        }
    }
    return nrpy_runner_end_task(self, result);
}

/* After a step by which its call has ended. */
static PySendResult go_on(nrpy_runner *self, PyObject **result) {
    return nrpy_is_as_new(self) ? nrpy_runner_rest(self, result) : nrpy_runner_end_task(self, result);
}

static bool is_at_work(const nrpy_runner *self) {
    return self->exchange != NULL && self->exchange->runner == self;
}

/* Whether it may be stepped now; an exception is set where not. */
static bool check_usable(const nrpy_runner *self) {
    bool is_usable = !self->is_over && (self->coroutine != NULL || !is_at_work(self));
    if (!is_usable) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    return is_usable;
}

/* ---- as a coroutine ---- */

static PySendResult runner_am_send(PyObject *object, PyObject *value, PyObject **result) {
    nrpy_runner *self = (nrpy_runner *)object;
    *result = NULL;
    if (!check_usable(self)) {
        return PYGEN_ERROR;
    }
    Py_INCREF(object);
    PySendResult how;
    if (self->coroutine == NULL) {
        how = serve(self, result);
    } else {
        how = step(self, NULL, value, result);
        how = how == PYGEN_NEXT ? how : go_on(self, result);
    }
    Py_DECREF(object);
    return how;
}

static PyObject *from_send(PySendResult how, PyObject *value) {
    if (how == PYGEN_RETURN) {
        Py_XDECREF(value);
        PyErr_SetNone(PyExc_StopIteration);
        return NULL;
    }
    return value;
}

static PyObject *runner_send(PyObject *object, PyObject *value) {
    PyObject *result;
    PySendResult how = runner_am_send(object, value, &result);
    return from_send(how, result);
}

static PyObject *runner_next(PyObject *object) {
    return runner_send(object, Py_None);
}

/* It was to be cancelled while it had no call. */
static PyObject *throw_at_rest(nrpy_runner *self, PyObject *args) {
    PyObject *type;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO:throw", &type, &value, &traceback)) {
        return NULL;
    }
    if (self->link != NULL) {
        nrpy_runner_leave_rest(self);
    }
    nrpy_runner_end(self);
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else {
        PyErr_SetObject(type, value);
    }
    return NULL;
}

static PyObject *throw_at_work(nrpy_runner *self, PyObject *args) {
    PyObject *method = PyObject_GetAttrString(self->coroutine, "throw");
    if (method == NULL) {
        return NULL;
    }
    Py_ssize_t references = Py_REFCNT(self->task);
    step_begins(self);
    PyObject *value = PyObject_Call(method, args, NULL);
    nrpy_author_returned(value);
    step_ends(self);
    Py_DECREF(method);
    if (value != NULL) {
        note_step(self, references, PYGEN_NEXT);
        return value;
    }
    PyObject *returned = NULL;
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyObject *stop = nrpy_take_exception();
        returned = PyObject_GetAttrString(stop, "value");
        Py_DECREF(stop);
    }
    nrpy_runner_finish(self, returned);
    note_step(self, references, PYGEN_RETURN);
    return from_send(go_on(self, &value), value);
}

static PyObject *runner_throw(PyObject *object, PyObject *args) {
    nrpy_runner *self = (nrpy_runner *)object;
    if (!check_usable(self)) {
        return NULL;
    }
    Py_INCREF(object);
    PyObject *value = self->coroutine != NULL ? throw_at_work(self, args) : throw_at_rest(self, args);
    Py_DECREF(object);
    return value;
}

static PyObject *runner_close(PyObject *object, PyObject *ignored) {
    (void)ignored;
    nrpy_runner *self = (nrpy_runner *)object;
    if (self->coroutine == NULL) {
        Py_RETURN_NONE;
    }
    Py_INCREF(object);
    self->is_over = true;
    PyObject *closed = PyObject_CallMethod(self->coroutine, "close", NULL);
    if (closed == NULL) {
        nrpy_runner_finish(self, NULL);
    } else {
        Py_DECREF(closed);
        PyErr_SetNone(nrpy_names.cancelled_error);
        nrpy_runner_finish(self, NULL);
    }
    Py_DECREF(object);
    Py_RETURN_NONE;
}

static PyObject *runner_await(PyObject *object) {
    return Py_NewRef(object);
}

/* What tools look at in a coroutine is the author's: repr(task), task.get_stack(), debuggers. */
static PyObject *runner_getattro(PyObject *object, PyObject *name) {
    PyObject *value = PyObject_GenericGetAttr(object, name);
    nrpy_runner *self = (nrpy_runner *)object;
    if (value == NULL && self->coroutine != NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(self->coroutine, name);
    }
    return value;
}

static int runner_traverse(PyObject *object, visitproc visit, void *arg) {
    nrpy_runner *self = (nrpy_runner *)object;
    Py_VISIT(self->coroutine);
    Py_VISIT(self->callback);
    Py_VISIT(self->stream);
    Py_VISIT(self->task);
    Py_VISIT(self->context);
    Py_VISIT(self->variables);
    Py_VISIT(self->waiter);
    return 0;
}

static int runner_clear(PyObject *object) {
    nrpy_runner *self = (nrpy_runner *)object;
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->stream);
    nrpy_runner_end(self);
    return 0;
}

static void runner_dealloc(PyObject *object) {
    nrpy_runner *self = (nrpy_runner *)object;
    PyObject_GC_UnTrack(object);
    runner_clear(object);
    if (self->exchange != NULL) {
        nrpy_exchange_release(self->exchange);
    }
    PyObject_GC_Del(object);
}

static PyMethodDef methods[] = {
    {"send", runner_send, METH_O, "As a coroutine's."},
    {"throw", runner_throw, METH_VARARGS, "As a coroutine's."},
    {"close", runner_close, METH_NOARGS, "As a coroutine's."},
    {NULL, NULL, 0, NULL},
};

static PyAsyncMethods as_async = {.am_await = runner_await, .am_send = runner_am_send};

PyTypeObject nrpy_runner_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py._core.Runner",
    .tp_doc = "The coroutine of a call's task.",
    .tp_basicsize = sizeof(nrpy_runner),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = runner_dealloc,
    .tp_traverse = runner_traverse,
    .tp_clear = runner_clear,
    .tp_getattro = runner_getattro,
    .tp_as_async = &as_async,
    .tp_iter = runner_await,
    .tp_iternext = runner_next,
    .tp_methods = methods,
};
