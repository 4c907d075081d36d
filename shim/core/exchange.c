#include "exchange.h"

#include "instance.h"
#include "reply.h"

#include <stdlib.h>
#include <string.h>

/* ---- frames ---- */

nrpy_frame *nrpy_frame_new(NrStatus status, const void *bytes, uint64_t length) {
    nrpy_frame *frame = malloc(sizeof *frame + length);
    if (frame != NULL) {
        frame->next = NULL;
        frame->status = status;
        frame->is_close = false;
        frame->length = length;
        if (length > 0) {
            memcpy(frame->bytes, bytes, length);
        }
    }
    return frame;
}

void nrpy_frames_push(nrpy_frames *frames, nrpy_frame *frame) {
    if (frames->first == NULL) {
        frames->first = frame;
    } else {
        frames->last->next = frame;
    }
    frames->last = frame;
    frames->count++;
}

nrpy_frame *nrpy_frames_pop(nrpy_frames *frames) {
    nrpy_frame *frame = frames->first;
    if (frame != NULL) {
        frames->first = frame->next;
        frames->count--;
    }
    return frame;
}

static void free_frames(nrpy_frames *frames) {
    nrpy_frame *frame;
    while ((frame = nrpy_frames_pop(frames)) != NULL) {
        free(frame);
    }
}

/* ---- life ---- */

nrpy_exchange *nrpy_exchange_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid) {
    nrpy_exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        return NULL;
    }
    exchange->inbox_item.kind = NRPY_ITEM_INBOX;
    exchange->drain_item.kind = NRPY_ITEM_DRAIN;
    atomic_init(&exchange->refs, 1);
    exchange->instance = instance;
    nrpy_instance_retain(instance);
    exchange->sid = sid;
    exchange->is_stream = nrpy_entry_is_stream(entry);
    exchange->takes_input = (entry->flags & NRPY_STREAM) != 0;
    exchange->inbox_served = true; /* by the first handler, until it returns */
    pthread_mutex_init(&exchange->lock, NULL);
    return exchange;
}

void nrpy_exchange_retain(nrpy_exchange *exchange) {
    atomic_fetch_add_explicit(&exchange->refs, 1, memory_order_relaxed);
}

void nrpy_exchange_release(nrpy_exchange *exchange) {
    if (atomic_fetch_sub_explicit(&exchange->refs, 1, memory_order_acq_rel) == 1) {
        free_frames(&exchange->outbox);
        free_frames(&exchange->inbox);
        pthread_mutex_destroy(&exchange->lock);
        nrpy_instance_release(exchange->instance);
        free(exchange);
    }
}

bool nrpy_exchange_abandon(nrpy_exchange *exchange) {
    if ((atomic_fetch_or(&exchange->turn, NRPY_TURN_ENDED) & NRPY_TURN_ENDED) != 0) {
        return false;
    }
    nrpy_registry_remove(&exchange->instance->registry, exchange);
    return true;
}

/* ---- sending ---- */

/* The turn is ours. A terminal leaves the registry first: the host may use the sid again from inside its callback. But
 * the visit begins before that, so that close never misses a send that is on its way. */
static void deliver(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length) {
    nrpy_instance *instance = exchange->instance;
    bool terminal = nrpy_exchange_is_terminal(exchange, status);
    nrpy_visit visit;
    bool visiting = exchange->waiter == NULL && nrpy_visit_begin(&visit, instance);
    if (terminal) {
        nrpy_registry_remove(&instance->registry, exchange);
    }
    if (exchange->waiter != NULL) {
        exchange->waiter->reply = nrpy_frame_new(status, bytes, length);
        sem_post(&exchange->waiter->answered);
        return;
    }
    if (visiting) {
        visit.exchange = exchange;
        nrpy_host_send(instance, exchange->sid, status, bytes, length, terminal);
        nrpy_visit_end(&visit);
    }
}

static void deliver_frames(nrpy_exchange *exchange, nrpy_frames *frames) {
    nrpy_frame *frame;
    while ((frame = nrpy_frames_pop(frames)) != NULL) {
        deliver(exchange, frame->status, frame->bytes, frame->length);
        free(frame);
    }
}

