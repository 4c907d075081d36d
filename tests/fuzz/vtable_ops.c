/* The operations of a program: what a host thread does. */
#include "vtable.h"

#include <string.h>

bool drain(const held *h, bool must_end) {
    for (int tries = 0;;) {
        int seen = atomic_load(&h->of->phase);
        nrhost_frame frame;
        nrhost_outcome outcome = nrhost_call_next(h->call, must_end && seen != ENDED ? 1 : 0, &frame);
        if (outcome == NRHOST_ENDED) {
            return true;
        }
        if (outcome == NRHOST_FRAME) {
            TRACE("%s: a frame of %zu bytes, status %u\n", h->entry->name, frame.len, frame.status);
            check_reply(h->entry, &frame, h->expected, h->expected_size);
            nrhost_frame_free(&frame);
            continue;
        }
        if (!must_end || (seen == ENDED && h->entry->stream && h->of->abi == NRHOST_V2)) {
            return false;
        }
        DEMAND(seen != ENDED && ++tries < LIMIT_S, "%s: no terminal reply in %d s", h->entry->name, tries);
    }
}

void let_go(held *h) {
    TRACE("%s: given up, or over\n", h->entry->name);
    nrhost_call_release(h->call);
    free(h->expected);
    *h = (held){0};
}

static void forget(actor *a, unsigned index) {
    let_go(&a->held[index]);
    a->held[index] = a->held[--a->held_count];
}

static held *some_held(actor *a) {
    uint8_t which = input_byte(&a->in);
    return a->held_count > 0 ? &a->held[which % a->held_count] : NULL;
}

/* ABI v2 has no plugin_ctx: where all other places are taken, the functions of an ended instance are those of the next. */
static instance *some_instance(actor *a) {
    session *s = a->session;
    instance *of = &s->instances[input_byte(&a->in) % s->count];
    instance *last = &s->instances[s->count - 1];
    bool is_stale = of->abi == NRHOST_V2 && atomic_load(&of->phase) == ENDED;
    return is_stale ? last : of;
}

/* ---- calls ---- */

static void op_submit(actor *a) {
    instance *of = some_instance(a);
    request r;
    nrhost_call *call;
    next_request(a, of, &r);
    int before = atomic_load(&of->phase);
    NrStatus status = nrhost_submit(of->host, &r.call, &call);
    guard_end(a->memory); /* from here on nothing of the call's may be looked at */
    check_status(a->session, of, before, &r, status);
    if (call == NULL) {
        free(r.expected);
        return;
    }
    if (a->held_count == HELD) {
        forget(a, 0);
    }
    a->held[a->held_count++] = (held){
        .call = call,
        .of = of,
        .entry = r.entry,
        .ends = r.entry->ends && !r.shares_sid,
        .expected = r.expected,
        .expected_size = r.expected_size,
    };
}

static void op_fast(actor *a) {
    instance *of = some_instance(a);
    request r;
    nrhost_frame reply;
    next_request(a, of, &r);
    r.call.kind = NRHOST_UNARY;
    bool is_stream = r.entry != NULL && r.entry->stream;
    if (is_stream) { /* a stream's frames have no slot: what the host would get is a frame, not the end */
        guard_end(a->memory);
        free(r.expected);
        return;
    }
    int before = atomic_load(&of->phase);
    nrhost_outcome outcome = nrhost_call_fast(of->host, &r.call, &reply);
    guard_end(a->memory);
    NrStatus status = outcome == NRHOST_REFUSED ? reply.status : NR_OK;
    check_status(a->session, of, before, &r, status);
    if (outcome == NRHOST_FRAME) {
        check_reply(r.entry, &reply, r.expected, r.expected_size);
        nrhost_frame_free(&reply);
    }
    DEMAND(outcome != NRHOST_NO_REPLY || !r.entry->sync, "%s did not answer before handle returned", r.entry->name);
    free(r.expected);
}

static void op_fire(actor *a) {
    instance *of = some_instance(a);
    request r;
    next_request(a, of, &r);
    int before = atomic_load(&of->phase);
    NrStatus status = nrhost_fire(of->host, &r.call);
    guard_end(a->memory);
    check_status(a->session, of, before, &r, status);
    free(r.expected);
}

/* Looks at what has come of a call; waits for those that end by themselves. */
static void op_take(actor *a) {
    held *h = some_held(a);
    if (h != NULL && drain(h, h->ends)) {
        forget(a, (unsigned)(h - a->held));
    }
}

/* Gives a call up, whatever its state. */
static void op_drop(actor *a) {
    held *h = some_held(a);
    if (h != NULL) {
        forget(a, (unsigned)(h - a->held));
    }
}

static void op_resolve(actor *a) {
    instance *of = some_instance(a);
    view name = next_view(a, false);
    const entry *known = name.possible && name.len > 0 ? entry_named(name.ptr, (size_t)name.len) : NULL;
    int before = atomic_load(&of->phase);
    uint32_t id = nrhost_resolve(of->host, (NrStr){.ptr = name.ptr, .len = (uint32_t)name.len});
    guard_end(a->memory);
    bool may_know = known != NULL && of->abi == NRHOST_V2 && (before == OPEN || before == ENDING);
    DEMAND(id == NR_ENTRY_UNKNOWN || may_know, "an entry that is not there has number %u", id);
    DEMAND(id != NR_ENTRY_UNKNOWN || !may_know || atomic_load(&of->phase) != OPEN, "%s has no number", known->name);
}

/* ---- streams ---- */

