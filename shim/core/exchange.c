#include "exchange.h"

#include "burst.h"
#include "clock.h"
#include "forked.h"
#include "host.h"
#include "instance.h"
#include "pause.h"
#include "reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A receiver that reads comes round within microseconds; one that has stopped is not worth a hundred looks a second. */
enum { FIRST_RETRY_NS = 50 * 1000, LAST_RETRY_NS = 10 * 1000 * 1000 };
enum { LINGER_TRIES = 10, PAUSES_PER_TRY = 50 };

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

static void free_frame(nrpy_exchange *exchange, nrpy_frame *frame) {
    if (frame == &exchange->last_word) {
        atomic_store(&exchange->has_last_word, false);
    } else {
        free(frame);
    }
}

static void free_frames(nrpy_exchange *exchange, nrpy_frames *frames) {
    nrpy_frame *frame;
    while ((frame = nrpy_frames_pop(frames)) != NULL) {
        free_frame(exchange, frame);
    }
}

/* Puts `frames` before those that are there, and leaves it empty. */
static void put_back(nrpy_frames *outbox, nrpy_frames *frames) {
    frames->last->next = outbox->first;
    outbox->first = frames->first;
    if (outbox->count == 0) {
        outbox->last = frames->last;
    }
    outbox->count += frames->count;
    memset(frames, 0, sizeof *frames);
}

/* ---- life ---- */

static void retry_on_timer(nrpy_timer *timer);

static nrpy_exchange *new_exchange(nrpy_instance *instance, uint64_t sid) {
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
    exchange->retry.fire = retry_on_timer;
    pthread_mutex_init(&exchange->lock, NULL);
    nrpy_deadlines_init(&exchange->deadlines);
    return exchange;
}

