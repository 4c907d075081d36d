/*
 * The task of a runner: asyncio's own, with a context of its own, run to its first wait where it is made.
 */
#ifndef NRPY_TASK_H
#define NRPY_TASK_H

#include "python.h"

#include "runner.h"

/* Makes the task that drives `runner`, and runs its first step. On the loop's thread, in no task. Returns 0, or -1 with an
 * exception set: then nobody steps the runner any more. */
int nrpy_task_start(nrpy_runner *runner);

#endif /* NRPY_TASK_H */
