/*
 * The plugin of the conformance suite, in C: docs/conformance.md says what each entry does. Besides, for tests and
 * measurements of v2 hosts: echo_owned, echo_vector and echo_lease answer with the body in these three ways, and
 * owned_tally tells how many buffers were sent, released, and released twice.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

const char native_name[] = "conformance";

NrStatus native_starts(void) {
    return NR_OK;
}

static void echo(instance *self, call *c) {
    native_send(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

static void echo_owned(instance *self, call *c) {
    native_send_owned(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

static void echo_vector(instance *self, call *c) {
    native_send_vector(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

static void echo_lease(instance *self, call *c) {
    native_send_lease(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

static void owned_tally(instance *self, call *c) {
    char text[96];
    native_tally tally = native_owned_tally();
    snprintf(text, sizeof text, "sent %llu released %llu twice %llu", (unsigned long long)tally.sent,
             (unsigned long long)tally.released, (unsigned long long)tally.twice);
    native_text(self, c->sid, NR_OK, text);
}

static void fail(instance *self, call *c) {
    static const char prefix[] = "ValueError: ";
    size_t head = sizeof prefix - 1;
    char *text = malloc(head + c->body.len);
    if (text == NULL) {
        native_text(self, c->sid, NR_ERR, "MemoryError");
        return;
    }
    memcpy(text, prefix, head);
    if (c->body.len > 0) {
        memcpy(text + head, c->body.ptr, c->body.len);
    }
    native_send(self, c->sid, NR_ERR, text, head + c->body.len);
    free(text);
}

static void status(instance *self, call *c) {
    uint64_t wanted = native_number(c->body);
    bool known = wanted >= NR_ERR && wanted <= NR_UNSUPPORTED;
    native_text(self, c->sid, known ? (NrStatus)wanted : NR_ERR, known ? "as asked" : "ValueError: 1, 2 or 3");
}

/* ---- describe ---- */

typedef struct text {
    char *data;
    size_t len, room;
} text;

static void put(text *t, const void *data, size_t len) {
    if (t->room - t->len < len) {
        size_t room = (t->len + len) * 2;
        char *more = realloc(t->data, room);
        if (more == NULL) {
            abort();
        }
        t->data = more;
        t->room = room;
    }
    if (len > 0) {
        memcpy(t->data + t->len, data, len);
        t->len += len;
    }
}

static void put_line(text *t, NrStr line) {
    put(t, line.ptr, line.len);
    put(t, "\n", 1);
}

static void describe(instance *self, call *c) {
    const NrRequest *r = c->request;
    if (r == NULL) {
        native_text(self, c->sid, NR_OK, "no request\n");
        return;
    }
    text t = {0};
    char count[24];
    put_line(&t, r->method);
    put_line(&t, r->path);
    put_line(&t, r->query);
    put(&t, count, (size_t)snprintf(count, sizeof count, "%u\n", r->headers_len));
    for (uint32_t i = 0; i < r->headers_len; i++) {
        put(&t, r->headers[i].key.ptr, r->headers[i].key.len);
        put(&t, ": ", 2);
        put_line(&t, r->headers[i].value);
    }
    native_send(self, c->sid, NR_OK, t.data, t.len);
    free(t.data);
}

/* ---- state: the host's where it keeps any; else the call's own, which nobody else sees ---- */

static const NrHostExt *host_ext(const instance *self) {
    NrHostExtFn ext_of;
    *(void **)&ext_of = self->v2 ? NULL : dlsym(RTLD_DEFAULT, NR_HOST_EXT_SYMBOL);
    return ext_of != NULL ? ext_of(self->host_ctx) : NULL;
}

static const NrStr key = {.ptr = (const uint8_t *)"k", .len = 1};

static void state(instance *self, call *c) {
    const NrHostExt *ext = host_ext(self);
    NrBytes value = c->body;
    if (ext != NULL) {
        NrBytes fault = ext->set_state(self->host_ctx, c->sid, key, c->body);
        if (fault.len > 0) {
            native_send(self, c->sid, NR_ERR, fault.ptr, fault.len);
            return;
        }
        value = ext->get_state(self->host_ctx, c->sid, key);
    }
    native_send(self, c->sid, NR_OK, value.ptr, value.len);
}

static void state_peek(instance *self, call *c) {
    const NrHostExt *ext = host_ext(self);
    NrBytes value = ext != NULL ? ext->get_state(self->host_ctx, c->sid, key) : (NrBytes){0};
    native_send(self, c->sid, NR_OK, value.ptr, value.len);
}

/* ---- held calls ---- */

static void answer_number(instance *self, uint64_t sid, uint64_t number) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    native_text(self, sid, NR_OK, digits);
}

static void let_go(instance *self, call *c) {
    answer_number(self, c->sid, native_let_go(self));
}