nrpy_exchange *nrpy_exchange_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid) {
    nrpy_exchange *exchange = new_exchange(instance, sid);
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
        free_frames(exchange, &exchange->outbox);
        free_frames(exchange, &exchange->inbox);
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

/* The host has had no room for the answer, which counts again. */
static void answer_is_open_again(nrpy_exchange *exchange) {
    if (exchange->entry != NULL && exchange->entry->limits->max_pending > 0 &&
        atomic_fetch_or(&exchange->pending, NRPY_PART_ANSWER) == 0) {
        atomic_fetch_add(&exchange->entry->counters->pending, 1);
    }
}

/* The host has its last word, or wants none. */
static void say_over(nrpy_exchange *exchange, NrStatus status) {
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

/* ---- sending, with the turn ---- */

/* Some 20 us: a receiver that is at work has made room by then. */
static nrpy_delivery linger(nrpy_exchange *exchange, NrStatus status, NrBytes payload) {
    nrpy_delivery delivery = NRPY_HELD_BACK;
    for (int tries = 0; tries < LINGER_TRIES && delivery == NRPY_HELD_BACK; tries++) {
        for (int i = 0; i < PAUSES_PER_TRY; i++) {
            nrpy_pause();
        }
        delivery = nrpy_host_deliver(&exchange->instance->host, exchange->sid, status, payload);
    }
    return delivery;
}

/* The turn is ours. While the host is offered a terminal it is in no registry: close goes by the count. */
static void note_held_back(nrpy_exchange *exchange, bool held_back) {
    if (exchange->is_held_back != held_back) {
        exchange->is_held_back = held_back;
        atomic_fetch_add(&exchange->instance->held_back, held_back ? 1u : -1u);
    }
}

static nrpy_delivery enter_host(nrpy_exchange *exchange, nrpy_visit *visit, NrStatus status, NrBytes payload,
                                bool may_linger) {
    nrpy_instance *instance = exchange->instance;
    visit->exchange = exchange;
    bool terminal = nrpy_exchange_is_terminal(exchange, status);
    if (terminal) {
        nrpy_state_drop(&instance->state, exchange->sid);
        nrpy_exchange_part_done(exchange, NRPY_PART_ANSWER); /* the host may call again from inside its callback */
    }
    nrpy_delivery delivery = nrpy_host_deliver(&instance->host, exchange->sid, status, payload);
    if (delivery == NRPY_HELD_BACK && may_linger) {
        delivery = linger(exchange, status, payload);
    }
    if (delivery == NRPY_HELD_BACK && terminal && !nrpy_registry_restore(&instance->registry, exchange)) {
        delivery = NRPY_GONE; /* no memory: close could not find it */
    }
    if (delivery == NRPY_HELD_BACK) {
        note_held_back(exchange, true);
        if (terminal) {
            answer_is_open_again(exchange);
        }
    }
    return delivery;
}

/* The turn is ours. A terminal leaves the registry first: the host may use the sid again from inside its callback. But
 * the visit begins before that, so that close never misses a send that is on its way. */
static nrpy_delivery deliver(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length,
                             bool may_linger) {
    nrpy_instance *instance = exchange->instance;
    nrpy_visit visit;
    bool visiting = exchange->waiter == NULL && nrpy_visit_begin(&visit, instance);
    if (nrpy_exchange_is_terminal(exchange, status)) {
        nrpy_registry_remove(&instance->registry, exchange);
    }
    if (exchange->waiter != NULL) {
        say_over(exchange, status);
        exchange->waiter->reply = nrpy_frame_new(status, bytes, length);
        sem_post(&exchange->waiter->answered);
        return NRPY_DELIVERED;
    }
    if (!visiting) {
        return NRPY_GONE;
    }
    NrBytes payload = {.ptr = bytes, .len = length};
    nrpy_delivery delivery = enter_host(exchange, &visit, status, payload, may_linger);
    nrpy_visit_end(&visit);
    if (delivery == NRPY_DELIVERED) {
        nrpy_deadlines_note_frame(exchange);
    }
    if (delivery != NRPY_HELD_BACK && nrpy_exchange_is_terminal(exchange, status)) {
        say_over(exchange, status);
    }
    return delivery;
}

/* The turn is ours and nobody wants the rest: it ends without another word. */
static void end_gone(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    atomic_fetch_or(&exchange->turn, NRPY_TURN_ENDED);
    atomic_fetch_and(&exchange->turn, ~(unsigned)NRPY_TURN_MORE);
    nrpy_frames unwanted = exchange->outbox;
    memset(&exchange->outbox, 0, sizeof exchange->outbox);
    pthread_mutex_unlock(&exchange->lock);
    nrpy_count(&exchange->instance->frames_dropped, unwanted.count);
    free_frames(exchange, &unwanted);
    nrpy_state_drop(&exchange->instance->state, exchange->sid);
    nrpy_registry_remove(&exchange->instance->registry, exchange);
    say_over(exchange, NR_OK);
    if (atomic_load(&exchange->cancelled) == 0) { /* who is ending already is left to it */
        nrpy_exchange_cancel(exchange);
    }
}

/* Sends `frames` while the host takes them. What it has no room for is left in there. */
static nrpy_delivery deliver_frames(nrpy_exchange *exchange, nrpy_frames *frames, bool may_linger) {
    nrpy_delivery delivery = NRPY_DELIVERED;
    while (frames->count > 0 && delivery == NRPY_DELIVERED) {
        nrpy_frame *frame = frames->first;
        delivery = deliver(exchange, frame->status, frame->bytes, frame->length, may_linger);
        if (delivery != NRPY_HELD_BACK) {
            nrpy_frames_pop(frames);
            free_frame(exchange, frame);
        }
        if (delivery == NRPY_DELIVERED) {
            exchange->retries = 0;
        }
    }
    return delivery;
}

/* The turn is ours. Sends what is in the outbox; what is held back is put back. */
static nrpy_delivery send_outbox(nrpy_exchange *exchange, bool may_linger) {
    pthread_mutex_lock(&exchange->lock);
    nrpy_frames frames = exchange->outbox;
    memset(&exchange->outbox, 0, sizeof exchange->outbox);
    exchange->offered = frames.count;
    atomic_fetch_and(&exchange->turn, ~(unsigned)NRPY_TURN_MORE);
    pthread_mutex_unlock(&exchange->lock);
    nrpy_delivery delivery = deliver_frames(exchange, &frames, may_linger);
    pthread_mutex_lock(&exchange->lock);
    exchange->offered = 0;
    if (delivery == NRPY_HELD_BACK) {
        put_back(&exchange->outbox, &frames);
        atomic_fetch_or(&exchange->turn, NRPY_TURN_MORE);
    }
    pthread_mutex_unlock(&exchange->lock);
    if (delivery == NRPY_GONE) {
        nrpy_count(&exchange->instance->frames_dropped, frames.count);
        free_frames(exchange, &frames);
        end_gone(exchange);
    }
    return delivery;
}

void nrpy_exchange_send_outbox(nrpy_exchange *exchange) {
    (void)send_outbox(exchange, false);
}

void nrpy_exchange_queue(nrpy_exchange *exchange, const nrpy_lane *lane, nrpy_item *item) {
    nrpy_exchange_retain(exchange);
    if (nrpy_lane_push(lane, item, false) != NRPY_PUSHED) {
        /* Closing: close drains every exchange that is still registered, and ends its producers. */
        nrpy_exchange_leave_parked(exchange);
        nrpy_exchange_release(exchange);
    }
}

/* On a worker, whoever its handler belongs to: that one may be busy for long. */
static void queue_drain(nrpy_exchange *exchange) {
    nrpy_exchange_queue(exchange, &exchange->instance->workers, &exchange->drain_item);
}

/* The turn is ours, and goes to the timer. */
static void hand_to_timer(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    int64_t delay_ns = (int64_t)FIRST_RETRY_NS << exchange->retries;
    if (delay_ns < LAST_RETRY_NS) {
        exchange->retries++;
    } else {
        delay_ns = LAST_RETRY_NS;
    }
    bool arm = !exchange->retry_armed;
    exchange->retry_armed = true;
    atomic_fetch_or(&exchange->turn, NRPY_TURN_HELD);
    bool queue = false;
    bool armed = true;
    if (arm) {
        nrpy_exchange_retain(exchange);
        armed = nrpy_timer_arm(&exchange->retry, delay_ns) == 0;
        exchange->retry_armed = armed;
        queue = !armed && !exchange->drain_queued; /* then a worker tries again, as often as it can */
        exchange->drain_queued |= queue;
    }
    pthread_mutex_unlock(&exchange->lock);
    if (queue) {
        queue_drain(exchange);
    }
    if (!armed) {
        nrpy_exchange_release(exchange);
    }
}

static void give_room(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool enough = exchange->outbox.count <= nrpy_exchange_max_buffered(exchange) / 2;
    pthread_mutex_unlock(&exchange->lock);
    if (enough) {
        nrpy_exchange_wake(exchange);
    }
}

/* Sends what others left in the outbox meanwhile, and gives the turn back, or to the timer. */
static void finish_turn(nrpy_exchange *exchange, bool may_linger) {
    for (;;) {
        unsigned turn = atomic_load(&exchange->turn);
        if ((turn & NRPY_TURN_MORE) == 0) {
            note_held_back(exchange, false);
            if (atomic_compare_exchange_strong(&exchange->turn, &turn, turn & ~(unsigned)NRPY_TURN_BUSY)) {
                return;
            }
            continue;
        }
        nrpy_delivery delivery = send_outbox(exchange, may_linger);
        give_room(exchange);
        if (delivery == NRPY_HELD_BACK) {
            hand_to_timer(exchange);
            return;
        }
    }
}

/* Takes the turn from the timer. */
static bool take_held(nrpy_exchange *exchange) {
    return (atomic_fetch_and(&exchange->turn, ~(unsigned)NRPY_TURN_HELD) & NRPY_TURN_HELD) != 0;
}

static void retry_on_timer(nrpy_timer *timer) {
    nrpy_exchange *exchange = (nrpy_exchange *)(void *)((char *)timer - offsetof(nrpy_exchange, retry));
    pthread_mutex_lock(&exchange->lock);
    exchange->retry_armed = false;
    bool mine = take_held(exchange);
    pthread_mutex_unlock(&exchange->lock);
    if (mine) {
        finish_turn(exchange, false);
    }
    nrpy_exchange_release(exchange);
}

/* ---- sending ---- */

/* Takes the turn if it is free. The lock is held: nobody else sets MORE or takes a turn that has it. */
static bool take_turn(nrpy_exchange *exchange) {
    return (atomic_fetch_or(&exchange->turn, NRPY_TURN_BUSY) & NRPY_TURN_BUSY) == 0;
}

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
            mine = take_turn(exchange);
        } else if ((turn & NRPY_TURN_BUSY) == 0 && !exchange->drain_queued) {
            exchange->drain_queued = true;
            queue = true;
        }
    }
    pthread_mutex_unlock(&exchange->lock);
    if (!taken) {
        free_frame(exchange, frame);
    }
    if (mine) {
        finish_turn(exchange, false);
    }
    if (queue) {
        queue_drain(exchange);
    }
    return taken;
}

