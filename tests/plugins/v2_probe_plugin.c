/*
 * A v2 plugin that tries its host, well and badly. Entries that keep the promise: flood, lease, lease_stream,
 * lease_unknown, lease_late and lease_commit, lease_unused, answer, said, return (with a body of 1 to 4, or 6).
 * Those that break it: twice, skip, bad_status, stranger, return (any other body).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

const char native_name[] = "v2_probe";

NrStatus native_starts(void) {
    return NR_OK;
}

/* What the host has answered, for the next call of `said`. Written and read by calls one after the other. */
static char said[512];

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t len = strlen(said);
    vsnprintf(said + len, sizeof said - len, format, arguments);
    va_end(arguments);
}

static void tell(instance *self, call *c) {
    char text[sizeof said];
    memcpy(text, said, sizeof said);
    said[0] = '\0';
    native_text(self, c->sid, NR_OK, text);
}

static void answer(instance *self, call *c) {
    say("%u", native_send(self, c->sid, NR_OK, "x", 1));
}

/* ---- streams and their bounds ---- */

/* As many owned frames as the body says, inside handle, all alike: each that is not taken comes again. */
static NrStatus flood(instance *self, call *c) {
    static const char same[] = "the same";
    unsigned taken = 0, refused = 0;
    NrStatus status = NR_OK;
    for (uint64_t i = native_number(c->body); i > 0; i--) {
        status = native_send_owned(self, c->sid, NR_OK, same, sizeof same - 1);
        taken += status == NR_OK;
        refused += status == NR_BACKPRESSURE;
    }
    say("taken %u refused %u", taken, refused);
    stream *s = calloc(1, sizeof *s);
    frame *again = status == NR_BACKPRESSURE ? malloc(sizeof *again + sizeof same - 1) : NULL;
    if (s == NULL || (again == NULL && status == NR_BACKPRESSURE)) {
        abort();
    }
    if (again != NULL) {
        *again = (frame){.status = NR_OK, .len = sizeof same - 1};
        memcpy(again->bytes, same, sizeof same - 1);
    }
    *s = (stream){.sid = c->sid, .kind = COUNT, .refused = again};
    s->closing = true; /* the end follows */
    return native_open(self, s);
}

/* Goes on to another frame when one is not taken. */
static NrStatus skip(instance *self, call *c) {
    char text[24];
    for (int i = 0; i < 8; i++) {
        snprintf(text, sizeof text, "%d", i);
        native_text(self, c->sid, NR_OK, text);
    }
    native_text(self, c->sid, NR_ERR, "given up");
    return NR_OK;
}

/* ---- leases ---- */

static NrBufferLease acquire(instance *self, uint64_t sid, uint64_t capacity) {
    return self->host.v2.acquire_result_buffer(self->host_ctx, sid, capacity);
}

static NrStatus commit(instance *self, uint64_t sid, uint64_t token, uint64_t len) {
    return self->host.v2.commit_result_buffer(self->host_ctx, sid, NR_OK, token, len);
}

static void lease(instance *self, call *c) {
    NrBufferLease first = acquire(self, c->sid, 8);
    say("first %d second %d", first.ptr != NULL, acquire(self, c->sid, 8).ptr != NULL);
    say(" token %u", commit(self, c->sid, first.token + 1000, 5));
    say(" length %u", commit(self, c->sid, first.token, first.cap + 1));
    if (first.ptr != NULL) {
        memcpy(first.ptr, "ABCDEFGH", 8);
    }
    say(" good %u", commit(self, c->sid, first.token, 5));
}

static NrStatus lease_stream(instance *self, call *c) {
    say("stream %d", acquire(self, c->sid, 8).ptr != NULL);
    native_send(self, c->sid, NR_STREAM_END, NULL, 0);
    return NR_OK;
}

static void lease_unknown(instance *self, call *c) {
    say("unknown %d huge %d", acquire(self, UINT64_MAX, 8).ptr != NULL, acquire(self, c->sid, UINT64_MAX).ptr != NULL);
    native_text(self, c->sid, NR_OK, "asked");
}

static NrBufferLease late;
static uint64_t late_sid;

static void lease_late(instance *self, call *c) {
    late = acquire(self, c->sid, 64);
    late_sid = c->sid;
}

/* On the worker: it commits for another call. */
static void lease_commit(instance *self, call *c) {
    memset(late.ptr, 'L', late.cap);
    say("late %u", commit(self, late_sid, late.token, late.cap));
    say(" again %u", commit(self, late_sid, late.token, late.cap));
    native_text(self, c->sid, NR_OK, "committed");
}

static void lease_unused(instance *self, call *c) {
    NrBufferLease unused = acquire(self, c->sid, 64);
    native_text(self, c->sid, NR_OK, "otherwise");
    memset(unused.ptr, 'U', unused.cap); /* ours until shutdown */
}

/* ---- what breaks the promise ---- */

static void twice(instance *self, call *c) {
    answer(self, c);
    answer(self, c);
}

static void bad_status(instance *self, call *c) {
    native_text(self, c->sid, (NrStatus)native_number(c->body), "none of v2's");
}

static void stranger(instance *self, call *c) {
    native_text(self, native_number(c->body), NR_OK, "from a stranger");
    native_text(self, c->sid, NR_OK, "mine");
}

static NrStatus give_back(instance *self, call *c) {
    (void)self;
    return (NrStatus)native_number(c->body);
}

static void hold(instance *self, call *c) {
    native_hold(self, c);
}

const entry native_entries[] = {
    {.name = "said", .kind = POOLED, .run = tell},
    {.name = "answer", .kind = POOLED, .run = answer},
    {.name = "held", .kind = SYNCHRONOUS, .run = hold},
    {.name = "flood", .kind = STREAM, .open = flood},
    {.name = "skip", .kind = STREAM, .open = skip},
    {.name = "lease", .kind = SYNCHRONOUS, .run = lease},
    {.name = "lease_stream", .kind = STREAM, .open = lease_stream},
    {.name = "lease_unknown", .kind = SYNCHRONOUS, .run = lease_unknown},
    {.name = "lease_late", .kind = SYNCHRONOUS, .run = lease_late},
    {.name = "lease_commit", .kind = POOLED, .run = lease_commit},
    {.name = "lease_unused", .kind = SYNCHRONOUS, .run = lease_unused},
    {.name = "twice", .kind = POOLED, .run = twice},
    {.name = "bad_status", .kind = SYNCHRONOUS, .run = bad_status},
    {.name = "stranger", .kind = SYNCHRONOUS, .run = stranger},
    {.name = "return", .kind = STREAM, .open = give_back},
};
const size_t native_entry_count = sizeof native_entries / sizeof *native_entries;
