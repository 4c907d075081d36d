#include "runner.h"

#include "callback.h"
#include "clock.h"
#include "forked.h"
#include "handler.h"
#include "inbox.h"
#include "loop_watch.h"
#include "module.h"
#include "queued.h"
#include "request.h"
#include "stream_object.h"
#include "streams.h"
#include "task.h"

/* ---- the list of a loop's runners ---- */

static void enlist(nrpy_runner *self) {
    nrpy_loop *loop = nrpy_runner_loop(self);
    self->next = loop->first;
    self->link = &loop->first;
    if (self->next != NULL) {
        self->next->link = &self->next;
    }
    loop->first = self;
    atomic_fetch_add(&loop->runners, 1);
    nrpy_loop_watch_begin(loop);
}

static void delist(nrpy_runner *self) {
    *self->link = self->next;
    if (self->next != NULL) {
        self->next->link = self->link;
    }
    self->link = NULL;
    atomic_fetch_sub(&nrpy_runner_loop(self)->runners, 1);
}

/* ---- the end of a handler ---- */

/* Its last references may go here: the runner is kept by the caller. */
static void retire(nrpy_runner *self) {
    if (self->link == NULL) {
        return;
    }
    nrpy_exchange *exchange = self->exchange;
    delist(self);
    if (self->stream != NULL) {
        nrpy_stream_retire(self->stream);
    }
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->task);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->stream);
    exchange->runner = NULL;
    nrpy_handler_ended(exchange);
    if (exchange->has_hooks) {
        nrpy_inbox_queue(exchange); /* its input has waited for the handler's return */
    }
    Py_DECREF(self); /* the exchange's */
}

/* `result` is what the author's coroutine returned, taken; NULL: what it raised is set. Leaves no exception set. */
static void finish(nrpy_runner *self, PyObject *result) {
    nrpy_exchange_finish(self->exchange, result, true);
    retire(self);
}

/* ---- as a coroutine ---- */

static void step_begins(nrpy_runner *self) {
    nrpy_loop *loop = nrpy_runner_loop(self);
    if (!self->has_begun) {
        self->has_begun = true;
        PyObject *token = PyContextVar_Set(nrpy_names.call_variable, (PyObject *)self);
        Py_XDECREF(token);
        PyErr_Clear(); /* without memory for it there is no current_call() */
    }
    atomic_store_explicit(&nrpy_thread_cached->exchange, self->exchange, memory_order_relaxed);
    atomic_store_explicit(&loop->step_entry, self->exchange->entry, memory_order_relaxed);
    atomic_store_explicit(&loop->step_sid, self->exchange->sid, memory_order_relaxed);
    atomic_store_explicit(&loop->step_began_ns, nrpy_time_ns(CLOCK_MONOTONIC_COARSE), memory_order_release);
}

static void step_ends(nrpy_runner *self) {
    nrpy_loop *loop = nrpy_runner_loop(self);
    if (atomic_load_explicit(&loop->wake_sent_ns, memory_order_relaxed) != 0) { /* the time until now was the step's */
        atomic_store_explicit(&loop->wake_sent_ns, nrpy_time_ns(CLOCK_MONOTONIC_COARSE), memory_order_relaxed);
    }
    atomic_store_explicit(&loop->step_began_ns, 0, memory_order_release);
    atomic_store_explicit(&nrpy_thread_cached->exchange, NULL, memory_order_relaxed);
}

static PySendResult runner_am_send(PyObject *object, PyObject *value, PyObject **result) {
    nrpy_runner *self = (nrpy_runner *)object;
    if (self->coroutine == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        *result = NULL;
        return PYGEN_ERROR;
    }
    Py_INCREF(object);
    step_begins(self);
    PyObject *coroutine = Py_NewRef(self->coroutine);
    PyObject *sent;
    PySendResult how = PyIter_Send(coroutine, value, &sent);
    Py_DECREF(coroutine);
    nrpy_author_returned(how != PYGEN_ERROR ? sent : NULL);
    step_ends(self);
    if (how == PYGEN_NEXT) {
        *result = sent;
    } else {
        finish(self, how == PYGEN_RETURN ? sent : NULL);
        *result = Py_NewRef(Py_None);
        how = PYGEN_RETURN;
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

static PyObject *runner_throw(PyObject *object, PyObject *args) {
    nrpy_runner *self = (nrpy_runner *)object;
    PyObject *method = self->coroutine != NULL ? PyObject_GetAttrString(self->coroutine, "throw") : NULL;
    if (method == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        }
        return NULL;
    }
    Py_INCREF(object);
    step_begins(self);
    PyObject *value = PyObject_Call(method, args, NULL);
    nrpy_author_returned(value);
    step_ends(self);
    Py_DECREF(method);
    if (value == NULL) {
        PyObject *returned = NULL;
        if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
            PyObject *stop = nrpy_take_exception();
            returned = PyObject_GetAttrString(stop, "value");
            Py_DECREF(stop);
        }
        finish(self, returned);
        PyErr_SetNone(PyExc_StopIteration);
    }
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
    PyObject *closed = PyObject_CallMethod(self->coroutine, "close", NULL);
    if (closed == NULL) {
        finish(self, NULL);
    } else {
        Py_DECREF(closed);
        PyErr_SetNone(nrpy_names.cancelled_error);
        finish(self, NULL);
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
    Py_VISIT(self->task);
    Py_VISIT(self->callback);
    Py_VISIT(self->stream);
    return 0;
}

static int runner_clear(PyObject *object) {
    nrpy_runner *self = (nrpy_runner *)object;
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->task);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->stream);
    return 0;
}

