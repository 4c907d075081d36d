#include "inbox.h"

#include "host.h"
#include "instance.h"

#include <stdlib.h>

static bool is_over(nrpy_exchange *exchange) {
    return (exchange->inbox.count == 0 && exchange->input_closed) || nrpy_exchange_has_ended(exchange);
}

/* After a change. The lock is held. Returns whether the exchange is to be queued for whoever takes its input. */
static bool claim_for_taker(nrpy_exchange *exchange) {
    nrpy_exchange_rouse(exchange);
    if (exchange->inbox_served || !(exchange->has_hooks || exchange->reader_waits)) {
        return false;
    }
    exchange->inbox_served = true;
    exchange->reader_waits = false;
    return true;
}

void nrpy_inbox_queue(nrpy_exchange *exchange) {
    nrpy_exchange_queue(exchange, exchange->lane, &exchange->inbox_item);
}

/* Takes `frame`; for a close it is empty, or NULL where nobody reads closes as frames. */
static NrStatus add(nrpy_exchange *exchange, nrpy_frame *frame, bool is_close) {
    NrStatus status = NR_OK;
    bool queue = false;
    pthread_mutex_lock(&exchange->lock);
    if (exchange->input_closed || nrpy_exchange_has_ended(exchange)) {
        status = NR_INVALID;
    } else if (!is_close && exchange->inbox.count >= NRPY_INBOX_LIMIT) {
        status = nrpy_host_full(&exchange->instance->host);
    } else {
        if (frame != NULL) {
            nrpy_frames_push(&exchange->inbox, frame);
            frame = NULL;
        }
        exchange->input_closed = is_close;
        queue = claim_for_taker(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
    free(frame);
    if (queue) {
        nrpy_inbox_queue(exchange);
    }
    return status;
}

NrStatus nrpy_inbox_add(nrpy_exchange *exchange, NrBytes data) {
    nrpy_frame *frame = nrpy_frame_new(NR_OK, data.ptr, data.len);
    if (frame == NULL) {
        return NR_ERR;
    }
    NrStatus status = add(exchange, frame, false);
    if (status == NR_OK) {
        nrpy_deadlines_note_frame(exchange);
    }
    return status;
}

NrStatus nrpy_inbox_close(nrpy_exchange *exchange) {
    nrpy_frame *frame = NULL;
    if (exchange->has_hooks) {
        frame = nrpy_frame_new(NR_OK, NULL, 0);
        if (frame == NULL) {
            return NR_ERR;
        }
        frame->is_close = true;
    }
    return add(exchange, frame, true);
}

nrpy_frame *nrpy_inbox_next(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    nrpy_frame *frame = nrpy_frames_pop(&exchange->inbox);
    if (frame == NULL) {
        exchange->inbox_served = false;
    }
    pthread_mutex_unlock(&exchange->lock);
    return frame;
}

nrpy_frame *nrpy_inbox_take(nrpy_exchange *exchange, bool note_reader, bool *over) {
    pthread_mutex_lock(&exchange->lock);
    nrpy_frame *frame = nrpy_frames_pop(&exchange->inbox);
    *over = frame == NULL && is_over(exchange);
    exchange->reader_waits = note_reader && frame == NULL && !*over;
    pthread_mutex_unlock(&exchange->lock);
    return frame;
}

bool nrpy_inbox_has_news(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool news = exchange->inbox.count > 0 || is_over(exchange);
    pthread_mutex_unlock(&exchange->lock);
    return news;
}

void nrpy_inbox_wait(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    while (exchange->inbox.count == 0 && !is_over(exchange) && atomic_load(&exchange->cancelled) == 0) {
        nrpy_exchange_sleep(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
}
