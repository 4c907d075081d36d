/*
 * A waiter: what a task that waits for its stream is suspended on. It is asyncio's future as far as a task looks, used
 * again for each wait; the loop's thread wakes the task at once, without another round of the event loop.
 */
#ifndef NRPY_WAITER_H
#define NRPY_WAITER_H

#include "python.h"

extern PyTypeObject nrpy_waiter_type;

/* New reference or NULL. */
PyObject *nrpy_waiter_new(PyObject *event_loop);

/* A coroutine is about to wait: it yields `waiter`. */
void nrpy_waiter_begin(PyObject *waiter);

/* Runs the task that waits, in its context. On the event loop's thread, outside of any task. New reference to None, or
 * NULL with an exception set. */
PyObject *nrpy_waiter_wake(PyObject *waiter);

#endif /* NRPY_WAITER_H */
