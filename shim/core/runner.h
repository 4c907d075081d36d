/*
 * A runner: the coroutine that a call's task drives. It passes the author's coroutine on to the task, step by step, and
 * turns its end into the call's reply, with no Python frame of ours between the two.
 */
#ifndef NRPY_RUNNER_H
#define NRPY_RUNNER_H

#include "python.h"

#include "call.h"
#include "exchange.h"
#include "lane.h"

typedef struct nrpy_runner {
    PyObject_HEAD
    nrpy_exchange *exchange; /* a reference */
    PyObject *coroutine;     /* the author's, owned; NULL once it is over */
    PyObject *task;          /* owned; NULL once it is over */
    PyObject *callback;      /* the handler's, owned, or NULL: dropped before its answer it would answer Err */
    PyObject *stream;        /* the handler's Stream, owned, or NULL; likewise */
    unsigned cancels;        /* how many of the exchange's it has passed on */
    bool has_begun;
    struct nrpy_runner *next; /* the loop's list */
    struct nrpy_runner **link;
} nrpy_runner;

extern PyTypeObject nrpy_runner_type;

static inline nrpy_loop *nrpy_runner_loop(const nrpy_runner *runner) {
    const nrpy_exchange *exchange = runner->exchange;
    return (exchange->task_lane != NULL ? exchange->task_lane : exchange->lane)->loop;
}

/* Makes a task of a call. Takes the call. On its loop's thread; needs the GIL, and leaves no exception set. */
void nrpy_runner_begin(nrpy_call *call);

/* The loop looks at an exchange again: there is input, or room, or it is to end. Likewise. */
void nrpy_runner_look(nrpy_exchange *exchange);

/* Its task is to end: the cancel_item has come. Likewise. */
void nrpy_runner_pass_cancel(nrpy_exchange *exchange);

/* Its handler is ending already: the cancel that would have told it so is not passed on. Likewise. */
void nrpy_runner_acknowledge(nrpy_exchange *exchange);

/* Cancels all tasks of the loop's. Likewise. */
void nrpy_runners_cancel(nrpy_loop *loop);

#endif /* NRPY_RUNNER_H */
