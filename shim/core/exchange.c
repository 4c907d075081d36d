#include "exchange.h"

#include "clock.h"
#include "instance.h"
#include "turn.h"

#include <stdlib.h>

nrpy_exchange *nrpy_exchange_new_bare(nrpy_instance *instance, uint64_t sid) {
    nrpy_exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        return NULL;
    }
    exchange->inbox_item.kind = NRPY_ITEM_INBOX;
    exchange->drain_item.kind = NRPY_ITEM_DRAIN;
    exchange->cancel_item.kind = NRPY_ITEM_CANCEL;
    atomic_init(&exchange->refs, 1);
    exchange->instance = instance;
    nrpy_instance_retain(instance);
    exchange->sid = sid;
    exchange->retry.fire = nrpy_turn_retry;
    pthread_mutex_init(&exchange->lock, NULL);
    nrpy_deadlines_init(&exchange->deadlines);
    return exchange;
}

nrpy_exchange *nrpy_exchange_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid) {
    nrpy_exchange *exchange = nrpy_exchange_new_bare(instance, sid);
    if (exchange != NULL) {
        exchange->entry = entry;
        exchange->lane = nrpy_instance_lane(instance, (entry->flags & NRPY_STREAM) != 0 ? 0 : entry->flags, sid);
        bool is_task_with_hooks = (entry->flags & (NRPY_STREAM | NRPY_ASYNC)) == (NRPY_STREAM | NRPY_ASYNC);
        exchange->task_lane = is_task_with_hooks ? nrpy_instance_lane(instance, entry->flags, sid) : NULL;
        exchange->began_ns = nrpy_clock_ns();
        exchange->is_stream = nrpy_entry_is_stream(entry);
        exchange->takes_input = (entry->flags & (NRPY_STREAM | NRPY_DUPLEX)) != 0;
        exchange->has_hooks = (entry->flags & NRPY_STREAM) != 0;
        exchange->inbox_served = exchange->has_hooks; /* by the first handler, until it returns */
        atomic_init(&exchange->pending, entry->limits->max_pending > 0 ? NRPY_PART_ANSWER | NRPY_PART_HANDLER : 0);
    }
    return exchange;
}

void nrpy_exchange_retain(nrpy_exchange *exchange) {
    atomic_fetch_add_explicit(&exchange->refs, 1, memory_order_relaxed);
}

void nrpy_exchange_release(nrpy_exchange *exchange) {
    if (atomic_fetch_sub_explicit(&exchange->refs, 1, memory_order_acq_rel) == 1) {
        nrpy_exchange_free_frames(exchange, &exchange->outbox);
        nrpy_exchange_free_frames(exchange, &exchange->inbox);
        pthread_mutex_destroy(&exchange->lock);
        nrpy_instance_release(exchange->instance);
        free(exchange);
    }
}

void nrpy_exchange_queue(nrpy_exchange *exchange, const nrpy_lane *lane, nrpy_item *item) {
    nrpy_exchange_retain(exchange);
    if (nrpy_lane_push(lane, item, false) != NRPY_PUSHED) {
        /* Closing: close drains every exchange that is still registered, and ends its producers. */
        nrpy_exchange_leave_parked(exchange);
        nrpy_exchange_release(exchange);
    }
}

bool nrpy_exchange_abandon(nrpy_exchange *exchange) {
    if ((atomic_fetch_or(&exchange->turn, NRPY_TURN_ENDED) & NRPY_TURN_ENDED) != 0) {
        return false;
    }
    nrpy_registry_remove(&exchange->instance->registry, exchange);
    nrpy_deadlines_end(exchange);
    nrpy_exchange_part_done(exchange, NRPY_PART_ANSWER | NRPY_PART_HANDLER);
    return true;
}

void nrpy_exchange_part_done(nrpy_exchange *exchange, unsigned parts) {
    unsigned open = atomic_load_explicit(&exchange->pending, memory_order_relaxed);
    if (open == 0) {
        return;
    }
    open = atomic_fetch_and(&exchange->pending, ~parts);
    if (open != 0 && (open & ~parts) == 0) {
        atomic_fetch_sub(&exchange->entry->counters->pending, 1);
    }
}

void nrpy_exchange_answer_is_open_again(nrpy_exchange *exchange) {
    if (exchange->entry != NULL && exchange->entry->limits->max_pending > 0 &&
        atomic_fetch_or(&exchange->pending, NRPY_PART_ANSWER) == 0) {
        atomic_fetch_add(&exchange->entry->counters->pending, 1);
    }
}

void nrpy_exchange_say_over(nrpy_exchange *exchange, NrStatus status) {
    if (exchange->entry == NULL || atomic_exchange(&exchange->is_over, true)) {
        return;
    }
    nrpy_counters *counters = exchange->entry->counters;
    if (status != NR_OK && status != NR_STREAM_END) {
        nrpy_count(&counters->errors, 1);
    }
    nrpy_count_latency(counters, nrpy_clock_ns() - exchange->began_ns, 1);
    nrpy_deadlines_end(exchange);
    nrpy_exchange_part_done(exchange, NRPY_PART_ANSWER);
}

void nrpy_exchange_free_frame(nrpy_exchange *exchange, nrpy_frame *frame) {
    if (frame == &exchange->last_word) {
        atomic_store(&exchange->has_last_word, false);
    } else {
        free(frame);
    }
}

void nrpy_exchange_free_frames(nrpy_exchange *exchange, nrpy_frames *frames) {
    nrpy_frame *frame;
    while ((frame = nrpy_frames_pop(frames)) != NULL) {
        nrpy_exchange_free_frame(exchange, frame);
    }
}
