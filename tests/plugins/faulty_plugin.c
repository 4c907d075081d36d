/*
 * A plugin that breaks its promise once in a while: what a host's ledger, and those who call, must notice. Each entry
 * gives back its body, but for every FAULT_EVERY-th of its calls.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "native.h"

#define FAULT_EVERY 100000u
#define SWAP_EVERY 5000u
#define PIECE 16u

const char native_name[] = "faulty";

NrStatus native_starts(void) {
    return NR_OK;
}

static bool is_due(uint64_t every) {
    static _Atomic uint64_t calls;
    return atomic_fetch_add(&calls, 1) % every == every - 1;
}

static void echo(instance *self, const call *c) {
    native_send(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

static void lose(instance *self, call *c) {
    if (!is_due(FAULT_EVERY)) {
        echo(self, c);
    }
}

static void send_twice(instance *self, call *c) {
    echo(self, c);
    if (is_due(FAULT_EVERY)) {
        echo(self, c);
    }
}

static void garble(instance *self, call *c) {
    if (is_due(FAULT_EVERY)) {
        native_send(self, c->sid, NR_OK, c->body.ptr, c->body.len - 1);
    } else {
        echo(self, c);
    }
}

/* Another call's sid: what it waits for comes too early, and its own answer too late. */
static void mix_up(instance *self, call *c) {
    if (is_due(FAULT_EVERY)) {
        native_send(self, c->sid + 1, NR_OK, c->body.ptr, c->body.len);
    }
    echo(self, c);
}

/* Two frames, which change places. */
static NrStatus swap(instance *self, call *c) {
    stream *s = c->body.len == 2 * PIECE ? calloc(1, sizeof *s) : NULL;
    bool due = is_due(SWAP_EVERY);
    const uint8_t *body = c->body.ptr;
    if (s == NULL) {
        return NR_INVALID;
    }
    s->sid = c->sid;
    s->kind = COUNT;
    s->count = 2;
    if (!native_append(s, body + (due ? PIECE : 0), PIECE) || !native_append(s, body + (due ? 0 : PIECE), PIECE)) {
        native_stream_free(s);
        return NR_ERR;
    }
    return native_open(self, s);
}

const entry native_entries[] = {
    {.name = "lose", .kind = POOLED, .run = lose},
    {.name = "lose_sync", .kind = SYNCHRONOUS, .run = lose},
    {.name = "twice", .kind = POOLED, .run = send_twice},
    {.name = "twice_sync", .kind = SYNCHRONOUS, .run = send_twice},
    {.name = "garble", .kind = SYNCHRONOUS, .run = garble},
    {.name = "mix_up", .kind = SYNCHRONOUS, .run = mix_up},
    {.name = "swap", .kind = STREAM, .open = swap},
};
const size_t native_entry_count = sizeof native_entries / sizeof *native_entries;
