/*
 * The time that deadlines are kept by: the monotonic clock, unless an author's test has stopped it and moves it by hand.
 */
#ifndef NRPY_CLOCK_H
#define NRPY_CLOCK_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

int64_t nrpy_clock_ns(void);

/* Whether time stands until it is moved: a timed wait must then wait for its listener alone. */
bool nrpy_clock_is_manual(void);

/*
 * Takes hold of the clock for one host, which lets go of it at its end. All that hold it at once must want the same:
 * the clock is the process's. Returns false where others hold it that want the other.
 */
bool nrpy_clock_hold(bool manual);
void nrpy_clock_release(bool manual);

/* Moves a clock that stands, and calls the listeners. Not negative. Returns false where it does not stand. */
bool nrpy_clock_advance(int64_t ns);

/*
 * Has `look` called, on whatever thread, whenever time has jumped: who waits for a time looks again. For good; at most
 * NRPY_CLOCK_LISTENERS in a process, each once. No lock is held during the call. Must not need the GIL.
 */
enum { NRPY_CLOCK_LISTENERS = 4 };
void nrpy_clock_listen(void (*look)(void));

/* ---- time that no test moves ---- */

/* What a kernel's clock shows. */
static inline int64_t nrpy_time_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- waits of our own, which no test moves and no change of the wall clock may shorten or draw out ---- */

/* glibc has waits by the monotonic clock since 2.31; before, a jump of the wall clock shows in them. ThreadSanitizer
 * knows the old ones only: what a thread learns by the others it takes for a race, and who was joined for leaked. */
#if defined(__GLIBC_PREREQ) && __GLIBC_PREREQ(2, 31) && !defined(__SANITIZE_THREAD__)
#define NRPY_WAITS_BY_MONOTONIC 1
#define NRPY_WAIT_CLOCK CLOCK_MONOTONIC
#else
#define NRPY_WAITS_BY_MONOTONIC 0
#define NRPY_WAIT_CLOCK CLOCK_REALTIME
#endif

/* `seconds` from now, by NRPY_WAIT_CLOCK. */
struct timespec nrpy_wait_limit(double seconds);

/* Waits for a post. Returns false when `seconds` pass first. */
bool nrpy_sem_wait_for(sem_t *posted, double seconds);

#endif /* NRPY_CLOCK_H */
