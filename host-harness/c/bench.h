/* `nrhost bench`: what its two files share. */
#ifndef NRHOST_BENCH_H
#define NRHOST_BENCH_H

#include <stdatomic.h>

#include "commands.h"
#include "nrhost.h"
#include "text.h"

/* Where one outstanding call's reply lands: its own cache lines. */
typedef struct bench_slot {
    _Alignas(64) _Atomic uint32_t done;
    NrStatus status;
    uint32_t stream; /* set by the caller before handle: only a status other than Ok is done */
    uint64_t frames;
    uint8_t data[232];
} bench_slot;

extern bench_slot *bench_slots;

typedef struct bench {
    const char *plugin, *entry, *kind;
    uint64_t calls, warmup;
    size_t threads, window, body;
    uint32_t headers;
    nrhost_layout layout;
    bool raw, json;
    nrhost *host;
    const nrhost_functions *functions;
    NrRequest metadata;
    NrBytes payload;
    NrHeader *headers_owned;
    uint8_t *body_owned;
} bench;

uint64_t bench_sid(size_t slot, uint64_t count);

/* Measures, and writes what came of it; or returns why it could not. */
typedef const char *bench_run(const bench *b, json *out);
bench_run bench_inside, bench_fast, bench_submit, bench_throughput, bench_roundtrip, bench_stream;

#endif /* NRHOST_BENCH_H */
