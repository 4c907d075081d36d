/* What the loops of `nrhost bench` have in common. In a header, for a loop's calls to cost no call more. */
#ifndef NRHOST_BENCH_CALLS_H
#define NRHOST_BENCH_CALLS_H

#include "bench.h"

#define BENCH_NOT_INSIDE "the entry does not answer inside handle: measure it with submit, throughput or roundtrip"

static inline NrStatus bench_lane_enter(bench_lane *l) {
    return bench_enter(l->b, nrhost_str(l->b->entry), l->number, ++l->count);
}

static inline bool bench_lane_is_done(const bench_lane *l) {
    return atomic_load_explicit(&l->tally->done, memory_order_acquire) == l->count;
}

static inline bool bench_lane_entered(bench_lane *l, NrStatus status) {
    if (status != NR_OK) {
        l->count--;
        l->fault = "handle refused a call: is the entry right, and --window below the plugin's max_pending?";
    }
    return status == NR_OK;
}

static inline bool bench_lane_inside(bench_lane *l) {
    if (!bench_lane_entered(l, bench_lane_enter(l))) {
        return false;
    }
    if (!bench_lane_is_done(l)) {
        l->fault = BENCH_NOT_INSIDE;
        bench_await(l->tally, l->count); /* its reply must not come when all is gone */
        return false;
    }
    return true;
}

/* ---- what is written of every kind ---- */

static inline size_t bench_most_samples(const bench *b) {
    return (size_t)(b->calls > b->warmup ? b->calls : b->warmup);
}

static inline void bench_write_rate(const bench *b, const totals *t, json *out) {
    uint64_t calls = b->calls / b->threads * b->threads;
    json_u64(out, "calls", calls);
    json_u64(out, "threads", b->threads);
    json_number(out, "calls_per_s", (double)calls / t->seconds);
}

/* For what passes from one thread to another. */
static inline void bench_write_hop(json *out) {
    json_number(out, "hop_ns", bench_hop_ns());
}

#endif /* NRHOST_BENCH_CALLS_H */
