/* The hop into the plugin, and send_result: the hop back. */
#include <stdlib.h>
#include <string.h>

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
    const nrhost_functions *plugin = &host->plugin;
    nrhost_record *record = host->ledger ? nrhost_ledger_call(host->ledger, sid, request->kind) : NULL;
    uint64_t outer = nrhost_set_inside(sid);
    NrStatus status;
    if (request->raw && plugin->handle_raw != NULL) {
        status = plugin->handle_raw(plugin->plugin_ctx, request->entry, sid, request->payload);
    } else {
        status = plugin->handle(plugin->plugin_ctx, request->entry, sid, request->raw ? NULL : request->metadata,
                                request->payload);
    }
    nrhost_set_inside(outer);
    if (record != NULL) {
        nrhost_ledger_returned(host->ledger, sid, record, status);
    }
    return status;
}

static void fill_slot(nrhost_slot *slot, NrStatus status, NrBytes payload) {
    slot->filled = true;
    slot->reply->status = status;
    slot->reply->len = payload.len;
    if (payload.len == 0) {
        return;
    }
    slot->reply->data = malloc(payload.len);
    if (slot->reply->data == NULL) {
        fprintf(stderr, "nrhost: sid %llu: no memory for a reply of %llu bytes\n", (unsigned long long)slot->sid,
                (unsigned long long)payload.len);
        abort();
    }
    memcpy(slot->reply->data, payload.ptr, payload.len);
}

/*
 * A terminal reply takes the call out of the table, and its state with it, before anyone can see the reply:
 * who has seen it may use the sid again.
 */
static void deliver(nrhost *host, uint64_t sid, NrStatus status, NrBytes payload) {
    nrhost_shard *shard = nrhost_table_lock(host, sid);
    nrhost_call *call = nrhost_table_find(shard, sid);
    if (call == NULL) {
        pthread_mutex_unlock(&shard->lock);
        return;
    }
    bool terminal = nrhost_is_terminal(call->kind, status);
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
    nrhost_call_deliver(call, status, payload, terminal);
    nrhost_call_unref(call);
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

static void end_sending(sending *one) {
    if (one->record != NULL) {
        nrhost_ledger_send_ends(one->host->ledger, one->sid, one->record);
        one->record = NULL;
    }
}

void nrhost_end_sends_below(nrhost *host) {
    for (sending *one = sendings; one != NULL; one = one->outer) {
        if (one->host == host) {
            end_sending(one);
        }
    }
}

static void send_result(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    nrhost *host = nrhost_of_ctx(host_ctx); /* host_ctx is not read again: on_result may shut the host down */
    if (host == NULL) {
        return;
    }
    sending own = {.host = host, .sid = sid, .outer = sendings};
    if (host->ledger != NULL) {
        own.record = nrhost_ledger_send_begins(host->ledger, sid, status, inside);
    }
    sendings = &own;
    nrhost_slot *slot = nrhost_slots;
    if (slot != NULL && slot->host == host && slot->sid == sid && !slot->filled) {
        fill_slot(slot, status, payload);
    } else {
        deliver(host, sid, status, payload);
    }
    if (host->options.on_result != NULL) {
        host->options.on_result(host->options.user, host, sid, status);
    }
    sendings = own.outer;
    end_sending(&own);
}

const NrHostVTable nrhost_vtable = {.send_result = send_result};

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

NrStatus nrhost_send_stream_data(nrhost *host, uint64_t sid, NrBytes data) {
    if (host->plugin.stream_data == NULL) {
        return NR_UNSUPPORTED;
    }
    uint64_t outer = nrhost_set_inside(sid);
    NrStatus status = host->plugin.stream_data(host->plugin.plugin_ctx, sid, data);
    nrhost_set_inside(outer);
    if (host->ledger != NULL) {
        nrhost_ledger_status(host->ledger, sid, status);
    }
    return status;
}

NrStatus nrhost_close_stream(nrhost *host, uint64_t sid) {
    if (host->plugin.stream_close == NULL) {
        return NR_UNSUPPORTED;
    }
    uint64_t outer = nrhost_set_inside(sid);
    NrStatus status = host->plugin.stream_close(host->plugin.plugin_ctx, sid);
    nrhost_set_inside(outer);
    if (host->ledger != NULL) {
        nrhost_ledger_status(host->ledger, sid, status);
    }
    return status;
}
