/*
 * The watch over an event loop: a handler that keeps it for too long is named in the log, with its stack, while it is at it.
 *
 * What is no handler's own step, a callback or a task of the author's, shows by a wake that nobody answers. While calls
 * are at work the watch sends one itself where there is none.
 */
#ifndef NRPY_LOOP_WATCH_H
#define NRPY_LOOP_WATCH_H

#include "loop.h"

void nrpy_loop_watch_init(nrpy_loop *loop);
void nrpy_loop_watch_arm(nrpy_loop *loop);
void nrpy_loop_watch_stop(nrpy_loop *loop);

/* A call is at work on the loop, or is to be. */
static inline void nrpy_loop_watch_begin(nrpy_loop *loop) {
    if (!atomic_load_explicit(&loop->is_watched, memory_order_relaxed) && loop->slow_ns != 0) {
        nrpy_loop_watch_arm(loop);
    }
}

#endif /* NRPY_LOOP_WATCH_H */
