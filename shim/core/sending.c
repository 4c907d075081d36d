/*
 * A frame's ways out of an exchange: straight into the host, or by the outbox.
 */
#include "burst.h"
#include "exchange.h"
#include "forked.h"
#include "instance.h"
#include "turn.h"

#include <stdio.h>
#include <string.h>

/* Without memory for it, an Err that ends the exchange; NULL only where that one is on its way already. */
static nrpy_frame *new_frame(nrpy_exchange *exchange, NrStatus *status, const void *bytes, uint64_t length) {
    static const char no_memory[] = "no memory to keep a frame";
    nrpy_frame *frame = nrpy_frame_new(*status, bytes, length);
    if (frame == NULL) {
        *status = NR_ERR;
        frame = nrpy_frame_new(NR_ERR, no_memory, sizeof no_memory - 1);
    }
    if (frame == NULL && !atomic_exchange(&exchange->has_last_word, true)) {
        frame = &exchange->last_word;
        *frame = (nrpy_frame){.status = NR_ERR};
    }
    return frame;
}

/* By way of the outbox: somebody is sending, or this thread must not. */
static bool leave_in_outbox(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length,
                            bool may_send) {
    nrpy_frame *frame = new_frame(exchange, &status, bytes, length);
    if (frame == NULL) {
        return false;
    }
    bool mine = false;
    bool queue = false;
    pthread_mutex_lock(&exchange->lock);
    unsigned added = NRPY_TURN_MORE | (nrpy_exchange_is_terminal(exchange, status) ? NRPY_TURN_ENDED : 0u);
    unsigned turn = atomic_load(&exchange->turn);
    while ((turn & NRPY_TURN_ENDED) == 0 && !atomic_compare_exchange_weak(&exchange->turn, &turn, turn | added)) {
    }
    bool taken = (turn & NRPY_TURN_ENDED) == 0;
    if (taken) {
        nrpy_frames_push(&exchange->outbox, frame);
        if (may_send) {
            mine = nrpy_turn_take(exchange);
        } else if ((turn & NRPY_TURN_BUSY) == 0 && !exchange->drain_queued) {
            exchange->drain_queued = true;
            queue = true;
        }
    }
    pthread_mutex_unlock(&exchange->lock);
    if (!taken) {
        nrpy_exchange_free_frame(exchange, frame);
    }
    if (mine) {
        nrpy_turn_finish(exchange, false);
    }
    if (queue) {
        nrpy_turn_queue_drain(exchange);
    }
    return taken;
}

/* The turn is ours, and the host has no room for this frame. */
static void keep_frame(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length) {
    nrpy_frame *frame = new_frame(exchange, &status, bytes, length);
    if (frame == NULL) {
        nrpy_turn_end_gone(exchange); /* its last word is with somebody who finds it ended */
        nrpy_turn_finish(exchange, false);
        return;
    }
    nrpy_frames one = {.first = frame, .last = frame, .count = 1};
    pthread_mutex_lock(&exchange->lock);
    nrpy_frames_put_back(&exchange->outbox, &one);
    atomic_fetch_or(&exchange->turn,
                    NRPY_TURN_MORE | (nrpy_exchange_is_terminal(exchange, status) ? NRPY_TURN_ENDED : 0u));
    pthread_mutex_unlock(&exchange->lock);
    nrpy_turn_hand_to_timer(exchange);
}

/* Where nobody else is at it and this thread may. Returns false where it has to go by way of the outbox. */
static bool send_directly(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length) {
    unsigned idle = 0;
    bool terminal = nrpy_exchange_is_terminal(exchange, status);
    unsigned begun = NRPY_TURN_BUSY | (terminal ? NRPY_TURN_ENDED : 0u);
    if (!atomic_compare_exchange_strong(&exchange->turn, &idle, begun)) {
        return false;
    }
    bool may_linger = nrpy_may_wait(nrpy_thread_cached);
    nrpy_delivery delivery = nrpy_turn_deliver(exchange, status, bytes, length, may_linger);
    if (delivery == NRPY_HELD_BACK) {
        keep_frame(exchange, status, bytes, length);
        return true;
    }
    if (delivery == NRPY_GONE && !terminal) {
        nrpy_turn_end_gone(exchange);
    }
    nrpy_turn_finish(exchange, may_linger);
    return true;
}

static bool send_by_outbox(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length,
                           bool may_send) {
    bool taken = leave_in_outbox(exchange, status, bytes, length, may_send);
    if (!taken) {
        atomic_fetch_add(&exchange->instance->late_replies, 1);
    }
    return taken;
}

bool nrpy_exchange_send(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length, bool may_send) {
    nrpy_before_host();
    bool direct = may_send && send_directly(exchange, status, bytes, length);
    if (!direct && !send_by_outbox(exchange, status, bytes, length, may_send)) {
        return false;
    }
    if (nrpy_exchange_is_terminal(exchange, status) && (exchange->takes_input || !direct)) {
        nrpy_exchange_wake(exchange); /* who reads its input reads no more, and who waits for room gets none */
    }
    return true;
}

