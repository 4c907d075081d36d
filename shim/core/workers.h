/*
 * The workers of one instance: threads of ours that take items from its queue and run them.
 *
 * A worker that finds nothing polls for a moment before it parks, so that a host which calls again at once costs no
 * system call. While one is awake a producer wakes nobody: if the awake one turns out to be stuck in a handler, the
 * monitor sees the queue age and wakes or makes another.
 */
#ifndef NRPY_WORKERS_H
#define NRPY_WORKERS_H

#include "queue.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

struct nrpy_instance;
struct nrpy_thread;

typedef struct nrpy_worker {
    pthread_t id;
    struct nrpy_instance *instance; /* a reference */
    struct nrpy_pool *pool;         /* the instance's */
    _Atomic(struct nrpy_thread *) thread;
    _Atomic bool in_handler;  /* between taking an item and being done with it */
    struct nrpy_worker *next; /* guarded by the pool's lock */
} nrpy_worker;

typedef struct nrpy_pool {
    _Alignas(NRPY_CACHE_LINE) _Atomic int awake; /* workers that will look at the queue before they park */
    _Atomic int parked;
    _Atomic bool stopping;
    sem_t wake;
    pthread_mutex_t lock; /* guards the list and the counts below */
    nrpy_worker *workers;
    unsigned count;
    unsigned limit;
    struct nrpy_instance *instance;
    nrpy_queue *queue;
    uint64_t popped_before; /* the monitor's */
    bool is_watched;        /* the monitor's; guarded by its lock */
    struct nrpy_pool *next; /* likewise */
} nrpy_pool;

void nrpy_pool_init(nrpy_pool *pool, struct nrpy_instance *instance, nrpy_queue *queue, unsigned limit);
void nrpy_pool_destroy(nrpy_pool *pool);

/* Starts the first worker and has the pool watched. Returns 0 or an errno. */
int nrpy_pool_start(nrpy_pool *pool);

/* Whether a worker has work in sight and waits for the GIL: another one would only wait beside it. */
bool nrpy_pool_waits_for_gil(nrpy_pool *pool);

/* Wakes a parked worker, or makes one more up to the limit. */
void nrpy_pool_add_worker(nrpy_pool *pool);

/*
 * Ends the workers. Those that are in a handler and do not come back are left to end by themselves; so is `self`,
 * the thread that asked for it. Returns how many were left but `self`. Must not hold the GIL.
 */
unsigned nrpy_pool_stop(nrpy_pool *pool, const struct nrpy_thread *self);

void nrpy_pool_wake_one(nrpy_pool *pool);

/* After a push: somebody will look. */
static inline void nrpy_pool_notify(nrpy_pool *pool) {
    /* Both sides write, then read the other's word, all in one total order: a worker that parks has either seen the item
     * or is seen here. */
    int none = 0;
    if (atomic_load(&pool->awake) == 0 && atomic_compare_exchange_strong(&pool->awake, &none, 1)) {
        nrpy_pool_wake_one(pool);
    }
}

#endif /* NRPY_WORKERS_H */