static void runner_dealloc(PyObject *object) {
    nrpy_runner *self = (nrpy_runner *)object;
    PyObject_GC_UnTrack(object);
    runner_clear(object);
    nrpy_exchange_release(self->exchange);
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

/* ---- from a call to its task ---- */

static nrpy_runner *new_runner(nrpy_exchange *exchange) {
    nrpy_runner *self = PyObject_GC_New(nrpy_runner, &nrpy_runner_type);
    if (self != NULL) {
        nrpy_exchange_retain(exchange);
        self->exchange = exchange;
        self->coroutine = self->task = self->callback = self->stream = NULL;
        self->cancels = 0;
        self->has_begun = false;
        self->link = NULL;
        PyObject_GC_Track((PyObject *)self);
    }
    return self;
}

/* Calls the handler, which gives its coroutine. Takes `argument`. New reference, or NULL with an exception set. */
static PyObject *call_for_coroutine(nrpy_runner *self, PyObject *argument) {
    const nrpy_entry *entry = self->exchange->entry;
    bool takes_callback = (entry->flags & NRPY_CALLBACK) != 0;
    self->callback = takes_callback ? nrpy_callback_new(self->exchange) : NULL;
    PyObject *coroutine = NULL;
    if (self->callback != NULL || !takes_callback) {
        coroutine = nrpy_call_handler(entry->handler, argument, self->callback);
    }
    if (coroutine != NULL && !PyCoro_CheckExact(coroutine) && !PyObject_HasAttrString(coroutine, "throw")) {
        PyErr_Format(PyExc_TypeError, "an async handler returned %.100s, and no coroutine",
                     Py_TYPE(coroutine)->tp_name);
        Py_CLEAR(coroutine);
    }
    Py_DECREF(argument);
    return coroutine;
}

/* Takes the call. New reference, or NULL with an exception set. */
static PyObject *make_argument(nrpy_call *call) {
    if ((call->entry->flags & (NRPY_DUPLEX | NRPY_GENERATOR)) == 0) {
        return nrpy_argument_over_call(call);
    }
    PyObject *stream = nrpy_stream_new(call->exchange, NULL, call);
    if (stream == NULL) {
        nrpy_call_free(call);
    }
    return stream;
}

void nrpy_runner_begin(nrpy_call *call) {
    nrpy_exchange *exchange = call->exchange;
    PyObject *argument = NULL;
    nrpy_runner *self = NULL;
    if (nrpy_exchange_is_cancelled(exchange)) {
        nrpy_call_free(call);
        nrpy_skip_handler(exchange);
        nrpy_exchange_release(exchange);
        return;
    }
    nrpy_handler_begins(exchange);
    self = new_runner(exchange);
    argument = make_argument(call);
    if (self != NULL && (exchange->entry->flags & (NRPY_DUPLEX | NRPY_GENERATOR)) != 0) {
        self->stream = Py_XNewRef(argument);
    }
    if (self == NULL || argument == NULL) {
        Py_XDECREF(argument);
        Py_XDECREF(self);
        nrpy_exchange_finish(exchange, NULL, true);
        nrpy_handler_ended(exchange);
        nrpy_exchange_release(exchange);
        return;
    }
    exchange->runner = (nrpy_runner *)Py_NewRef(self);
    enlist(self);
    self->coroutine = call_for_coroutine(self, argument);
    PyObject *task = self->coroutine != NULL ? nrpy_task_start(self) : NULL;
    if (task == NULL) {
        finish(self, NULL);
    } else if (self->coroutine != NULL) {
        self->task = task;
        task = NULL;
    }
    Py_XDECREF(task); /* it ran to its end at once */
    Py_DECREF(self);
    nrpy_exchange_release(exchange);
}

static void report(PyObject *done) {
    if (done == NULL) {
        PyErr_WriteUnraisable(NULL);
    }
    Py_XDECREF(done);
}

static void pass_cancel_on(nrpy_runner *self) {
    unsigned cancels = atomic_load(&self->exchange->cancelled);
    if (self->task != NULL && cancels > self->cancels) {
        self->cancels = cancels;
        PyObject *task = Py_NewRef(self->task);
        report(PyObject_CallMethod(task, "cancel", NULL));
        Py_DECREF(task);
    }
}

void nrpy_runner_look(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->inbox_served = false;
    pthread_mutex_unlock(&exchange->lock);
    nrpy_runner *self = exchange->runner;
    if (self == NULL) {
        return;
    }
    Py_INCREF(self);
    pass_cancel_on(self);
    if (self->stream != NULL) {
        report(nrpy_stream_look(self->stream));
    }
    Py_DECREF(self);
}

void nrpy_runner_pass_cancel(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->cancel_queued = false;
    pthread_mutex_unlock(&exchange->lock);
    nrpy_runner *self = (nrpy_runner *)Py_XNewRef((PyObject *)exchange->runner);
    if (self != NULL) {
        pass_cancel_on(self);
        Py_DECREF(self);
    }
}

void nrpy_runner_acknowledge(nrpy_exchange *exchange) {
    nrpy_runner *self = exchange->runner;
    if (self != NULL) {
        unsigned cancels = atomic_load(&exchange->cancelled);
        self->cancels = cancels > 0 ? cancels : 1;
    }
}

void nrpy_runners_cancel(nrpy_loop *loop) {
    /* What a task waits for may be an author's future, whose cancel may end any task: the next one is held meanwhile. */
    nrpy_runner *self = (nrpy_runner *)Py_XNewRef((PyObject *)loop->first);
    while (self != NULL) {
        unsigned never = 0;
        atomic_compare_exchange_strong(&self->exchange->cancelled, &never, 1);
        pass_cancel_on(self);
        nrpy_runner *next = self->link != NULL ? (nrpy_runner *)Py_XNewRef((PyObject *)self->next) : NULL;
        Py_DECREF(self);
        self = next;
    }
}
