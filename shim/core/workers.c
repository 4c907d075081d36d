#include "workers.h"

#include "clock.h"
#include "forked.h"
#include "instance.h"
#include "monitor.h"
#include "owned.h"
#include "pause.h"
#include "queued.h"
#include "runtime.h"
#include "threads.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A host that awaits one call at a time comes back within some 20 us; longer polling burns a core for nobody. */
enum { POLL_NS = 50 * 1000, LOOKS_PER_CLOCK = 8, PAUSES_PER_LOOK = 2 };

void nrpy_pool_init(nrpy_pool *pool, struct nrpy_instance *instance, nrpy_queue *queue, unsigned limit) {
    atomic_init(&pool->awake, 0);
    atomic_init(&pool->parked, 0);
    atomic_init(&pool->stopping, false);
    sem_init(&pool->wake, 0, 0);
    pthread_mutex_init(&pool->lock, NULL);
    pool->workers = NULL;
    pool->count = 0;
    pool->limit = limit;
    pool->instance = instance;
    pool->queue = queue;
    pool->is_watched = false;
}

void nrpy_pool_destroy(nrpy_pool *pool) {
    while (pool->workers != NULL) {
        nrpy_worker *worker = pool->workers;
        pool->workers = worker->next;
        free(worker);
    }
    pthread_mutex_destroy(&pool->lock);
    sem_destroy(&pool->wake);
}

/* ---- a worker's life ---- */

/* Returns whether something came. One poller is enough, and none where it would keep the only core from the host. */
static bool poll_queue(nrpy_pool *pool) {
    static _Atomic int known_cores;
    int cores = atomic_load_explicit(&known_cores, memory_order_relaxed);
    if (cores == 0) {
        cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
        atomic_store_explicit(&known_cores, cores, memory_order_relaxed);
    }
    if (cores < 2 || atomic_load_explicit(&pool->awake, memory_order_relaxed) > 1) {
        return nrpy_queue_has_items(pool->queue);
    }
    int64_t until = nrpy_time_ns(CLOCK_MONOTONIC) + POLL_NS;
    do {
        for (int look = 0; look < LOOKS_PER_CLOCK; look++) {
            if (nrpy_queue_shows_item(pool->queue)) {
                return true;
            }
            /* Each look takes the line away from the producers. */
            for (int i = 0; i < PAUSES_PER_LOOK; i++) {
                nrpy_pause();
            }
        }
    } while (!atomic_load_explicit(&pool->stopping, memory_order_relaxed) && nrpy_time_ns(CLOCK_MONOTONIC) < until);
    return false;
}

/* Whoever wakes us has counted us as awake. */
static void park(nrpy_pool *pool) {
    atomic_fetch_add(&pool->parked, 1);
    atomic_fetch_sub(&pool->awake, 1);
    if (nrpy_queue_has_items(pool->queue) || atomic_load(&pool->stopping)) {
        atomic_fetch_add(&pool->awake, 1);
    } else {
        while (sem_wait(&pool->wake) != 0 && errno == EINTR) {
        }
    }
    atomic_fetch_sub(&pool->parked, 1);
    nrpy_monitor_arm();
}

void nrpy_worker_reattach(nrpy_thread *thread, PyThreadState *state) {
    atomic_store_explicit(&thread->waits_for_gil, true, memory_order_relaxed);
    nrpy_back_from_host(state);
    atomic_store_explicit(&thread->waits_for_gil, false, memory_order_relaxed);
}

static inline nrpy_item *take_item(nrpy_queue *queue, nrpy_thread *thread) {
    atomic_store_explicit(&thread->takes_item, true, memory_order_relaxed);
    nrpy_item *item = nrpy_queue_pop(queue);
    if (item == NULL) {
        nrpy_item_is_shown(thread);
    }
    return item;
}

/* Runs what is queued, with the GIL kept from one item to the next. Returns false where Python is not to be had. A
 * function of its own in the built core too: it is what `make budget` counts a worker's instructions in. */