/* The turn is ours, and the host has no room for this frame. */
static void keep_frame(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length) {
    nrpy_frame *frame = new_frame(exchange, &status, bytes, length);
    if (frame == NULL) {
        end_gone(exchange); /* its last word is with somebody who finds it ended */
        finish_turn(exchange, false);
        return;
    }
    nrpy_frames one = {.first = frame, .last = frame, .count = 1};
    pthread_mutex_lock(&exchange->lock);
    put_back(&exchange->outbox, &one);
    atomic_fetch_or(&exchange->turn,
                    NRPY_TURN_MORE | (nrpy_exchange_is_terminal(exchange, status) ? NRPY_TURN_ENDED : 0u));
    pthread_mutex_unlock(&exchange->lock);
    hand_to_timer(exchange);
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
    nrpy_delivery delivery = deliver(exchange, status, bytes, length, may_linger);
    if (delivery == NRPY_HELD_BACK) {
        keep_frame(exchange, status, bytes, length);
        return true;
    }
    if (delivery == NRPY_GONE && !terminal) {
        end_gone(exchange);
    }
    finish_turn(exchange, may_linger);
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
        while (sent < count &&
               (*delivery = enter_host(exchange, &visit, NR_OK, frames[sent], may_linger)) == NRPY_DELIVERED) {
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
                end_gone(exchange);
            }
            finish_turn(exchange, may_linger);
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
    nrpy_exchange *exchange = new_exchange(instance, sid);
    if (exchange == NULL) {
        say_lost(instance, sid);
        return;
    }
    atomic_store(&exchange->turn, NRPY_TURN_BUSY | NRPY_TURN_ENDED);
    if (nrpy_registry_restore(&instance->registry, exchange)) {
        note_held_back(exchange, true);
        keep_frame(exchange, status, bytes, length);
    } else {
        say_lost(instance, sid);
    }
    nrpy_exchange_release(exchange);
}

void nrpy_exchange_drain(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->drain_queued = false;
    bool mine = (atomic_load(&exchange->turn) & NRPY_TURN_MORE) != 0 && (take_held(exchange) || take_turn(exchange));
    pthread_mutex_unlock(&exchange->lock);
    if (mine) {
        finish_turn(exchange, false);
    }
}

static const char cut_short[] =
    "the last frames are lost: the host had no room for them, and the plugin is shutting down";

bool nrpy_exchange_give_up(nrpy_exchange *exchange) {
    nrpy_frames frames = {.first = NULL};
    pthread_mutex_lock(&exchange->lock);
    bool mine = take_held(exchange);
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
        (void)(is_cut ? deliver(exchange, NR_ERR, cut_short, sizeof cut_short - 1, false)
                      : deliver(exchange, last->status, last->bytes, last->length, false));
    }
    free_frames(exchange, &frames);
    end_gone(exchange);
    finish_turn(exchange, false);
    return true;
}