/* ---- streams ---- */

static NrStatus open_stream(instance *self, call *c, stream_kind kind, bool fails) {
    stream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NR_ERR;
    }
    s->sid = c->sid;
    s->kind = kind;
    s->fails = fails;
    s->count = native_number(c->body);
    return native_open(self, s);
}

static NrStatus count(instance *self, call *c) {
    return open_stream(self, c, COUNT, false);
}

static NrStatus count_fail(instance *self, call *c) {
    return open_stream(self, c, COUNT, true);
}

static NrStatus endless(instance *self, call *c) {
    return open_stream(self, c, ENDLESS, false);
}

static void ended(instance *self, call *c) {
    pthread_mutex_lock(&self->lock);
    uint64_t number = self->endless_ended;
    pthread_mutex_unlock(&self->lock);
    answer_number(self, c->sid, number);
}

static NrStatus chat(instance *self, call *c) {
    static const char greeting[] = "hello ";
    size_t head = sizeof greeting - 1;
    stream *s = calloc(1, sizeof *s);
    frame *f = malloc(sizeof *f + head + c->body.len);
    if (s == NULL || f == NULL) {
        free(s);
        free(f);
        return NR_ERR;
    }
    *f = (frame){.status = NR_OK, .len = head + c->body.len};
    memcpy(f->bytes, greeting, head);
    if (c->body.len > 0) {
        memcpy(f->bytes + head, c->body.ptr, c->body.len);
    }
    *s = (stream){.sid = c->sid, .kind = DUPLEX, .first = f, .last = f, .waiting = 1};
    return native_open(self, s);
}

static NrStatus relay(instance *self, call *c) {
    stream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NR_ERR;
    }
    *s = (stream){.sid = c->sid, .kind = DUPLEX, .as_is = true};
    return native_open(self, s);
}

static NrStatus spread(instance *self, call *c) {
    stream *s = calloc(1, sizeof *s);
    uint64_t size = c->body.len / 8 > 0 ? c->body.len / 8 : 1;
    if (s == NULL) {
        return NR_ERR;
    }
    *s = (stream){.sid = c->sid, .kind = COUNT, .count = (c->body.len + size - 1) / size};
    for (uint64_t at = 0; at < c->body.len; at += size) {
        uint64_t left = c->body.len - at;
        if (!native_append(s, (const uint8_t *)c->body.ptr + at, left < size ? left : size)) {
            native_stream_free(s);
            return NR_ERR;
        }
    }
    return native_open(self, s);
}

/* On the host's thread, so that let_go finds it; the worker answers. */
static void hold(instance *self, call *c) {
    native_hold(self, c);
}

const entry native_entries[] = {
    {.name = "echo", .kind = POOLED, .run = echo},
    {.name = "echo_sync", .kind = SYNCHRONOUS, .run = echo},
    {.name = "raw_echo", .kind = POOLED, .run = echo},
    {.name = "raw_sync", .kind = SYNCHRONOUS, .run = echo},
    {.name = "echo_async", .kind = POOLED, .run = echo},
    {.name = "echo_executor", .kind = POOLED, .run = echo},
    {.name = "describe", .kind = SYNCHRONOUS, .run = describe},
    {.name = "fail", .kind = POOLED, .run = fail},
    {.name = "fail_sync", .kind = SYNCHRONOUS, .run = fail},
    {.name = "status", .kind = SYNCHRONOUS, .run = status},
    {.name = "state", .kind = POOLED, .run = state},
    {.name = "state_peek", .kind = POOLED, .run = state_peek},
    {.name = "count", .kind = STREAM, .open = count},
    {.name = "count_fail", .kind = STREAM, .open = count_fail},
    {.name = "endless", .kind = STREAM, .open = endless},
    {.name = "ended", .kind = SYNCHRONOUS, .run = ended},
    {.name = "spread", .kind = STREAM, .open = spread},
    {.name = "spread_async", .kind = STREAM, .open = spread},
    {.name = "chat", .kind = STREAM, .open = chat},
    {.name = "relay", .kind = STREAM, .open = relay},
    {.name = "relay_async", .kind = STREAM, .open = relay},
    {.name = "relay_object", .kind = STREAM, .open = relay},
    {.name = "held", .kind = SYNCHRONOUS, .run = hold},
    {.name = "let_go", .kind = SYNCHRONOUS, .run = let_go},
    {.name = "echo_owned", .kind = SYNCHRONOUS, .run = echo_owned},
    {.name = "echo_vector", .kind = SYNCHRONOUS, .run = echo_vector},
    {.name = "echo_lease", .kind = SYNCHRONOUS, .run = echo_lease},
    {.name = "owned_tally", .kind = SYNCHRONOUS, .run = owned_tally},
};
const size_t native_entry_count = sizeof native_entries / sizeof *native_entries;
