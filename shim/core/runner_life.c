#include "runner_internal.h"

#include "handler.h"
#include "inbox.h"
#include "loop_watch.h"
#include "module.h"
#include "stream_object.h"
#include "task_type.h"
#include "traces.h"
#include "waiter.h"

/* So many slow calls at once end, and begin again, without their tasks having to be made again; some 1 KiB each. */
enum { RESTING_MAX = 1024 };

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

void nrpy_runner_engage(nrpy_runner *self, nrpy_exchange *exchange) {
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
    exchange->runner = NULL; /* an author's destructor, below, finds it retired */
    unlist(self);
    atomic_fetch_sub(&self->loop->runners, 1);
    if (self->stream != NULL) {
        nrpy_stream_retire(self->stream);
    }
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->stream);
    nrpy_handler_ended(exchange);
    if (exchange->has_hooks) {
        nrpy_inbox_queue(exchange); /* its input has waited for the handler's return */
    }
    Py_DECREF(self); /* the exchange's */
}

void nrpy_runner_finish(nrpy_runner *self, PyObject *result) {
    nrpy_exchange_finish(self->exchange, result, true);
    retire(self);
}

/* ---- between two calls ---- */

void nrpy_runner_leave_rest(nrpy_runner *self) {
    unlist(self);
    self->loop->resting_count--;
    Py_DECREF(self); /* the list's */
}

void nrpy_runner_end(nrpy_runner *self) {
    self->is_over = true;
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->variables);
    Py_CLEAR(self->context);
    Py_CLEAR(self->task);
}

PySendResult nrpy_runner_end_task(nrpy_runner *self, PyObject **result) {
    if (self->is_kept && nrpy_task_look(self->task) != 0) { /* the last time that its call is known */
        PyErr_WriteUnraisable(self->task);
    }
    nrpy_runner_end(self);
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static bool may_rest(const nrpy_runner *self) {
    const nrpy_loop *loop = self->loop;
    return !self->is_leaving && loop->resting_count < RESTING_MAX && !atomic_load(&loop->stopping);
}

PySendResult nrpy_runner_rest(nrpy_runner *self, PyObject **result) {
    if (self->waiter == NULL && may_rest(self)) {
        self->waiter = nrpy_waiter_new(self->loop->event_loop);
        PyErr_Clear(); /* without memory it ends */
    }
    if (self->waiter == NULL || !may_rest(self)) {
        return nrpy_runner_end_task(self, result);
    }
    if (self->exchange != NULL) {
        nrpy_exchange_release(self->exchange);
        self->exchange = NULL;
    }
    nrpy_task_marks_of(self->task)->is_resting = true;
    enlist((nrpy_runner *)Py_NewRef(self), &self->loop->resting);
    self->loop->resting_count++;
    nrpy_waiter_begin(self->waiter);
    nrpy_runner_note_wait(self);
    *result = Py_NewRef(self->waiter);
    return PYGEN_NEXT;
}

void nrpy_runner_begin(nrpy_runner *self) {
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
        nrpy_runner_finish(self, NULL);
    }
    PyObject *failure = nrpy_take_exception();
    if (self->link != NULL) {
        nrpy_runner_leave_rest(self);
    }
    nrpy_runner_end(self);
    if (failure != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        Py_DECREF(failure);
    }
}
