/* The host that `nrhost bench` is to a plugin: send_result copies and counts. No table, no lock, no ledger. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define LANE_BITS 16
#define SPINS_BEFORE_YIELD 20000u

static bench_tally *tallies;

/* A host copies, all of it. Where to is its own affair: here to a place that no other thread looks at. */
enum { SHORT = 1024 };
static pthread_key_t long_places; /* frees a thread's place for long replies with the thread */
static pthread_once_t long_places_made = PTHREAD_ONCE_INIT;
static _Thread_local struct {
    uint8_t *bytes;
    uint64_t cap;
} long_place;

static void make_long_places(void) {
    if (pthread_key_create(&long_places, free) != 0) {
        fputs("nrhost bench: no key for its threads' memory\n", stderr);
        exit(1);
    }
}

static uint8_t *place_for(uint64_t len) {
    if (long_place.cap < len) {
        pthread_once(&long_places_made, make_long_places);
        uint8_t *more = realloc(long_place.bytes, len);
        if (more == NULL || pthread_setspecific(long_places, more) != 0) {
            fputs("nrhost bench: out of memory\n", stderr);
            exit(1);
        }
        long_place.bytes = more;
        long_place.cap = len;
    }
    return long_place.bytes;
}

static void land(const uint8_t *data, uint64_t len) {
    static _Thread_local uint8_t landed[SHORT];
    if (len > 0) {
        memcpy(len <= SHORT ? landed : place_for(len), data, len);
    }
}

static void count(uint64_t sid, NrStatus status, uint64_t len) {
    bench_tally *tally = &tallies[sid & ((1u << LANE_BITS) - 1)];
    bool is_frame = tally->wanted == NR_STREAM_END && status == NR_OK;
    bool is_of_length = status != NR_OK || len == tally->wanted_len || tally->wanted_len == BENCH_ANY_LENGTH;
    if ((!is_frame && status != tally->wanted) || !is_of_length) {
        atomic_fetch_add_explicit(&tally->wrong, 1, memory_order_relaxed);
    }
    if (is_frame) {
        uint64_t frames = atomic_load_explicit(&tally->frames, memory_order_relaxed); /* one at a time for a stream */
        atomic_store_explicit(&tally->frames, frames + 1, memory_order_release);
        return;
    }
    atomic_fetch_add_explicit(&tally->done, 1, memory_order_release);
}

static void take_v1(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    (void)host_ctx;
    land(payload.ptr, payload.len);
    count(sid, status, payload.len);
}

const NrHostVTable bench_vtable_v1 = {.send_result = take_v1};

static NrStatus take_v2(void *host_ctx, uint64_t sid, NrStatus status, NrVecU8 payload) {
    (void)host_ctx;
    land(payload.ptr, payload.len);
    if (payload.owned != 0 && payload.drop_fn != NULL) {
        payload.drop_fn(payload.ptr, payload.len, payload.cap);
    }
    count(sid, status, payload.len);
    return NR_OK;
}

/* Owned bytes are read where they are, and let go: what a host does that hands them on. */
static NrStatus take_owned(void *host_ctx, uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    (void)host_ctx;
    if (payload.release != NULL) {
        payload.release(payload.owner_ctx, payload.ptr, payload.len);
    }
    count(sid, status, payload.len);
    return NR_OK;
}

/* One buffer a thread: enough for replies that are sent by the thread that asked for it. */
static _Thread_local struct {
    uint8_t *bytes;
    uint64_t cap;
} leased;

static NrBufferLease lease(void *host_ctx, uint64_t sid, uint64_t capacity) {
    (void)host_ctx;
    if (leased.cap < capacity) {
        uint8_t *more = realloc(leased.bytes, capacity);
        if (more == NULL) {
            return (NrBufferLease){0};
        }
        leased.bytes = more;
        leased.cap = capacity;
    }
    return (NrBufferLease){.ptr = leased.bytes, .cap = leased.cap, .token = sid};
}

static NrStatus commit(void *host_ctx, uint64_t sid, NrStatus status, uint64_t token, uint64_t initialized_len) {
    (void)host_ctx;
    if (token != sid || initialized_len > leased.cap) {
        return NR_INVALID;
    }
    count(sid, status, initialized_len);
    return NR_OK;
}

const NrHostVTableV2 bench_vtable_v2 = {
    .send_result = take_v2,
    .send_result_owned = take_owned,
    .acquire_result_buffer = lease,
    .commit_result_buffer = commit,
};

bool bench_tallies_make(size_t lanes) {
    tallies = aligned_alloc(_Alignof(bench_tally), lanes * sizeof *tallies);
    if (tallies != NULL) {
        memset(tallies, 0, lanes * sizeof *tallies);
        for (size_t lane = 0; lane < lanes; lane++) {
            tallies[lane].wanted_len = BENCH_ANY_LENGTH;
        }
    }
    return tallies != NULL;
}

void bench_tallies_free(void) {
    /* The main thread's; of the others a long place goes with its thread, a lease at the end of the process. */
    free(leased.bytes);
    free(long_place.bytes);
    free(tallies);
}

bench_tally *bench_tally_of(size_t lane) {
    return &tallies[lane];
}

static uint64_t sid_of(size_t lane, uint64_t number) {
    return (number << LANE_BITS) | lane;
}

NrStatus bench_enter(const bench *b, NrStr entry, size_t lane, uint64_t number) {
    const nrhost_functions *f = b->functions;
    uint64_t sid = sid_of(lane, number);
    if (f->v2 != NULL) {
        bool own = b->by_id && entry.ptr == (const uint8_t *)b->entry; /* not the --busy ones */
        return own ? f->v2->handle_by_id(b->id, sid, b->payload) : f->v2->handle(entry, sid, b->payload);
    }
    if (b->raw && f->handle_raw != NULL) {
        return f->handle_raw(f->plugin_ctx, entry, sid, b->payload);
    }
    return f->handle(f->plugin_ctx, entry, sid, b->raw ? NULL : &b->metadata, b->payload);
}

NrStatus bench_send(const bench *b, size_t lane, uint64_t number) {
    const nrhost_functions *f = b->functions;
    uint64_t sid = sid_of(lane, number);
    return f->v2 != NULL ? f->v2->stream_data(sid, b->payload) : f->stream_data(f->plugin_ctx, sid, b->payload);
}

NrStatus bench_close(const bench *b, size_t lane, uint64_t number) {
    const nrhost_functions *f = b->functions;
    uint64_t sid = sid_of(lane, number);
    return f->v2 != NULL ? f->v2->stream_close(sid) : f->stream_close(f->plugin_ctx, sid);
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