__attribute__((noinline)) static bool drain(nrpy_worker *worker, nrpy_thread *thread) {
    nrpy_pool *pool = worker->pool;
    nrpy_attachment attachment;
    atomic_store_explicit(&thread->waits_for_gil, true, memory_order_relaxed);
    bool attached = nrpy_attach(&attachment, thread);
    atomic_store_explicit(&thread->waits_for_gil, false, memory_order_relaxed);
    if (!attached) {
        return false;
    }
    atomic_store(&worker->in_handler, true);
    nrpy_item *item;
    while (!atomic_load_explicit(&pool->stopping, memory_order_relaxed) &&
           (item = take_item(pool->queue, thread)) != NULL) {
        nrpy_run_item(worker->instance, thread, item);
        nrpy_context_reset(thread->state);
        nrpy_owned_drop_plain();
    }
    atomic_store(&worker->in_handler, false);
    nrpy_detach(&attachment);
    nrpy_block_flush(&thread->blocks);
    return true;
}

/* A worker that is there is counted on: without memory it tries again. NULL: the pool has ended first. */
static nrpy_thread *enter(nrpy_pool *pool) {
    nrpy_thread *thread;
    while ((thread = nrpy_thread_self()) == NULL && !atomic_load(&pool->stopping)) {
        nrpy_rest_for_memory();
    }
    return thread;
}

static void *run_worker(void *argument) {
    nrpy_worker *worker = argument;
    nrpy_pool *pool = worker->pool;
    nrpy_thread *thread = enter(pool);
    atomic_store(&worker->thread, thread);
    nrpy_monitor_arm();
    while (!atomic_load(&pool->stopping)) {
        if (!poll_queue(pool)) {
            park(pool);
        } else if (!drain(worker, thread)) {
            if (!nrpy_is_alive()) {
                break;
            }
            nrpy_rest_for_memory(); /* no memory for a thread state: the calls that wait are this worker's to answer */
        }
    }
    atomic_fetch_sub(&pool->awake, 1);
    nrpy_instance_release(worker->instance);
    return NULL;
}

/* ---- the pool ---- */

/* The pool's lock is held. */
static int add_thread(nrpy_pool *pool) {
    nrpy_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        return ENOMEM;
    }
    worker->instance = pool->instance;
    worker->pool = pool;
    nrpy_instance_retain(pool->instance);
    atomic_fetch_add(&pool->awake, 1);
    int failed = nrpy_spawn(&worker->id, run_worker, worker);
    if (failed != 0) {
        atomic_fetch_sub(&pool->awake, 1);
        nrpy_instance_release(pool->instance);
        free(worker);
        return failed;
    }
    worker->next = pool->workers;
    pool->workers = worker;
    pool->count++;
    return 0;
}

int nrpy_pool_start(nrpy_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    int failed = add_thread(pool);
    pthread_mutex_unlock(&pool->lock);
    if (failed == 0) {
        nrpy_monitor_watch(pool);
    }
    return failed;
}

bool nrpy_pool_waits_for_gil(nrpy_pool *pool) {
    bool found = false;
    pthread_mutex_lock(&pool->lock);
    for (nrpy_worker *worker = pool->workers; worker != NULL && !found; worker = worker->next) {
        nrpy_thread *thread = atomic_load(&worker->thread);
        found = thread != NULL && atomic_load_explicit(&thread->waits_for_gil, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

void nrpy_pool_wake_one(nrpy_pool *pool) {
    sem_post(&pool->wake);
}

void nrpy_pool_add_worker(nrpy_pool *pool) {
    if (atomic_load(&pool->parked) > 0) {
        atomic_fetch_add(&pool->awake, 1);
        nrpy_pool_wake_one(pool);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->count < pool->limit && !atomic_load(&pool->stopping)) {
        /* A refused thread is no harm: the ones there are go on, and the next tick tries again. */
        (void)add_thread(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

unsigned nrpy_pool_stop(nrpy_pool *pool, const nrpy_thread *self) {
    nrpy_monitor_forget(pool);
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stopping, true);
    nrpy_worker *workers = pool->workers;
    unsigned count = pool->count;
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < count; i++) {
        nrpy_pool_wake_one(pool);
    }
    unsigned left = 0;
    for (nrpy_worker *worker = workers; worker != NULL; worker = worker->next) {
        bool own = self != NULL && atomic_load(&worker->thread) == self;
        if (own || atomic_load(&worker->in_handler) || !nrpy_join(worker->id)) {
            pthread_detach(worker->id);
            left += !own;
        }
    }
    return left;
}
