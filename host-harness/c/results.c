/* The hop into the plugin, and the hop back: what every send comes to, whatever function it came through. */
#include "internal.h"

_Thread_local nrhost_slot *nrhost_slots;

/* The sid whose function of the plugin this thread is in; 0 for none. */
static _Thread_local uint64_t inside;

static _Atomic uint64_t late_sends;

uint64_t nrhost_set_inside(uint64_t sid) {
    uint64_t outer = inside;
    inside = sid;
    return outer;
}

uint64_t nrhost_late_sends(void) {
    return atomic_load(&late_sends);
}

bool nrhost_is_terminal(nrhost_kind kind, NrStatus status) {
    return kind == NRHOST_UNARY || status != NR_OK;
}

NrStatus nrhost_enter(nrhost *host, const nrhost_request *request, uint64_t sid) {
    nrhost_record *record = host->ledger ? nrhost_ledger_call(host->ledger, sid, request->kind) : NULL;
    uint64_t outer = nrhost_set_inside(sid);
    NrStatus status = host->front->handle(host, request, sid);
    nrhost_set_inside(outer);
    if (record != NULL) {
        nrhost_ledger_returned(host->ledger, sid, record, status);
    }
    return status;
}

nrhost_slot *nrhost_slot_of(const nrhost *host, uint64_t sid) {
    nrhost_slot *slot = nrhost_slots;
    return slot != NULL && slot->host == host && slot->sid == sid && !slot->filled ? slot : NULL;
}

static void fill_slot(nrhost_slot *slot, nrhost_arrival *arrival) {
    slot->filled = true;
    *slot->reply = nrhost_arrival_open(arrival);
}

/*
 * A terminal reply takes the call out of the table, and its state with it, before anyone can see the reply:
 * who has seen it may use the sid again.
 */
static NrStatus deliver(nrhost *host, uint64_t sid, nrhost_arrival *arrival) {
    nrhost_shard *shard = nrhost_table_lock(host, sid);
    nrhost_call *call = nrhost_table_find(shard, sid);
    if (call == NULL || !nrhost_call_reserve(call)) {
        pthread_mutex_unlock(&shard->lock);
        return call == NULL ? NR_INVALID : NR_BACKPRESSURE;
    }
    bool terminal = nrhost_is_terminal(call->kind, arrival->frame.status);
    nrhost_state *states = NULL;
    if (terminal) {
        nrhost_table_remove(shard, call);
        states = call->states;
        call->states = NULL;
    } else {
        atomic_fetch_add(&call->references, 1);
    }
    pthread_mutex_unlock(&shard->lock);
    nrhost_states_free(states);
    nrhost_call_deliver(call, arrival, terminal);
    nrhost_call_unref(call);
    return NR_OK;
}

nrhost *nrhost_of_ctx(void *host_ctx) {
    nrhost_ctx *ctx = host_ctx;
    if (atomic_load_explicit(&ctx->magic, memory_order_relaxed) == NRHOST_CTX_LIVE) {
        return ctx->host;
    }
    atomic_fetch_add(&late_sends, 1);
    return NULL;
}

/* The sends on this thread's stack whose plugin has not been returned to. */
typedef struct sending {
    nrhost *host;
    uint64_t sid;
    nrhost_record *record; /* NULL: none, or counted as over */
    struct sending *outer;
} sending;

static _Thread_local sending *sendings;

static void end_sending(sending *one, NrStatus answer, const nrhost_frame *frame) {
    if (one->record != NULL) {
        nrhost_ledger_send_ends(one->host->ledger, one->sid, one->record, answer, frame);
        one->record = NULL;
    }
}

void nrhost_end_sends_below(nrhost *host) {
    for (sending *one = sendings; one != NULL; one = one->outer) {
        if (one->host == host) {
            end_sending(one, NR_OK, NULL); /* only what was delivered has a host that could call from there */
        }
    }
}

/* The ledger looks before the bytes are copied, so that two sends at the same time cannot pass it one after the other. */
NrStatus nrhost_take(nrhost *host, uint64_t sid, const nrhost_reply *reply) {
    bool answers = host->front->answers_sends; /* on_result may end the host */
    nrhost_frame view = {
        .status = reply->status, .data = (uint8_t *)(uintptr_t)reply->bytes.ptr, .len = reply->bytes.len};
    sending own = {.host = host, .sid = sid, .outer = sendings};
    uint64_t ticket = host->options.on_send != NULL ? host->options.on_send(host->options.user) : 0;
    if (host->ledger != NULL) {
        own.record = nrhost_ledger_send_begins(host->ledger, sid, &view, inside);
    }
    sendings = &own;
    nrhost_arrival *arrival =
        reply->ready != NULL ? reply->ready : nrhost_arrival_copy(sid, reply->status, reply->bytes);
    NrStatus answer = NR_OK;
    nrhost_slot *slot = nrhost_slot_of(host, sid);
    if (reply->late) {
        answer = NR_INVALID;
    } else if (slot != NULL) {
        fill_slot(slot, arrival);
    } else {
        answer = deliver(host, sid, arrival);
    }
    if (answer == NR_OK && host->options.on_result != NULL) {
        host->options.on_result(host->options.user, host, sid, reply->status, ticket);
    }
    sendings = own.outer;
    if (answer == NR_OK) {
        end_sending(&own, NR_OK, NULL);
        return answer;
    }
    end_sending(&own, answers ? answer : NR_OK, &view);
    nrhost_arrival_free(arrival);
    return answer;
}

nrhost_outcome nrhost_call_fast(nrhost *host, const nrhost_request *request, nrhost_frame *reply) {
    *reply = (nrhost_frame){0};
    uint64_t sid = request->sid ? request->sid : atomic_fetch_add(&host->next_sid, 1);
    nrhost_slot slot = {.host = host, .sid = sid, .reply = reply, .outer = nrhost_slots};
    nrhost_slots = &slot;
    NrStatus status = nrhost_enter(host, request, sid);
    nrhost_slots = slot.outer;
    nrhost_states_free(slot.states);
    if (slot.filled) {
        return NRHOST_FRAME;
    }
    reply->status = status;
    return status == NR_OK ? NRHOST_NO_REPLY : NRHOST_REFUSED;
}

static NrStatus came_back(nrhost *host, uint64_t sid, NrStatus status, NrStatus highest) {
    if (host->ledger != NULL) {
        nrhost_ledger_status(host->ledger, sid, status, highest);
    }
    return status;
}

NrStatus nrhost_send_stream_data(nrhost *host, uint64_t sid, NrBytes data) {
    uint64_t outer = nrhost_set_inside(sid);
    NrStatus status = host->front->stream_data(host, sid, data);
    nrhost_set_inside(outer);
    return came_back(host, sid, status, host->front->handle_max);
}

NrStatus nrhost_close_stream(nrhost *host, uint64_t sid) {
    uint64_t outer = nrhost_set_inside(sid);
    NrStatus status = host->front->stream_close(host, sid);
    nrhost_set_inside(outer);
    return came_back(host, sid, status, NR_STREAM_END);
}
