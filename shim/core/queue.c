#include "queue.h"

#include "pause.h"

#include <sys/mman.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_register_root_region(memory, size) ((void)0)
#define __lsan_unregister_root_region(memory, size) ((void)0)
#endif

static size_t ring_bytes(const nrpy_queue *queue) {
    return (queue->mask + 1) * sizeof *queue->places;
}

bool nrpy_queue_init(nrpy_queue *queue, uint64_t limit) {
    uint64_t size = 64;
    while (size < limit) {
        size *= 2;
    }
    queue->mask = size - 1;
    queue->limit = limit;
    /* Zeroed, and only what is used becomes memory: a quiet plugin costs one page whatever its limit. */
    void *ring =
        mmap(NULL, ring_bytes(queue), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ring == MAP_FAILED) {
        queue->places = NULL;
        return false;
    }
    __lsan_register_root_region(ring, ring_bytes(queue)); /* it looks for pointers in malloc's memory only */
    queue->places = ring;
    atomic_init(&queue->tail, 0);
    atomic_init(&queue->head, 0);
    queue->head_seen = 0;
    atomic_flag_clear(&queue->taking);
    queue->overflow_first = NULL;
    queue->overflow_last = NULL;
    queue->overflow_closed = false;
    atomic_init(&queue->overflow_count, 0);
    pthread_mutex_init(&queue->overflow_lock, NULL);
    return true;
}

void nrpy_queue_destroy(nrpy_queue *queue) {
    if (queue->places != NULL) {
        __lsan_unregister_root_region(queue->places, ring_bytes(queue));
        munmap((void *)queue->places, ring_bytes(queue));
        pthread_mutex_destroy(&queue->overflow_lock);
    }
}

/* Workers hold the GIL here, so the flag is contended only where there is none. */
static void begin_taking(nrpy_queue *queue) {
    while (atomic_flag_test_and_set_explicit(&queue->taking, memory_order_acquire)) {
        nrpy_pause();
    }
}

static void end_taking(nrpy_queue *queue) {
    atomic_flag_clear_explicit(&queue->taking, memory_order_release);
}

/* ---- pushing ---- */

/* `head` lies on the workers' cache line: it is looked at only when the last known value says full. */
static bool is_full(nrpy_queue *queue, uint64_t tail) {
    if (tail - __atomic_load_n(&queue->head_seen, __ATOMIC_RELAXED) < queue->limit) {
        return false;
    }
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    __atomic_store_n(&queue->head_seen, head, __ATOMIC_RELAXED);
    return tail - head >= queue->limit;
}

static nrpy_push_result push_overflow(nrpy_queue *queue, nrpy_item *item) {
    nrpy_push_result result = NRPY_QUEUE_CLOSED;
    item->next = NULL;
    pthread_mutex_lock(&queue->overflow_lock);
    if (!queue->overflow_closed) {
        if (queue->overflow_first == NULL) {
            queue->overflow_first = item;
        } else {
            queue->overflow_last->next = item;
        }
        queue->overflow_last = item;
        atomic_fetch_add(&queue->overflow_count, 1);
        result = NRPY_PUSHED;
    }
    pthread_mutex_unlock(&queue->overflow_lock);
    return result;
}

nrpy_push_result nrpy_queue_push(nrpy_queue *queue, nrpy_item *item, bool limited) {
    uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    do {
        if ((tail & NRPY_QUEUE_IS_CLOSED) != 0) {
            return NRPY_QUEUE_CLOSED;
        }
        if (is_full(queue, tail)) {
            return limited ? NRPY_QUEUE_FULL : push_overflow(queue, item);
        }
    } while (!atomic_compare_exchange_weak(&queue->tail, &tail, tail + 1));
    atomic_store_explicit(&queue->places[tail & queue->mask], item, memory_order_release);
    return NRPY_PUSHED;
}

/* ---- taking ---- */

static nrpy_item *pop_overflow(nrpy_queue *queue) {
    pthread_mutex_lock(&queue->overflow_lock);
    nrpy_item *item = queue->overflow_first;
    if (item != NULL) {
        queue->overflow_first = item->next;
        atomic_fetch_sub(&queue->overflow_count, 1);
    }
    pthread_mutex_unlock(&queue->overflow_lock);
    return item;
}

/* Taking has begun. A place is freed before `head` passes it on, so who sees the new `head` finds it free. */
static nrpy_item *take(nrpy_queue *queue) {
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    _Atomic(nrpy_item *) *place = &queue->places[head & queue->mask];
    nrpy_item *item = atomic_load_explicit(place, memory_order_acquire);
    if (item != NULL) {
        atomic_store_explicit(place, NULL, memory_order_relaxed);
        atomic_store_explicit(&queue->head, head + 1, memory_order_release);
    }
    return item;
}

nrpy_item *nrpy_queue_pop(nrpy_queue *queue) {
    if (atomic_load_explicit(&queue->overflow_count, memory_order_relaxed) != 0) {
        nrpy_item *errand = pop_overflow(queue);
        if (errand != NULL) {
            return errand;
        }
    }
    begin_taking(queue);
    nrpy_item *item = take(queue);
    if (item != NULL) {
        uint64_t next = atomic_load_explicit(&queue->head, memory_order_relaxed) & queue->mask;
        nrpy_prefetch(atomic_load_explicit(&queue->places[next], memory_order_relaxed), NRPY_CALL_LINES);
    }
    end_taking(queue);
    return item;
}

void nrpy_queue_visit(nrpy_queue *queue, void (*look)(nrpy_item *item, void *context), void *context) {
    begin_taking(queue);
    uint64_t end = atomic_load(&queue->tail) & ~NRPY_QUEUE_IS_CLOSED;
    for (uint64_t at = atomic_load_explicit(&queue->head, memory_order_relaxed); at < end; at++) {
        nrpy_item *item = atomic_load_explicit(&queue->places[at & queue->mask], memory_order_acquire);
        if (item != NULL) {
            look(item, context);
        }
    }
    end_taking(queue);
}

nrpy_item *nrpy_queue_close(nrpy_queue *queue) {
    nrpy_item *first = NULL;
    nrpy_item **link = &first;
    uint64_t end = atomic_fetch_or(&queue->tail, NRPY_QUEUE_IS_CLOSED) & ~NRPY_QUEUE_IS_CLOSED;
    begin_taking(queue);
    while (atomic_load_explicit(&queue->head, memory_order_relaxed) != end) {
        nrpy_item *item = take(queue);
        if (item != NULL) {
            *link = item;
            link = &item->next;
        } else {
            nrpy_pause(); /* claimed, and its producer is about to fill it */
        }
    }
    end_taking(queue);
    pthread_mutex_lock(&queue->overflow_lock);
    queue->overflow_closed = true;
    *link = queue->overflow_first;
    queue->overflow_first = NULL;
    atomic_store(&queue->overflow_count, 0);
    pthread_mutex_unlock(&queue->overflow_lock);
    return first;
}