/* The turn is ours. Returns how many frames the host has taken, and in `delivery` why not more. */
static unsigned deliver_all(nrpy_exchange *exchange, const NrBytes *frames, unsigned count, bool may_linger,
                            nrpy_delivery *delivery) {
    nrpy_visit visit;
    unsigned sent = 0;
    *delivery = NRPY_GONE;
    if (nrpy_visit_begin(&visit, exchange->instance)) {
        while (sent < count && (*delivery = nrpy_turn_enter_host(exchange, &visit, NR_OK, frames[sent], may_linger)) ==
                                   NRPY_DELIVERED) {
            sent++;
        }
        nrpy_visit_end(&visit);
    }
    if (sent > 0) {
        nrpy_deadlines_note_frame(exchange);
    }
    return sent;
}

bool nrpy_exchange_send_frames(nrpy_exchange *exchange, const NrBytes *frames, unsigned count) {
    nrpy_before_host();
    unsigned idle = 0;
    unsigned sent = 0;
    if (atomic_compare_exchange_strong(&exchange->turn, &idle, NRPY_TURN_BUSY)) {
        bool may_linger = nrpy_may_wait(nrpy_thread_cached);
        nrpy_delivery delivery;
        sent = deliver_all(exchange, frames, count, may_linger, &delivery);
        if (delivery == NRPY_HELD_BACK) {
            keep_frame(exchange, NR_OK, frames[sent].ptr, frames[sent].len);
            sent++;
        } else {
            if (delivery == NRPY_GONE) {
                nrpy_turn_end_gone(exchange);
            }
            nrpy_turn_finish(exchange, may_linger);
        }
    }
    bool taken = true;
    for (; sent < count; sent++) {
        taken &= send_by_outbox(exchange, NR_OK, frames[sent].ptr, frames[sent].len, true);
    }
    return taken;
}

bool nrpy_exchange_end(nrpy_exchange *exchange, const char *text, uint64_t length) {
    nrpy_burst_flush(exchange);
    bool taken = send_directly(exchange, NR_ERR, text, length) || send_by_outbox(exchange, NR_ERR, text, length, true);
    nrpy_exchange_cancel(exchange);
    return taken;
}

static void say_lost(const nrpy_instance *instance, uint64_t sid) {
    fprintf(stderr,
            "nylon-ring: plugin '%s': the host had no room for the reply to sid %llu, and there is no memory to keep "
            "it: it is lost\n",
            instance->name, (unsigned long long)sid);
}

void nrpy_exchange_hold_reply(nrpy_instance *instance, uint64_t sid, NrStatus status, const void *bytes,
                              uint64_t length) {
    nrpy_exchange *exchange = nrpy_exchange_new_bare(instance, sid);
    if (exchange == NULL) {
        say_lost(instance, sid);
        return;
    }
    atomic_store(&exchange->turn, NRPY_TURN_BUSY | NRPY_TURN_ENDED);
    if (nrpy_registry_restore(&instance->registry, exchange)) {
        nrpy_turn_note_held_back(exchange, true);
        keep_frame(exchange, status, bytes, length);
    } else {
        say_lost(instance, sid);
    }
    nrpy_exchange_release(exchange);
}

void nrpy_exchange_drain(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->drain_queued = false;
    bool mine = (atomic_load(&exchange->turn) & NRPY_TURN_MORE) != 0 &&
                (nrpy_turn_take_held(exchange) || nrpy_turn_take(exchange));
    pthread_mutex_unlock(&exchange->lock);
    if (mine) {
        nrpy_turn_finish(exchange, false);
    }
}

static const char cut_short[] =
    "the last frames are lost: the host had no room for them, and the plugin is shutting down";

bool nrpy_exchange_give_up(nrpy_exchange *exchange) {
    nrpy_frames frames = {.first = NULL};
    pthread_mutex_lock(&exchange->lock);
    bool mine = nrpy_turn_take_held(exchange);
    if (mine) {
        frames = exchange->outbox;
        memset(&exchange->outbox, 0, sizeof exchange->outbox);
    }
    pthread_mutex_unlock(&exchange->lock);
    if (!mine) {
        return false;
    }
    const nrpy_frame *last = frames.last;
    if (last != NULL && nrpy_exchange_is_terminal(exchange, last->status)) {
        /* A host that has room for the end now must not take a stream with a gap for a whole one. */
        bool is_cut = frames.first != last && last->status != NR_ERR;
        (void)(is_cut ? nrpy_turn_deliver(exchange, NR_ERR, cut_short, sizeof cut_short - 1, false)
                      : nrpy_turn_deliver(exchange, last->status, last->bytes, last->length, false));
    }
    nrpy_exchange_free_frames(exchange, &frames);
    nrpy_turn_end_gone(exchange);
    nrpy_turn_finish(exchange, false);
    return true;
}
