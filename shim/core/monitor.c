#include "monitor.h"

#include "workers.h"

#include <errno.h>
#include <time.h>

/* A queue that has items and has not moved for one tick is stuck behind a handler that blocks. After IDLE_TICKS without
 * an awake worker the monitor sleeps until the next one wakes. */
enum { TICK_NS = 500 * 1000, IDLE_TICKS = 40, NOW_AND_THEN_TICKS = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static nrpy_pool *watched;        /* guarded by lock */
static bool interrupted;          /* guarded by lock */
static nrpy_errand *first_errand; /* guarded by lock */
static nrpy_errand *last_errand;  /* likewise; undefined where there is none */
static _Atomic bool armed;

/* Returns whether the pool is at work. The monitor's lock is held, so the pool stays. */
static bool look_at(nrpy_pool *pool) {
    uint64_t popped = atomic_load(&pool->queue->head);
    bool waiting = nrpy_queue_has_items(pool->queue);
    if (waiting && popped == pool->popped_before && !nrpy_pool_waits_for_gil(pool)) {
        nrpy_pool_add_worker(pool);
    }
    pool->popped_before = popped;
    return waiting || atomic_load(&pool->awake) > 0;
}

static void next_tick(struct timespec *when) {
    clock_gettime(CLOCK_MONOTONIC, when);
    when->tv_nsec += TICK_NS;
    if (when->tv_nsec >= 1000000000L) {
        when->tv_nsec -= 1000000000L;
        when->tv_sec++;
    }
}

void nrpy_monitor_init(void) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* Looks at every pool. The lock is held. */
static bool any_at_work(void) {
    bool busy = false;
    for (nrpy_pool *pool = watched; pool != NULL; pool = pool->next) {
        busy |= look_at(pool);
    }
    return busy;
}

static void call_unlocked(void (*function)(void)) {
    pthread_mutex_unlock(&lock);
    function();
    pthread_mutex_lock(&lock);
}

/* The lock is held. */
static void run_errand(void) {
    nrpy_errand *errand = first_errand;
    first_errand = errand->next;
    pthread_mutex_unlock(&lock);
    errand->run(errand);
    pthread_mutex_lock(&lock);
}

void nrpy_monitor_run(void (*urgent)(void), void (*now_and_then)(void)) {
    int idle = 0;
    int ticks = 0;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (interrupted) {
            interrupted = false;
            call_unlocked(urgent);
        }
        if (first_errand != NULL) {
            run_errand();
            continue;
        }
        if (!atomic_load(&armed)) {
            pthread_cond_wait(&changed, &lock);
            idle = 0;
            continue;
        }
        struct timespec when;
        next_tick(&when);
        if (pthread_cond_timedwait(&changed, &lock, &when) != ETIMEDOUT) {
            continue;
        }
        idle = any_at_work() ? 0 : idle + 1;
        if (idle >= IDLE_TICKS) {
            /* A worker that woke just now may still have seen `armed`: it is counted as awake, so look once more. */
            atomic_store(&armed, false);
            atomic_store(&armed, any_at_work());
            idle = 0;
            ticks = 0;
        }
        if (ticks++ % NOW_AND_THEN_TICKS == 0) {
            call_unlocked(now_and_then);
        }
    }
}

void nrpy_monitor_do(nrpy_errand *errand) {
    errand->next = NULL;
    pthread_mutex_lock(&lock);
    if (first_errand == NULL) {
        first_errand = errand;
    } else {
        last_errand->next = errand;
    }
    last_errand = errand;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

void nrpy_monitor_interrupt(void) {
    pthread_mutex_lock(&lock);
    interrupted = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

void nrpy_monitor_arm(void) {
    if (!atomic_load(&armed)) {
        pthread_mutex_lock(&lock);
        atomic_store(&armed, true);
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
    }
}

void nrpy_monitor_watch(nrpy_pool *pool) {
    pthread_mutex_lock(&lock);
    pool->is_watched = true;
    pool->popped_before = 0;
    pool->next = watched;
    watched = pool;
    pthread_mutex_unlock(&lock);
}

void nrpy_monitor_forget(nrpy_pool *pool) {
    pthread_mutex_lock(&lock);
    nrpy_pool **link = &watched;
    while (pool->is_watched && *link != pool) {
        link = &(*link)->next;
    }
    if (pool->is_watched) {
        *link = pool->next;
        pool->is_watched = false;
    }
    pthread_mutex_unlock(&lock);
}
