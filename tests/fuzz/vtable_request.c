/* Requests out of an input: honest ones, and every kind that has to be refused. All memory ends at a guarded page. */
#include "vtable.h"

#include <string.h>

enum { HEADERS = 6, MANY = 300, HEADER_MAX = 64 };

/* Shapes of a view. All below are honest: most end at a page without access, one begins behind such a page. */
enum { SHAPE_BEHIND = 4, SHAPE_NULL = 5, SHAPE_OVERFLOW = 6, SHAPE_EMPTY = 7, SHAPES = 8 };

static const void *guarded(actor *a, const void *bytes, size_t length) {
    const void *copy = guard_copy(a->memory, bytes, length);
    DEMAND(copy != NULL, "the target has too few regions");
    return copy;
}

/* Length 255 stands for a long one: so many times 256 bytes of a pattern. */
static view honest_view(actor *a, size_t most, bool behind) {
    static uint8_t pattern[VIEW_MAX];
    size_t length = input_byte(&a->in);
    const uint8_t *bytes;
    if (length == 255 && most > 255) {
        length = (size_t)input_byte(&a->in) * 256;
        bytes = pattern;
    } else {
        length = length < most ? length : most;
        bytes = input_bytes(&a->in, &length);
    }
    const uint8_t *ptr = behind ? guard_copy_behind(a->memory, bytes, length) : guarded(a, bytes, length);
    DEMAND(ptr != NULL, "the target has too few regions");
    return (view){.ptr = ptr, .len = length, .possible = true};
}

static view empty_view(actor *a) {
    static const uintptr_t places[] = {0, 1, 8, UINTPTR_MAX, 0x8000000000000000u};
    uint8_t which = input_byte(&a->in);
    view made = {.len = 0, .possible = true};
    if (which < sizeof places / sizeof *places) {
        made.ptr = (const uint8_t *)places[which]; // NOLINT: no place of ours
    } else {
        made.ptr = guarded(a, "", 0); /* the guarded page itself */
    }
    return made;
}

static view overflowing_view(actor *a, bool wide) {
    uint64_t more = input_byte(&a->in);
    if (wide && more % 2 == 1) {
        const uint8_t *ptr = guarded(a, "abc", 3);
        return (view){.ptr = ptr, .len = (UINT64_C(1) << 63) + more * UINT64_C(0x80000000000000)};
    }
    return (view){.ptr = (const uint8_t *)(UINTPTR_MAX - more), .len = more + 1}; // NOLINT: no place of ours
}

static view limited_view(actor *a, bool wide, size_t most) {
    uint8_t shape = input_byte(&a->in) % SHAPES;
    switch (shape) {
    case SHAPE_NULL:
        return (view){.ptr = NULL, .len = (uint64_t)input_byte(&a->in) + 1};
    case SHAPE_OVERFLOW:
        return overflowing_view(a, wide);
    case SHAPE_EMPTY:
        return empty_view(a);
    default:
        return honest_view(a, most, shape == SHAPE_BEHIND);
    }
}

view next_view(actor *a, bool wide) {
    return limited_view(a, wide, VIEW_MAX);
}

/* ---- what the entry has to show ---- */

static void expect(request *r, const void *bytes, size_t length) {
    uint8_t *grown = realloc(r->expected, r->expected_size + length + 1);
    DEMAND(grown != NULL, "no memory");
    if (length > 0) {
        memcpy(grown + r->expected_size, bytes, length);
    }
    r->expected = grown;
    r->expected_size += length;
}

static void expect_part(request *r, const void *bytes, uint64_t length) {
    uint32_t size = (uint32_t)length;
    expect(r, &size, sizeof size);
    expect(r, bytes, size);
}

/* ---- metadata ---- */

static NrStr as_str(request *r, view from, bool is_text) {
    r->possible = r->possible && from.possible && (!is_text || from.len == 0 || is_utf8(from.ptr, (size_t)from.len));
    return (NrStr){.ptr = from.ptr, .len = (uint32_t)from.len};
}

static NrStr next_text(actor *a, request *r) {
    view from = next_view(a, false);
    NrStr text = as_str(r, from, true);
    if (r->possible) {
        expect_part(r, text.ptr, text.len);
    }
    return text;
}

static void next_headers(actor *a, request *r) {
    NrHeader headers[MANY];
    uint8_t count = input_byte(&a->in);
    if (count > 250) { /* no headers, and many of them; or more than can be behind their place */
        r->possible = false;
        bool behind = count > 252;
        r->metadata.headers = behind ? (const NrHeader *)(UINTPTR_MAX - 31) : NULL; // NOLINT: no place of ours
        /* So many that their bytes are none in 32 bits, or nearly all there are. */
        r->metadata.headers_len = behind ? UINT32_MAX : count == 251 ? UINT32_C(1) << 27 : count;
        return;
    }
    unsigned distinct = count % (HEADERS + 1);
    for (unsigned i = 0; i < distinct; i++) {
        headers[i].key = as_str(r, limited_view(a, false, HEADER_MAX), true);
        headers[i].value = as_str(r, limited_view(a, false, HEADER_MAX), false);
    }
    unsigned total = distinct > 0 && count > 240 ? MANY : distinct;
    for (unsigned i = 0; i < total; i++) {
        headers[i] = headers[i % distinct];
        if (r->possible) {
            expect_part(r, headers[i].key.ptr, headers[i].key.len);
            expect_part(r, headers[i].value.ptr, headers[i].value.len);
        }
    }
    r->metadata.headers = guarded(a, headers, total * sizeof *headers);
    r->metadata.headers_len = total;
}

