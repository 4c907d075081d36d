/*
 * The queue between host threads and workers: any thread pushes, workers pop in the order of the pushes.
 *
 * A ring of pointers, so that one cache line carries eight calls from one core to the other. A push claims a place by one
 * compare-and-swap and never blocks. Closing marks the same word: a push either came before it, and is handed to whoever
 * closed, or is refused; there is no time in between.
 */
#ifndef NRPY_QUEUE_H
#define NRPY_QUEUE_H

#include "prefetch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    NRPY_ITEM_CALL,  /* an nrpy_call: run its handler */
    NRPY_ITEM_INBOX, /* the inbox_item of an nrpy_exchange: hand its input to the author */
    NRPY_ITEM_DRAIN, /* the drain_item of an nrpy_exchange: send what waits in its outbox */
    NRPY_ITEM_CANCEL, /* the cancel_item of an nrpy_exchange: its task is to end, on an event loop that has not its input */
    NRPY_ITEM_POST, /* an nrpy_post: send one reply that a host thread must not send */
} nrpy_item_kind;

typedef struct nrpy_item {
    struct nrpy_item *next;
    nrpy_item_kind kind;
} nrpy_item;

typedef struct nrpy_queue {
    /* set before the queue is used */
    _Atomic(nrpy_item *) *places; /* NULL: free, or claimed and about to be filled */
    uint64_t mask;
    uint64_t limit;

    /* the producers' */
    _Alignas(NRPY_CACHE_LINE) _Atomic uint64_t tail; /* the next place to claim; NRPY_QUEUE_IS_CLOSED once closed */
    uint64_t head_seen; /* a producer's last look at `head`; racing writes do no harm: it only ages */

    /* the workers' */
    _Alignas(NRPY_CACHE_LINE) _Atomic uint64_t head; /* the next place to take; written with `taking` held */
    atomic_flag taking;

    /* what may not be refused when the ring is full: our own errands, no calls */
    _Alignas(NRPY_CACHE_LINE) pthread_mutex_t overflow_lock; /* guards what follows */
    nrpy_item *overflow_first;
    nrpy_item *overflow_last;
    bool overflow_closed;
    _Atomic size_t overflow_count;
} nrpy_queue;

#define NRPY_QUEUE_IS_CLOSED ((uint64_t)1 << 63)

typedef enum { NRPY_PUSHED, NRPY_QUEUE_FULL, NRPY_QUEUE_CLOSED } nrpy_push_result;

/* `limit` is how many calls may wait, 1 at least. Returns false without memory. */
bool nrpy_queue_init(nrpy_queue *queue, uint64_t limit);
void nrpy_queue_destroy(nrpy_queue *queue);

/* Takes `item` when it answers NRPY_PUSHED. `limited` holds the item to the queue's limit. */
nrpy_push_result nrpy_queue_push(nrpy_queue *queue, nrpy_item *item, bool limited);

/* The oldest item, now the caller's, or NULL. */
nrpy_item *nrpy_queue_pop(nrpy_queue *queue);

/* Refuses all pushes from here on and hands out what had been pushed, oldest first, linked by `next`. */
nrpy_item *nrpy_queue_close(nrpy_queue *queue);

/* Shows `look` every item that waits in the ring, oldest first; nobody takes any meanwhile. */
void nrpy_queue_visit(nrpy_queue *queue, void (*look)(nrpy_item *item, void *context), void *context);

/* Whether a pop would find something, now or within a moment. May be out of date as soon as it is answered. */
static inline bool nrpy_queue_has_items(nrpy_queue *queue) {
    uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_seq_cst) & ~NRPY_QUEUE_IS_CLOSED;
    return tail != atomic_load_explicit(&queue->head, memory_order_relaxed) ||
           atomic_load_explicit(&queue->overflow_count, memory_order_seq_cst) != 0;
}

/* The same for who polls, and sees an item a moment later: it reads the one line that a push writes anyway, where the
 * tail's would have to come back to the producer for the next push. */
static inline bool nrpy_queue_shows_item(nrpy_queue *queue) {
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    return atomic_load_explicit(&queue->places[head & queue->mask], memory_order_relaxed) != NULL ||
           atomic_load_explicit(&queue->overflow_count, memory_order_relaxed) != 0;
}

#endif /* NRPY_QUEUE_H */
