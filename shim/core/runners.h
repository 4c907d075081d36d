/*
 * The runners of an event loop: those at work, and those that rest until there is a call.
 */
#ifndef NRPY_RUNNERS_H
#define NRPY_RUNNERS_H

#include "loop.h"

/* Has the loop's next_call begun by a runner, which may go on with the calls behind it. On the loop's thread, in no task;
 * needs the GIL, and leaves no exception set. */
void nrpy_runners_begin(nrpy_loop *loop);

/* Cancels the tasks of all that are at work. Likewise. */
void nrpy_runners_cancel(nrpy_loop *loop);

/* Ends the tasks of those at rest. Likewise. */
void nrpy_runners_dismiss(nrpy_loop *loop);

#endif /* NRPY_RUNNERS_H */
