#include "runner.h"

#include "clock.h"
#include "coroutine.h"
#include "forked.h"
#include "handler.h"
#include "inbox.h"
#include "loop_watch.h"
#include "module.h"
#include "stream_object.h"
#include "task_type.h"
#include "traces.h"
#include "waiter.h"

/* So many a thousand streams or slow calls may leave behind without their tasks having to be made again; some 1 KiB each. */
enum { RESTING_MAX = 1024 };

/* ---- the lists of a loop's runners ---- */

static void enlist(nrpy_runner *self, nrpy_runner **list) {
    self->next = *list;
    self->link = list;
    if (self->next != NULL) {
        self->next->link = &self->next;
    }
    *list = self;
}

static void unlist(nrpy_runner *self) {
    *self->link = self->next;
    if (self->next != NULL) {
        self->next->link = self->link;
    }
    self->link = NULL;
}

/* ---- the beginning and the end of a handler ---- */

/* Takes the reference to the exchange. */
static void engage(nrpy_runner *self, nrpy_exchange *exchange) {
    nrpy_loop *loop = self->loop;
    if (self->exchange != NULL) {
        nrpy_exchange_release(self->exchange);
    }
    self->exchange = exchange;
    self->cancels = 0;
    exchange->runner = (nrpy_runner *)Py_NewRef(self);
    enlist(self, &loop->first);
    atomic_fetch_add(&loop->runners, 1);
    nrpy_loop_watch_begin(loop);
}

/* Its last references may go here: the runner is kept by the caller. */
static void retire(nrpy_runner *self) {
    nrpy_exchange *exchange = self->exchange;
    if (exchange->runner != self) {
        return;
    }
    unlist(self);
    atomic_fetch_sub(&self->loop->runners, 1);
    if (self->stream != NULL) {
        nrpy_stream_retire(self->stream);
    }
    Py_CLEAR(self->coroutine);
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

/* ---- between two calls ---- */

void nrpy_runner_leave_rest(nrpy_runner *self) {
    unlist(self);
    self->loop->resting_count--;
    Py_DECREF(self); /* the list's */
}

/* Its task ends, or has. What is left is the exchange, for current_call() of a child. */
static void end(nrpy_runner *self) {
    self->is_over = true;
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->variables);
    Py_CLEAR(self->context);
    Py_CLEAR(self->task);
}

static PySendResult end_task(nrpy_runner *self, PyObject **result) {
    if (self->is_kept && nrpy_task_look(self->task) != 0) { /* the last time that its call is known */
        PyErr_WriteUnraisable(self->task);
    }
    end(self);
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* Its task is suspended: asyncio.all_tasks() refers to it from here on, if not before. */
static void note_wait(nrpy_runner *self) {
    self->weakrefs = 1;
}

static bool may_rest(const nrpy_runner *self) {
    const nrpy_loop *loop = self->loop;
    return !self->is_leaving && loop->resting_count < RESTING_MAX && !atomic_load(&loop->stopping);
}

/* The task is suspended until there is a call, or ends. */
static PySendResult rest(nrpy_runner *self, PyObject **result) {
    if (self->waiter == NULL && may_rest(self)) {
        self->waiter = nrpy_waiter_new(self->loop->event_loop);
        PyErr_Clear(); /* without memory it ends */
    }
    if (self->waiter == NULL || !may_rest(self)) {
        return end_task(self, result);
    }
    if (self->exchange != NULL) {
        nrpy_exchange_release(self->exchange);
        self->exchange = NULL;
    }
    nrpy_task_marks_of(self->task)->is_resting = true;
    enlist((nrpy_runner *)Py_NewRef(self), &self->loop->resting);
    self->loop->resting_count++;
    nrpy_waiter_begin(self->waiter);
    note_wait(self);
    *result = Py_NewRef(self->waiter);
    return PYGEN_NEXT;
}

/* In the first step of its task. */
static void begin(nrpy_runner *self) {
    self->has_begun = true;
    self->holders = Py_REFCNT(self) - 2; /* the task's, and that of this step */
    self->weakrefs = nrpy_task_weakrefs(self->task);
    PyObject *token = PyContextVar_Set(nrpy_names.call_variable, (PyObject *)self);
    Py_XDECREF(token);
    self->variables = token != NULL ? nrpy_context_variables(self->context) : NULL;
    PyErr_Clear(); /* without memory for it there is no current_call() */
}

void nrpy_runner_fail(nrpy_runner *self) {
    if (self->coroutine != NULL) {
        finish(self, NULL);
    }
    PyObject *failure = nrpy_take_exception();
    if (self->link != NULL) {
        nrpy_runner_leave_rest(self);
    }
    end(self);
    if (failure != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        Py_DECREF(failure);
    }
}

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
        note_wait(self);
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
        finish(self, how == PYGEN_RETURN ? sent : NULL);
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
    engage(self, exchange);
    return step(self, call, Py_None, result);
}

/* Takes the calls that wait, one after the other, until one of them does not end in its first step. */
static PySendResult serve(nrpy_runner *self, PyObject **result) {
    bool is_new = !self->has_begun;
    if (is_new) {
        begin(self);
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
            return rest(self, result);
        }
        if (begin_call(self, call, result) == PYGEN_NEXT) {
            return PYGEN_NEXT;
        }
    }
    return end_task(self, result);
}

/* After a step by which its call has ended. */
static PySendResult go_on(nrpy_runner *self, PyObject **result) {
    return nrpy_is_as_new(self) ? rest(self, result) : end_task(self, result);
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
    end(self);
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
    finish(self, returned);
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
    end(self);
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

nrpy_runner *nrpy_runner_new(nrpy_loop *loop) {
    nrpy_runner *self = PyObject_GC_New(nrpy_runner, &nrpy_runner_type);
    if (self != NULL) {
        self->loop = loop;
        self->exchange = NULL;
        self->coroutine = self->callback = self->stream = NULL;
        self->task = self->context = self->variables = self->waiter = NULL;
        self->cancels = 0;
        self->weakrefs = 0;
        self->holders = 0;
        self->has_begun = self->is_kept = self->is_leaving = self->is_over = false;
        self->next = NULL;
        self->link = NULL;
        PyObject_GC_Track((PyObject *)self);
    }
    return self;
}
