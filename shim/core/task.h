/*
 * The task of a call: asyncio's own, with a name and a context of its own, run to its first wait where it is made.
 */
#ifndef NRPY_TASK_H
#define NRPY_TASK_H

#include "python.h"

#include "runner.h"

/* Makes the task that drives `runner`, and runs its first step, which may be its last. On the loop's thread, in no task.
 * New reference, or NULL with an exception set. */
PyObject *nrpy_task_start(nrpy_runner *runner);

#endif /* NRPY_TASK_H */
