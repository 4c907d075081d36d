#include "turn.h"

#include "clock.h"
#include "instance.h"
#include "pause.h"

#include <string.h>

/* A receiver that reads comes round within microseconds; one that has stopped is not worth a hundred looks a second. */
enum { FIRST_RETRY_NS = 50 * 1000, LAST_RETRY_NS = 10 * 1000 * 1000 };
enum { LINGER_TRIES = 10, PAUSES_PER_TRY = 50 };

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

void nrpy_turn_note_held_back(nrpy_exchange *exchange, bool held_back) {
    if (exchange->is_held_back != held_back) {
        exchange->is_held_back = held_back;
        atomic_fetch_add(&exchange->instance->held_back, held_back ? 1u : -1u);
    }
}

nrpy_delivery nrpy_turn_enter_host(nrpy_exchange *exchange, nrpy_visit *visit, NrStatus status, NrBytes payload,
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
        nrpy_turn_note_held_back(exchange, true);
        if (terminal) {
            nrpy_exchange_answer_is_open_again(exchange);
        }
    }
    return delivery;
}

/* The turn is ours. A terminal leaves the registry first: the host may use the sid again from inside its callback. But
 * the visit begins before that, so that close never misses a send that is on its way. */
nrpy_delivery nrpy_turn_deliver(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length,
                                bool may_linger) {
    nrpy_instance *instance = exchange->instance;
    nrpy_visit visit;
    bool visiting = exchange->waiter == NULL && nrpy_visit_begin(&visit, instance);
    if (nrpy_exchange_is_terminal(exchange, status)) {
        nrpy_registry_remove(&instance->registry, exchange);
    }
    if (exchange->waiter != NULL) {
        nrpy_exchange_say_over(exchange, status);
        exchange->waiter->reply = nrpy_frame_new(status, bytes, length);
        sem_post(&exchange->waiter->answered);
        return NRPY_DELIVERED;
    }
    if (!visiting) {
        return NRPY_GONE;
    }
    NrBytes payload = {.ptr = bytes, .len = length};
    nrpy_delivery delivery = nrpy_turn_enter_host(exchange, &visit, status, payload, may_linger);
    nrpy_visit_end(&visit);
    if (delivery == NRPY_DELIVERED) {
        nrpy_deadlines_note_frame(exchange);
    }
    if (delivery != NRPY_HELD_BACK && nrpy_exchange_is_terminal(exchange, status)) {
        nrpy_exchange_say_over(exchange, status);
    }
    return delivery;
}

void nrpy_turn_end_gone(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    atomic_fetch_or(&exchange->turn, NRPY_TURN_ENDED);
    atomic_fetch_and(&exchange->turn, ~(unsigned)NRPY_TURN_MORE);
    nrpy_frames unwanted = exchange->outbox;
    memset(&exchange->outbox, 0, sizeof exchange->outbox);
    pthread_mutex_unlock(&exchange->lock);
    nrpy_count(&exchange->instance->frames_dropped, unwanted.count);
    nrpy_exchange_free_frames(exchange, &unwanted);
    nrpy_state_drop(&exchange->instance->state, exchange->sid);
    nrpy_registry_remove(&exchange->instance->registry, exchange);
    nrpy_exchange_say_over(exchange, NR_OK);
    if (atomic_load(&exchange->cancelled) == 0) { /* who is ending already is left to it */
        nrpy_exchange_cancel(exchange);
    }
}

/* Sends `frames` while the host takes them. What it has no room for is left in there. */
static nrpy_delivery deliver_frames(nrpy_exchange *exchange, nrpy_frames *frames, bool may_linger) {
    nrpy_delivery delivery = NRPY_DELIVERED;
    while (frames->count > 0 && delivery == NRPY_DELIVERED) {
        nrpy_frame *frame = frames->first;
        delivery = nrpy_turn_deliver(exchange, frame->status, frame->bytes, frame->length, may_linger);
        if (delivery != NRPY_HELD_BACK) {
            nrpy_frames_pop(frames);
            nrpy_exchange_free_frame(exchange, frame);
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
        nrpy_frames_put_back(&exchange->outbox, &frames);
        atomic_fetch_or(&exchange->turn, NRPY_TURN_MORE);
    }
    pthread_mutex_unlock(&exchange->lock);
    if (delivery == NRPY_GONE) {
        nrpy_count(&exchange->instance->frames_dropped, frames.count);
        nrpy_exchange_free_frames(exchange, &frames);
        nrpy_turn_end_gone(exchange);
    }
    return delivery;
}

void nrpy_exchange_send_outbox(nrpy_exchange *exchange) {
    (void)send_outbox(exchange, false);
}

void nrpy_turn_queue_drain(nrpy_exchange *exchange) {
    nrpy_exchange_queue(exchange, &exchange->instance->workers, &exchange->drain_item);
}

void nrpy_turn_hand_to_timer(nrpy_exchange *exchange) {
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
        nrpy_turn_queue_drain(exchange);
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

void nrpy_turn_finish(nrpy_exchange *exchange, bool may_linger) {
    for (;;) {
        unsigned turn = atomic_load(&exchange->turn);
        if ((turn & NRPY_TURN_MORE) == 0) {
            nrpy_turn_note_held_back(exchange, false);
            if (atomic_compare_exchange_strong(&exchange->turn, &turn, turn & ~(unsigned)NRPY_TURN_BUSY)) {
                return;
            }
            continue;
        }
        nrpy_delivery delivery = send_outbox(exchange, may_linger);
        give_room(exchange);
        if (delivery == NRPY_HELD_BACK) {
            nrpy_turn_hand_to_timer(exchange);
            return;
        }
    }
}

bool nrpy_turn_take_held(nrpy_exchange *exchange) {
    return (atomic_fetch_and(&exchange->turn, ~(unsigned)NRPY_TURN_HELD) & NRPY_TURN_HELD) != 0;
}

void nrpy_turn_retry(nrpy_timer *timer) {
    nrpy_exchange *exchange = (nrpy_exchange *)(void *)((char *)timer - offsetof(nrpy_exchange, retry));
    pthread_mutex_lock(&exchange->lock);
    exchange->retry_armed = false;
    bool mine = nrpy_turn_take_held(exchange);
    pthread_mutex_unlock(&exchange->lock);
    if (mine) {
        nrpy_turn_finish(exchange, false);
    }
    nrpy_exchange_release(exchange);
}

bool nrpy_turn_take(nrpy_exchange *exchange) {
    return (atomic_fetch_or(&exchange->turn, NRPY_TURN_BUSY) & NRPY_TURN_BUSY) == 0;
}
