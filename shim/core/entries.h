/*
 * The entry table: what a plugin registered, found by name. Made once when an instance opens, read without a lock.
 */
#ifndef NRPY_ENTRIES_H
#define NRPY_ENTRIES_H

#include "python.h"

#include "abi/nylon_ring_v1.h"
#include "counters.h"
#include "views.h"

#include <stdbool.h>
#include <stdint.h>

/* The SDK names the same bits (nylon_ring_py/_core.pyi). */
enum {
    NRPY_SYNC = 1,           /* runs on the host's thread */
    NRPY_RAW = 2,            /* the handler takes the payload, not a Request */
    NRPY_GENERATOR = 4,      /* frames are what it yields */
    NRPY_STREAM = 8,         /* stays open when the handler returns */
    NRPY_CALLBACK = 16,      /* the handler takes a Callback as its second argument */
    NRPY_ASYNC = 32,         /* calling the handler gives a coroutine, which runs on an event loop */
    NRPY_DUPLEX = 64,        /* the handler takes a Stream; without NRPY_ASYNC it has a thread of its own */
    NRPY_BORROW = 128,       /* the payload is a Body over the host's memory */
    NRPY_EXCHANGE = 1 << 16, /* the core's own: calls stay open beyond the handler, or are answered from elsewhere */
};

/* What an author set about an entry; 0: no limit. */
typedef struct nrpy_limits {
    int64_t timeout_ns;       /* from the host's call to its answer */
    int64_t idle_timeout_ns;  /* a stream's, between two frames */
    int64_t close_timeout_ns; /* a stream's, after the host has closed its end */
    uint64_t max_pending;     /* calls that may be unanswered */
    size_t max_buffered;      /* frames of a stream that the host leaves waiting before their producer waits too */
} nrpy_limits;

/* What a name is told by: all of it up to 16 bytes, and what it begins and ends with where it is longer. */
typedef struct nrpy_name_key {
    uint64_t head;
    uint64_t tail;
    uint32_t length;
} nrpy_name_key;

/* On a cache line of its own: all that a call's way in reads. */
typedef struct nrpy_entry {
    _Alignas(64) uint64_t head; /* its name's key */
    uint64_t tail;
    uint32_t length;
    uint32_t flags;
    PyObject *handler; /* cleared when the instance is unloaded */
    PyObject *name_object;
    nrpy_counters *counters;
    nrpy_limits *limits;
    char *name; /* UTF-8, owned; NULL: a free slot */
} nrpy_entry;

static_assert(sizeof(nrpy_entry) == 64, "an entry has a cache line");

typedef struct nrpy_entries {
    nrpy_entry *slots; /* open addressing; a slot without name is free */
    uint32_t mask;
    uint32_t count;
    uint32_t all_flags; /* every entry's flags together */
} nrpy_entries;

/* From a list of (name: str, flags: int, handler, and the limits in their order, in ns and numbers). Needs the GIL. Returns 0, or -1 with an exception set. */
int nrpy_entries_fill(nrpy_entries *entries, PyObject *list);

/* Drops the Python objects and keeps the table: a host thread may still be looking something up. Needs the GIL. */
void nrpy_entries_clear(nrpy_entries *entries);

/* Frees the table itself. */
void nrpy_entries_free(nrpy_entries *entries);

static inline bool nrpy_entry_is_stream(const nrpy_entry *entry) {
    return (entry->flags & (NRPY_GENERATOR | NRPY_STREAM | NRPY_DUPLEX)) != 0;
}

/* `length` bytes are readable, and it is not 0. */
static inline nrpy_name_key nrpy_key_of(const uint8_t *name, uint32_t length) {
    if (length >= 8) {
        return (nrpy_name_key){nrpy_load8(name), nrpy_load8(name + length - 8), length};
    }
    if (length >= 4) {
        return (nrpy_name_key){nrpy_load4(name), nrpy_load4(name + length - 4), length};
    }
    return (nrpy_name_key){(uint64_t)name[0] << 8 | name[length / 2], name[length - 1], length};
}

/* Where the search for a name begins, before the mask: the top bits of a product are the mixed ones. */
static inline uint32_t nrpy_key_place(const nrpy_name_key *key) {
    return (uint32_t)(((key->head ^ key->tail << 7 ^ key->length) * 0x9e3779b97f4a7c15u) >> 40);
}

/* The entry, or NULL: an unknown name, or bytes that are no name at all. `name.len` bytes must be readable, and not 0. */
static inline const nrpy_entry *nrpy_entries_find(const nrpy_entries *entries, NrStr name) {
    nrpy_name_key key = nrpy_key_of(name.ptr, name.len);
    for (uint32_t i = nrpy_key_place(&key) & entries->mask;; i = (i + 1) & entries->mask) {
        const nrpy_entry *entry = &entries->slots[i];
        if (entry->head == key.head && entry->tail == key.tail && entry->length == key.length &&
            (key.length <= 16 || memcmp(entry->name, name.ptr, key.length) == 0)) {
            return entry;
        }
        if (entry->name == NULL) {
            return NULL;
        }
    }
}

/* The number a host may call an entry by: it lasts as long as the table. */
static inline uint32_t nrpy_entry_id(const nrpy_entries *entries, const nrpy_entry *entry) {
    return (uint32_t)(entry - entries->slots);
}

static inline const nrpy_entry *nrpy_entry_by_id(const nrpy_entries *entries, uint32_t id) {
    return id <= entries->mask && entries->slots[id].name != NULL ? &entries->slots[id] : NULL;
}

#endif /* NRPY_ENTRIES_H */
