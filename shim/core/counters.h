/*
 * What is counted of one entry's calls. Those that every call touches are written with the GIL held, by a plain load and
 * store; the others by any thread.
 */
#ifndef NRPY_COUNTERS_H
#define NRPY_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Bucket i of the latencies counts those from 2**i to 2**(i+1) ns; the last one has all above. */
enum { NRPY_LATENCY_BUCKETS = 40 };

/* Every call is timed up to SAMPLE_ALL of them, and then each SAMPLE_STEP-th for SAMPLE_STEP: a look at the clock is a
 * sixth of a synchronous call. */
enum { NRPY_SAMPLE_ALL = 64, NRPY_SAMPLE_STEP = 64 };

typedef struct nrpy_counters {
    _Alignas(64) _Atomic uint64_t calls; /* handlers begun; GIL */
    _Atomic uint64_t ended;              /* handlers that are over; GIL */
    _Atomic uint64_t errors;             /* terminal replies that are neither Ok nor StreamEnd */
    _Atomic uint64_t latency_sum_ns;
    _Atomic uint64_t latency[NRPY_LATENCY_BUCKETS];
    _Alignas(64) _Atomic uint64_t pending; /* unanswered calls, or with a handler at work; of entries with a limit */
    _Atomic uint64_t refused;              /* calls that found no room */
    _Atomic uint64_t timeouts;
} nrpy_counters;

/* For how many calls the `number`-th one stands; 0: it is not timed. */
static inline unsigned nrpy_sample_weight(uint64_t number) {
    return number < NRPY_SAMPLE_ALL ? 1 : number % NRPY_SAMPLE_STEP == 0 ? NRPY_SAMPLE_STEP : 0;
}

/* Needs the GIL. Returns how many there were before. */
static inline uint64_t nrpy_count_with_gil(_Atomic uint64_t *counter) {
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + 1, memory_order_relaxed);
    return before;
}

static inline void nrpy_count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* `weight` calls took `ns` from the host's call to the terminal reply. */
static inline void nrpy_count_latency(nrpy_counters *counters, int64_t ns, unsigned weight) {
    uint64_t time = ns > 1 ? (uint64_t)ns : 1;
    int bucket = 63 - __builtin_clzll(time);
    bucket = bucket < NRPY_LATENCY_BUCKETS ? bucket : NRPY_LATENCY_BUCKETS - 1;
    nrpy_count(&counters->latency[bucket], weight);
    nrpy_count(&counters->latency_sum_ns, time * weight);
}

#endif /* NRPY_COUNTERS_H */