void nrpy_exchange_send_outbox(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    nrpy_frames frames = exchange->outbox;
    memset(&exchange->outbox, 0, sizeof exchange->outbox);
    atomic_fetch_and(&exchange->turn, ~(unsigned)NRPY_TURN_MORE);
    pthread_mutex_unlock(&exchange->lock);
    deliver_frames(exchange, &frames);
}

/* Sends what others left in the outbox meanwhile, and gives the turn back. */
static void finish_turn(nrpy_exchange *exchange) {
    for (;;) {
        unsigned turn = atomic_load(&exchange->turn);
        if ((turn & NRPY_TURN_MORE) == 0) {
            if (atomic_compare_exchange_strong(&exchange->turn, &turn, turn & ~(unsigned)NRPY_TURN_BUSY)) {
                return;
            }
            continue;
        }
        nrpy_exchange_send_outbox(exchange);
    }
}

/* Takes the turn if it is free. The lock is held: nobody else sets MORE or takes a turn that has it. */
static bool take_turn(nrpy_exchange *exchange) {
    return (atomic_fetch_or(&exchange->turn, NRPY_TURN_BUSY) & NRPY_TURN_BUSY) == 0;
}

static void queue_drain(nrpy_exchange *exchange) {
    nrpy_exchange_retain(exchange);
    nrpy_instance *instance = exchange->instance;
    if (nrpy_queue_push(&instance->queue, &exchange->drain_item, false) == NRPY_PUSHED) {
        nrpy_pool_notify(&instance->pool);
    } else {
        /* Closing: close drains every exchange that is still registered. */
        nrpy_exchange_release(exchange);
    }
}

/* By way of the outbox: somebody is sending, or this thread must not. */
static bool leave_in_outbox(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length,
                            bool may_send) {
    static const char no_memory[] = "no memory to keep a frame";
    nrpy_frame *frame = nrpy_frame_new(status, bytes, length);
    if (frame == NULL) {
        status = NR_ERR;
        frame = nrpy_frame_new(NR_ERR, no_memory, sizeof no_memory - 1);
        if (frame == NULL) {
            return false;
        }
    }
    bool terminal = nrpy_exchange_is_terminal(exchange, status);
    bool mine = false;
    bool queue = false;
    pthread_mutex_lock(&exchange->lock);
    unsigned added = NRPY_TURN_MORE | (terminal ? NRPY_TURN_ENDED : 0u);
    unsigned turn = atomic_load(&exchange->turn);
    while ((turn & NRPY_TURN_ENDED) == 0 && !atomic_compare_exchange_weak(&exchange->turn, &turn, turn | added)) {
    }
    bool taken = (turn & NRPY_TURN_ENDED) == 0;
    if (taken) {
        nrpy_frames_push(&exchange->outbox, frame);
        if (may_send) {
            mine = take_turn(exchange);
        } else if ((turn & NRPY_TURN_BUSY) == 0 && !exchange->drain_queued) {
            exchange->drain_queued = true;
            queue = true;
        }
    }
    pthread_mutex_unlock(&exchange->lock);
    if (!taken) {
        free(frame);
    }
    if (mine) {
        finish_turn(exchange);
    }
    if (queue) {
        queue_drain(exchange);
    }
    return taken;
}

bool nrpy_exchange_send(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length, bool may_send) {
    unsigned idle = 0;
    unsigned begun = NRPY_TURN_BUSY | (nrpy_exchange_is_terminal(exchange, status) ? NRPY_TURN_ENDED : 0u);
    if (may_send && atomic_compare_exchange_strong(&exchange->turn, &idle, begun)) {
        deliver(exchange, status, bytes, length);
        finish_turn(exchange);
        return true;
    }
    bool taken = leave_in_outbox(exchange, status, bytes, length, may_send);
    if (!taken) {
        atomic_fetch_add(&exchange->instance->late_replies, 1);
    }
    return taken;
}

void nrpy_exchange_drain(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->drain_queued = false;
    bool mine = (atomic_load(&exchange->turn) & NRPY_TURN_MORE) != 0 && take_turn(exchange);
    pthread_mutex_unlock(&exchange->lock);
    if (mine) {
        finish_turn(exchange);
    }
}