static void next_metadata(actor *a, request *r) {
    r->metadata.method = next_text(a, r);
    r->metadata.path = next_text(a, r);
    r->metadata.query = next_text(a, r);
    next_headers(a, r);
    r->call.metadata = guarded(a, &r->metadata, sizeof r->metadata);
}

/* ---- the call ---- */

/* An entry by its number, or by any text. */
static void next_entry(actor *a, request *r) {
    uint8_t index = input_byte(&a->in);
    view name;
    if (index < 0xe0) {
        const entry *chosen = entry_at(index);
        size_t length = strlen(chosen->name);
        name = (view){.ptr = guarded(a, chosen->name, length), .len = length, .possible = true};
    } else {
        name = next_view(a, false);
    }
    r->entry = name.possible && name.len > 0 ? entry_named(name.ptr, (size_t)name.len) : NULL;
    r->call.entry = (NrStr){.ptr = name.ptr, .len = (uint32_t)name.len};
}

uint64_t stream_sid(unsigned thread, unsigned which) {
    return (UINT64_C(1) << 40) + thread * 16u + which % 4;
}

/* Whether one thread alone has opened a stream of that sid that only a close or a shutdown ends. */
static bool is_open_stream(const actor *a, const instance *of, uint64_t sid) {
    bool found = false;
    for (unsigned i = 0; a->session->alone && i < a->held_count; i++) {
        const held *h = &a->held[i];
        found = found || (h->of == of && !h->closed && strncmp(h->entry->name, "talk", 4) == 0 &&
                          nrhost_call_sid(h->call) == sid);
    }
    return found;
}

/*
 * Some sids come again and again. Those of streams are others than those of unary calls, and each thread has its own, so
 * that the ledger can tell whose a reply is; only what is answered at once asks for an open stream's.
 */
static void next_sid(actor *a, const instance *of, request *r) {
    static const uint64_t again[] = {1001, 1011, UINT64_MAX + 1 - THREADS, UINT64_C(1) << 63};
    uint8_t which = input_byte(&a->in);
    bool wants_stream = r->entry != NULL && (r->entry->stream || (r->entry->sync && which >= 64));
    if (which < 8 && !wants_stream) {
        r->call.sid = again[which % 4] + a->thread;
        r->shares_sid = true;
    } else if (which < 96 && wants_stream) {
        r->call.sid = stream_sid(a->thread, which);
        r->stream_sid = r->shares_sid = true;
        r->sid_is_open = is_open_stream(a, of, r->call.sid);
    }
}

static void next_id(actor *a, const instance *of, request *r) {
    uint8_t which = input_byte(&a->in);
    r->call.by_id = true;
    if (which < 0xf0) {
        r->call.id = nrhost_resolve(of->host, r->call.entry);
    } else {
        r->call.id = which % 2 == 0 ? NR_ENTRY_UNKNOWN : 1000u << (which % 16);
        r->entry = NULL;
    }
}

void next_request(actor *a, const instance *of, request *r) {
    *r = (request){.possible = true};
    next_entry(a, r);
    next_sid(a, of, r);
    r->call.kind = r->entry != NULL && r->entry->stream ? NRHOST_STREAM : NRHOST_UNARY;
    uint8_t door = input_byte(&a->in);
    r->call.raw = door % 4 == 0;
    if (of->abi == NRHOST_V2 && r->call.raw) {
        next_id(a, of, r);
    }
    view body = next_view(a, true);
    r->call.payload = (NrBytes){.ptr = body.ptr, .len = body.len};
    bool shows_request = r->entry != NULL && r->entry->shows == SHOWS_REQUEST;
    if (of->abi != NRHOST_V2 && !r->call.raw && door % 4 != 1) {
        next_metadata(a, r);
    } else if (shows_request) {
        const uint8_t nothing[3 * sizeof(uint32_t)] = {0};
        expect(r, nothing, sizeof nothing);
    }
    r->possible = r->possible && body.possible;
    if (!shows_request) {
        r->expected_size = 0; /* what the metadata would show */
    }
    if (r->possible && shows_request) {
        expect_part(r, body.ptr, body.len);
    } else if (r->possible) {
        expect(r, body.ptr, (size_t)body.len);
    }
    if (r->shares_sid) {
        free(r->expected);
        r->expected = NULL;
    }
}
