/*
 * A queue with one worker, for peers in C: calls are pushed onto a list without a lock, and the worker takes all there is.
 *
 * The worker polls before it parks, for as long as ours does, so that calls which follow each other closely cost no
 * system call; that is all the art there is.
 */
#ifndef PEERS_QUEUE_H
#define PEERS_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { POLLS_FOR_NS = 50000, LOOKS_BETWEEN_CLOCKS = 16 };

/* The first member of what is queued. */
typedef struct queued {
    struct queued *next;
} queued;

typedef struct {
    _Atomic(queued *) newest; /* the others follow, older and older */
    atomic_bool is_over;
    atomic_bool is_parked; /* set before the worker looks for the last time, read after a push: one sees the other */
    pthread_mutex_t lock;  /* held by the worker but while it waits, and by who wakes it */
    pthread_cond_t woken;
    pthread_t worker;
} queue;

#define QUEUE_INITIALIZER {.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER}

static inline void queue_wake(queue *q) {
    if (atomic_load(&q->is_parked)) {
        pthread_mutex_lock(&q->lock);
        pthread_cond_signal(&q->woken);
        pthread_mutex_unlock(&q->lock);
    }
}

static inline void queue_put(queue *q, queued *item) {
    item->next = atomic_load_explicit(&q->newest, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&q->newest, &item->next, item)) {
    }
    queue_wake(q);
}

static inline bool queue_has_news(queue *q) {
    return atomic_load(&q->newest) != NULL || atomic_load(&q->is_over);
}

static inline uint64_t queue_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* True: there is news. By the clock: on a virtual machine a pause takes from nothing to a tenth of a microsecond. */
static inline bool queue_poll(queue *q) {
    if (queue_has_news(q)) {
        return true;
    }
    uint64_t until = queue_now_ns() + POLLS_FOR_NS;
    do {
        for (int i = 0; i < LOOKS_BETWEEN_CLOCKS; i++) {
            __builtin_ia32_pause();
            if (queue_has_news(q)) {
                return true;
            }
        }
    } while (queue_now_ns() < until);
    return false;
}

static inline void queue_await(queue *q) {
    if (queue_poll(q)) {
        return;
    }
    pthread_mutex_lock(&q->lock);
    atomic_store(&q->is_parked, true);
    while (!queue_has_news(q)) {
        pthread_cond_wait(&q->woken, &q->lock);
    }
    atomic_store(&q->is_parked, false);
    pthread_mutex_unlock(&q->lock);
}

/* For the worker: waits until there is something, and takes all of it, the oldest first. NULL: it is over. */
static inline queued *queue_take(queue *q) {
    queue_await(q);
    queued *oldest = NULL;
    for (queued *item = atomic_exchange(&q->newest, NULL); item != NULL;) {
        queued *older = item->next;
        item->next = oldest;
        oldest = item;
        item = older;
    }
    return oldest;
}

static inline bool queue_start(queue *q, void *(*work)(void *)) {
    atomic_store(&q->is_over, false);
    return pthread_create(&q->worker, NULL, work, NULL) == 0;
}

/* What is queued is still worked on; then the worker ends, and this returns. */
static inline void queue_stop(queue *q) {
    atomic_store(&q->is_over, true);
    queue_wake(q);
    pthread_join(q->worker, NULL);
}

#endif /* PEERS_QUEUE_H */
