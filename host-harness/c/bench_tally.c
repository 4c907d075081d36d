/* The host that `nrhost bench` is to a plugin: send_result copies and counts. No table, no lock, no ledger. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define LANE_BITS 16
#define SPINS_BEFORE_YIELD 20000u

static bench_tally *tallies;

static void take_result(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    /* A host copies. Where to is its own affair: here to a place that no other thread looks at. */
    static _Thread_local uint8_t landed[1024];
    (void)host_ctx;
    bench_tally *tally = &tallies[sid & ((1u << LANE_BITS) - 1)];
    if (payload.len > 0) {
        memcpy(landed, payload.ptr, payload.len < sizeof landed ? payload.len : sizeof landed);
    }
    if (tally->wanted == NR_STREAM_END && status == NR_OK) {
        uint64_t frames = atomic_load_explicit(&tally->frames, memory_order_relaxed); /* one at a time for a stream */
        atomic_store_explicit(&tally->frames, frames + 1, memory_order_release);
        return;
    }
    if (status != tally->wanted) {
        atomic_fetch_add_explicit(&tally->wrong, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&tally->done, 1, memory_order_release);
}

const NrHostVTable bench_vtable = {.send_result = take_result};

bool bench_tallies_make(size_t lanes) {
    tallies = aligned_alloc(_Alignof(bench_tally), lanes * sizeof *tallies);
    if (tallies != NULL) {
        memset(tallies, 0, lanes * sizeof *tallies);
    }
    return tallies != NULL;
}

void bench_tallies_free(void) {
    free(tallies);
}

bench_tally *bench_tally_of(size_t lane) {
    return &tallies[lane];
}

NrStatus bench_enter(const bench *b, NrStr entry, size_t lane, uint64_t count) {
    const nrhost_functions *f = b->functions;
    uint64_t sid = (count << LANE_BITS) | lane;
    if (b->raw && f->handle_raw != NULL) {
        return f->handle_raw(f->plugin_ctx, entry, sid, b->payload);
    }
    return f->handle(f->plugin_ctx, entry, sid, b->raw ? NULL : &b->metadata, b->payload);
}

void bench_await(const bench_tally *tally, uint64_t done) {
    for (unsigned spins = 0; atomic_load_explicit(&tally->done, memory_order_acquire) < done; spins++) {
        if (spins > SPINS_BEFORE_YIELD) {
            sched_yield();
        }
        bench_pause();
    }
}

uint64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
