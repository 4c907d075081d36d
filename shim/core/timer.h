/*
 * Calls functions at their time, on threads of its own that never take the GIL: nothing Python does delays them, and a
 * function that blocks delays the others by some milliseconds.
 */
#ifndef NRPY_TIMER_H
#define NRPY_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory is a timer that is not armed. Its memory must last until it has fired. */
typedef struct nrpy_timer {
    void (*fire)(struct nrpy_timer *timer); /* on a thread of the timers', with no lock held; may arm it again */
    int64_t due_ns;                         /* by the monotonic clock; guarded by the lock of all timers */
    size_t place;                           /* in the heap, from 1; 0: not armed; likewise */
} nrpy_timer;

/* Has `timer` fire once, `delay_ns` from now. It must not be armed. Returns 0, or an errno: then it will not fire. */
int nrpy_timer_arm(nrpy_timer *timer, int64_t delay_ns);

/* Takes an armed timer back. Returns false where it was not armed, or is firing already. */
bool nrpy_timer_disarm(nrpy_timer *timer);

#endif /* NRPY_TIMER_H */
