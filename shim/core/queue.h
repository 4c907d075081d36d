/*
 * The queue between host threads and workers: any thread pushes, workers pop in the order of the pushes.
 *
 * Pushing is one compare-and-swap on a stack of new items and never blocks. A worker turns the whole stack into its
 * ready list under a lock that only workers take. Closing swaps a marker into the stack: a push either came before it,
 * and is handed to whoever closed, or is refused; there is no time in between.
 */
#ifndef NRPY_QUEUE_H
#define NRPY_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NRPY_CACHE_LINE 64

typedef enum {
    NRPY_ITEM_CALL,  /* an nrpy_call: run its handler */
    NRPY_ITEM_INBOX, /* the inbox_item of an nrpy_exchange: hand its input to the author */
    NRPY_ITEM_DRAIN, /* the drain_item of an nrpy_exchange: send what waits in its outbox */
    NRPY_ITEM_POST,  /* an nrpy_post: send one reply that a host thread must not send */
} nrpy_item_kind;

typedef struct nrpy_item {
    struct nrpy_item *next;
    nrpy_item_kind kind;
} nrpy_item;

typedef struct nrpy_queue {
    _Alignas(NRPY_CACHE_LINE) _Atomic(nrpy_item *) fresh; /* newest first; the marker once closed */
    _Atomic uint64_t pushed;
    uint64_t popped_seen; /* a producer's last look at `popped`; racing writes do no harm: it only ages */
    uint64_t limit;       /* set before the queue is used */

    _Alignas(NRPY_CACHE_LINE) pthread_mutex_t lock; /* guards `ready` */
    nrpy_item *ready;                               /* oldest first */
    _Atomic uint64_t popped;
} nrpy_queue;

typedef enum { NRPY_PUSHED, NRPY_QUEUE_FULL, NRPY_QUEUE_CLOSED } nrpy_push_result;

void nrpy_queue_init(nrpy_queue *queue, uint64_t limit);
void nrpy_queue_destroy(nrpy_queue *queue);

/* Takes `item` when it answers NRPY_PUSHED. `limited` holds the item to the queue's limit. */
nrpy_push_result nrpy_queue_push(nrpy_queue *queue, nrpy_item *item, bool limited);

/* The oldest item, now the caller's, or NULL. */
nrpy_item *nrpy_queue_pop(nrpy_queue *queue);

/* Refuses all pushes from here on and hands out what had been pushed, oldest first. */
nrpy_item *nrpy_queue_close(nrpy_queue *queue);

/* Whether a pop would find something. May be out of date as soon as it is answered. */
static inline bool nrpy_queue_has_items(nrpy_queue *queue) {
    return atomic_load_explicit(&queue->pushed, memory_order_seq_cst) !=
           atomic_load_explicit(&queue->popped, memory_order_relaxed);
}

#endif /* NRPY_QUEUE_H */
