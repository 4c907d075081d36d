/*
 * A runner: the coroutine that a call's task drives. It passes the author's coroutine on to the task, step by step, and
 * turns its end into the call's reply, with no Python frame of ours between the two.
 *
 * A task costs far more than a call. So a runner whose call has left nothing at its task takes the next one, at once or
 * after a rest; else its task ends with the call. To the author each call has a task and a context of its own.
 */
#ifndef NRPY_RUNNER_H
#define NRPY_RUNNER_H

#include "python.h"

#include "call.h"
#include "exchange.h"
#include "lane.h"

typedef struct nrpy_runner {
    PyObject_HEAD
    nrpy_loop *loop;         /* whose; outlived by what rests there and by every call */
    nrpy_exchange *exchange; /* of its call, or of its last one: a reference; NULL: it rests, or has had none */
    PyObject *coroutine;     /* the author's, owned; NULL: no call is at work */
    PyObject *callback;      /* the handler's, owned, or NULL: dropped before its answer it would answer Err */
    PyObject *stream;        /* the handler's Stream, owned, or NULL; likewise */
    PyObject *task;          /* owned, until it is over */
    PyObject *context;       /* the task's; likewise */
    PyObject *variables;     /* what is set there: the runner itself; likewise; NULL: there was no memory for it */
    PyObject *waiter;        /* what it rests on; likewise; NULL: it never has */
    unsigned cancels;        /* how many of the exchange's it has passed on */
    int weakrefs;            /* how many references of that kind asyncio itself has to the task */
    Py_ssize_t holders;      /* who makes the task, and refers to the runner meanwhile */
    bool has_begun;
    bool is_kept;             /* somebody has references to its task that were not there before */
    bool is_leaving;          /* it rests no more */
    bool is_over;             /* so is its task */
    struct nrpy_runner *next; /* the loop's list of those at work, or of those at rest, which owns them */
    struct nrpy_runner **link;
} nrpy_runner;

extern PyTypeObject nrpy_runner_type;

/* A runner of the loop's that has no task yet. New reference, or NULL with an exception set. */
nrpy_runner *nrpy_runner_new(nrpy_loop *loop);

/* Its task could not be made, or suspended, with the exception that is set: nobody steps it any more. The call that it was
 * at work for has that exception as its end, which is then set no more. */
void nrpy_runner_fail(nrpy_runner *runner);

/* Removes it from those at rest, which its reference there was for. */
void nrpy_runner_leave_rest(nrpy_runner *runner);

/* The loop looks at an exchange again: there is input, or room, or it is to end. On its loop's thread, in no task; needs
 * the GIL, and leaves no exception set. */
void nrpy_runner_look(nrpy_exchange *exchange);

/* Its task is to end: the cancel_item has come. Likewise. */
void nrpy_runner_pass_cancel(nrpy_exchange *exchange);

/* Its handler is ending already: the cancel that would have told it so is not passed on. Likewise. */
void nrpy_runner_acknowledge(nrpy_exchange *exchange);

#endif /* NRPY_RUNNER_H */
