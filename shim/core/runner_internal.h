/*
 * What a runner is between its calls and at their ends, for the coroutine that it is (runner.c).
 */
#ifndef NRPY_RUNNER_INTERNAL_H
#define NRPY_RUNNER_INTERNAL_H

#include "runner.h"

/* In the first step of its task, before its first call. */
void nrpy_runner_begin(nrpy_runner *runner);

/* It is at work for this exchange from here on. Takes the reference to it. */
void nrpy_runner_engage(nrpy_runner *runner, nrpy_exchange *exchange);

/* The author's coroutine is over. `result` is what it returned, taken; NULL: what it raised is set. Leaves no exception
 * set. Its last references may go here: the runner is kept by the caller. */
void nrpy_runner_finish(nrpy_runner *runner, PyObject *result);

/* Suspends its task until there is a call, or ends it. As am_send: in a step, when no call is at work. */
PySendResult nrpy_runner_rest(nrpy_runner *runner, PyObject **result);

/* Ends its task; likewise. */
PySendResult nrpy_runner_end_task(nrpy_runner *runner, PyObject **result);

/* Its task ends, or has. What is left is the exchange, for current_call() of a child. */
void nrpy_runner_end(nrpy_runner *runner);

/* Its task is suspended: asyncio.all_tasks() refers to it from here on, if not before. */
static inline void nrpy_runner_note_wait(nrpy_runner *runner) {
    runner->weakrefs = 1;
}

#endif /* NRPY_RUNNER_INTERNAL_H */
