#include "runners.h"

#include "handler.h"
#include "inbox.h"
#include "runner.h"
#include "stream_object.h"
#include "task.h"
#include "task_type.h"
#include "waiter.h"

static void report(PyObject *done) {
    if (done == NULL) {
        PyErr_WriteUnraisable(NULL);
    }
    Py_XDECREF(done);
}

/* Has a runner that rests look for a call; it goes where somebody has come by its task. */
static void wake_one(nrpy_loop *loop) {
    enum { OF_TASK = 2 }; /* the runner's, and that of the callback on its waiter */
    nrpy_runner *runner = loop->resting;
    runner->is_kept = Py_REFCNT(runner->task) != OF_TASK;
    PyObject *waiter = Py_NewRef(runner->waiter); /* which keeps the task, which keeps the runner */
    nrpy_runner_leave_rest(runner);
    report(nrpy_waiter_wake(waiter));
    Py_DECREF(waiter);
}

/* Leaves the exception of a failure set where the call is still to be begun. */
static void start_one(nrpy_loop *loop) {
    nrpy_runner *runner = nrpy_runner_new(loop);
    if (runner == NULL) {
        return;
    }
    if (nrpy_task_start(runner) != 0) {
        nrpy_runner_fail(runner);
    }
    runner->holders = 0;
    Py_DECREF(runner);
}

/* An exception is set. */
static void refuse(nrpy_call *call) {
    nrpy_exchange *exchange = call->exchange;
    nrpy_call_free(call);
    nrpy_handler_begins(exchange);
    nrpy_exchange_finish(exchange, NULL, true);
    nrpy_handler_ended(exchange);
    if (exchange->has_hooks) {
        nrpy_inbox_queue(exchange);
    }
    nrpy_exchange_release(exchange);
}

void nrpy_runners_begin(nrpy_loop *loop) {
    while (loop->next_call != NULL && loop->resting != NULL) {
        wake_one(loop);
    }
    if (loop->next_call != NULL) {
        start_one(loop);
    }
    nrpy_call *call = loop->next_call;
    loop->next_call = NULL;
    if (call != NULL) {
        refuse(call);
    } else if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(NULL);
    }
}

void nrpy_runners_dismiss(nrpy_loop *loop) {
    while (loop->resting != NULL) {
        loop->resting->is_leaving = true;
        wake_one(loop);
    }
}

static void pass_cancel_on(nrpy_runner *self) {
    unsigned cancels = atomic_load(&self->exchange->cancelled);
    if (cancels > self->cancels) {
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
    self->holders++;
    pass_cancel_on(self);
    if (self->stream != NULL) {
        report(nrpy_stream_look(self->stream));
    }
    self->holders--;
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
        if (self->coroutine != NULL) {
            unsigned never = 0;
            atomic_compare_exchange_strong(&self->exchange->cancelled, &never, 1);
            pass_cancel_on(self);
        }
        nrpy_runner *next = self->coroutine != NULL ? (nrpy_runner *)Py_XNewRef((PyObject *)self->next) : NULL;
        Py_DECREF(self);
        self = next;
    }
}
