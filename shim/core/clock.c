#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what is written here */
static unsigned holders;
static _Atomic bool manual;
static _Atomic int64_t stopped_at_ns; /* what a clock that stands shows */
static _Atomic(void (*)(void)) listeners[NRPY_CLOCK_LISTENERS];

int64_t nrpy_clock_ns(void) {
    return atomic_load(&manual) ? atomic_load(&stopped_at_ns) : nrpy_time_ns(CLOCK_MONOTONIC);
}

bool nrpy_clock_is_manual(void) {
    return atomic_load(&manual);
}

static void tell_listeners(void) {
    for (size_t i = 0; i < NRPY_CLOCK_LISTENERS; i++) {
        void (*look)(void) = atomic_load(&listeners[i]);
        if (look != NULL) {
            look();
        }
    }
}

bool nrpy_clock_hold(bool wants_manual) {
    pthread_mutex_lock(&lock);
    bool fits = holders == 0 || atomic_load(&manual) == wants_manual;
    if (fits && holders++ == 0 && wants_manual) {
        atomic_store(&stopped_at_ns, nrpy_time_ns(CLOCK_MONOTONIC));
        atomic_store(&manual, true);
    }
    pthread_mutex_unlock(&lock);
    return fits;
}

void nrpy_clock_release(bool wanted_manual) {
    pthread_mutex_lock(&lock);
    bool goes_on = --holders == 0 && wanted_manual;
    if (goes_on) {
        atomic_store(&manual, false);
    }
    pthread_mutex_unlock(&lock);
    if (goes_on) {
        tell_listeners();
    }
}

bool nrpy_clock_advance(int64_t ns) {
    pthread_mutex_lock(&lock);
    bool stands = atomic_load(&manual);
    if (stands) {
        atomic_fetch_add(&stopped_at_ns, ns);
    }
    pthread_mutex_unlock(&lock);
    if (stands) {
        tell_listeners();
    }
    return stands;
}

void nrpy_clock_listen(void (*look)(void)) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < NRPY_CLOCK_LISTENERS; i++) {
        if (atomic_load(&listeners[i]) == NULL || atomic_load(&listeners[i]) == look) {
            atomic_store(&listeners[i], look);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

struct timespec nrpy_wait_limit(double seconds) {
    struct timespec until;
    clock_gettime(NRPY_WAIT_CLOCK, &until);
    int64_t until_ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += until_ns / 1000000000;
    until.tv_nsec = until_ns % 1000000000;
    return until;
}

bool nrpy_sem_wait_for(sem_t *posted, double seconds) {
    struct timespec until = nrpy_wait_limit(seconds);
    int failed;
    do {
#if NRPY_WAITS_BY_MONOTONIC
        failed = sem_clockwait(posted, NRPY_WAIT_CLOCK, &until);
#else
        failed = sem_timedwait(posted, &until);
#endif
    } while (failed != 0 && errno == EINTR);
    return failed == 0;
}