static uint64_t some_sid(actor *a) {
    uint8_t which = input_byte(&a->in);
    if (which < 0xc0 && a->held_count > 0) {
        return nrhost_call_sid(a->held[which % a->held_count].call);
    }
    if (which < 0xe0) {
        return stream_sid(which / 4 % THREADS, which);
    }
    return which < 0xf0 ? which - UINT64_C(0xe0) : UINT64_MAX - which;
}

static void op_stream_data(actor *a) {
    instance *of = some_instance(a);
    uint64_t sid = some_sid(a);
    view data = next_view(a, true);
    int before = atomic_load(&of->phase);
    NrStatus status = nrhost_send_stream_data(of->host, sid, (NrBytes){.ptr = data.ptr, .len = data.len});
    guard_end(a->memory);
    TRACE("stream_data, sid %llu, %llu bytes: %u\n", (unsigned long long)sid, (unsigned long long)data.len, status);
    check_stream_status(of, before, data.possible, status);
}

static void op_stream_close(actor *a) {
    instance *of = some_instance(a);
    uint64_t sid = some_sid(a);
    int before = atomic_load(&of->phase);
    for (unsigned i = 0; i < a->held_count; i++) {
        held *h = &a->held[i];
        h->closed = h->closed || nrhost_call_sid(h->call) == sid;
    }
    NrStatus status = nrhost_close_stream(of->host, sid);
    TRACE("stream_close, sid %llu: %u\n", (unsigned long long)sid, status);
    check_stream_status(of, before, true, status);
}

/* ---- instances ---- */

static void op_open(actor *a) {
    uint8_t abi = input_byte(&a->in);
    if (a->session->alone && a->session->count < INSTANCES) {
        open_instance(a->session, (nrhost_abi)(abi % 3));
    }
}

/* What an init that was refused was given. */
static void send_to_nobody(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    (void)host_ctx;
    (void)payload;
    DEMAND(false, "sid %llu: status %u for a host that was refused", (unsigned long long)sid, status);
}

static NrStatus send_to_nobody_v2(void *host_ctx, uint64_t sid, NrStatus status, NrVecU8 payload) {
    send_to_nobody(host_ctx, sid, status, (NrBytes){.ptr = payload.ptr, .len = payload.len});
    return NR_INVALID;
}

/* Once it is well; then it is out of turn. */
static void op_init(actor *a) {
    instance *of = some_instance(a);
    if (atomic_load(&of->phase) == GOT) {
        if (a->session->alone) {
            start_instance(of);
        }
        return;
    }
    static const NrHostVTable v1[] = {{.send_result = NULL}, {.send_result = send_to_nobody}};
    static const NrHostVTableV2 v2[] = {{.send_result = NULL}, {.send_result = send_to_nobody_v2}};
    const nrhost_functions *f = nrhost_functions_of(of->host);
    for (int full = 0; full < 2; full++) {
        NrStatus status = f->v2 != NULL ? f->v2->init(NULL, &v2[full]) : f->init(f->plugin_ctx, NULL, &v1[full]);
        DEMAND(status == NR_INVALID, "init out of turn answered %u", status);
    }
}

static void op_shutdown(actor *a) {
    shut_instance(some_instance(a));
}

static bool is_some_ctx(const session *s, const void *ctx) {
    for (unsigned i = 0; i < s->count; i++) {
        const nrhost_functions *f = nrhost_functions_of(s->instances[i].host);
        if (f->v2 == NULL && f->plugin_ctx == ctx) {
            return true;
        }
    }
    return false;
}

/* v1: every function with a plugin_ctx that is nobody's; and init without a table in both. */
static void op_wrong_context(actor *a) {
    instance *of = some_instance(a);
    const nrhost_functions *f = nrhost_functions_of(of->host);
    uint64_t change = input_u64(&a->in);
    if (f->v2 != NULL) {
        DEMAND(f->v2->init(NULL, NULL) == NR_INVALID, "init took no table");
        return;
    }
    void *ctx = (void *)((uintptr_t)f->plugin_ctx ^ change); // NOLINT: it is compared and not followed
    NrStr name = nrhost_str("raw_sync");
    NrBytes none = {0};
    DEMAND(f->init(ctx, NULL, NULL) == NR_INVALID, "init took no table");
    if (is_some_ctx(a->session, ctx)) {
        return;
    }
    DEMAND(f->handle(ctx, name, 5000, NULL, none) == NR_INVALID, "handle took a foreign context");
    DEMAND(f->handle_raw == NULL || f->handle_raw(ctx, name, 5000, none) == NR_INVALID, "handle_raw did");
    DEMAND(f->stream_data(ctx, 5000, none) == NR_INVALID, "stream_data did");
    DEMAND(f->stream_close(ctx, 5000) == NR_INVALID, "stream_close did");
    f->shutdown(ctx);
}

typedef void operation(actor *a);

/* Calls stand here more than once: most of a program should be that. */
static operation *const operations[] = {
    op_submit,  op_submit, op_submit, op_submit,        op_fast,        op_fire,
    op_take,    op_take,   op_drop,   op_stream_data,   op_stream_data, op_stream_close,
    op_resolve, op_open,   op_init,   op_wrong_context, op_shutdown,
};

void run_actor(actor *a) {
    while (a->in.left > 0) {
        operations[input_byte(&a->in) % (sizeof operations / sizeof *operations)](a);
    }
    for (unsigned i = a->held_count; i-- > 0;) {
        if (a->held[i].ends && drain(&a->held[i], true)) {
            forget(a, i);
        }
    }
}
