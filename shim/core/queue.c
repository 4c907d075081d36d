#include "queue.h"

static nrpy_item closed_marker;

void nrpy_queue_init(nrpy_queue *queue, uint64_t limit) {
    atomic_init(&queue->fresh, NULL);
    atomic_init(&queue->pushed, 0);
    atomic_init(&queue->popped, 0);
    queue->popped_seen = 0;
    queue->limit = limit;
    queue->ready = NULL;
    pthread_mutex_init(&queue->lock, NULL);
}

void nrpy_queue_destroy(nrpy_queue *queue) {
    pthread_mutex_destroy(&queue->lock);
}

/* `popped` lies on the workers' cache line: it is looked at only when the last known value says full. */
static bool is_full(nrpy_queue *queue) {
    uint64_t pushed = atomic_load_explicit(&queue->pushed, memory_order_relaxed);
    if (pushed - __atomic_load_n(&queue->popped_seen, __ATOMIC_RELAXED) < queue->limit) {
        return false;
    }
    uint64_t popped = atomic_load_explicit(&queue->popped, memory_order_acquire);
    __atomic_store_n(&queue->popped_seen, popped, __ATOMIC_RELAXED);
    return pushed - popped >= queue->limit;
}

nrpy_push_result nrpy_queue_push(nrpy_queue *queue, nrpy_item *item, bool limited) {
    if (limited && is_full(queue)) {
        return NRPY_QUEUE_FULL;
    }
    /* Counted before it can be popped, so that `pushed` never runs behind `popped`. */
    atomic_fetch_add(&queue->pushed, 1);
    nrpy_item *newest = atomic_load_explicit(&queue->fresh, memory_order_relaxed);
    do {
        if (newest == &closed_marker) {
            return NRPY_QUEUE_CLOSED;
        }
        item->next = newest;
    } while (!atomic_compare_exchange_weak(&queue->fresh, &newest, item));
    return NRPY_PUSHED;
}

static nrpy_item *oldest_first(nrpy_item *newest) {
    nrpy_item *list = NULL;
    while (newest != NULL) {
        nrpy_item *older = newest->next;
        newest->next = list;
        list = newest;
        newest = older;
    }
    return list;
}

nrpy_item *nrpy_queue_pop(nrpy_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    if (queue->ready == NULL) {
        nrpy_item *newest = atomic_load_explicit(&queue->fresh, memory_order_relaxed);
        /* The lock keeps other takers out; only the closing marker may come in between, and it must stay. */
        while (newest != NULL && newest != &closed_marker &&
               !atomic_compare_exchange_weak(&queue->fresh, &newest, NULL)) {
        }
        queue->ready = newest == &closed_marker ? NULL : oldest_first(newest);
    }
    nrpy_item *item = queue->ready;
    if (item != NULL) {
        queue->ready = item->next;
        uint64_t popped = atomic_load_explicit(&queue->popped, memory_order_relaxed);
        atomic_store_explicit(&queue->popped, popped + 1, memory_order_release);
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

nrpy_item *nrpy_queue_close(nrpy_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    nrpy_item *newest = atomic_exchange(&queue->fresh, &closed_marker);
    nrpy_item *younger = newest == &closed_marker ? NULL : oldest_first(newest);
    nrpy_item *all = queue->ready;
    if (all == NULL) {
        all = younger;
    } else {
        nrpy_item *last = all;
        while (last->next != NULL) {
            last = last->next;
        }
        last->next = younger;
    }
    queue->ready = NULL;
    atomic_store_explicit(&queue->popped, atomic_load(&queue->pushed), memory_order_release);
    pthread_mutex_unlock(&queue->lock);
    return all;
}
