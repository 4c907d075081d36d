/* The kinds of `nrhost bench` that time many calls together: unary, raw, id, fast, throughput, stream. */
#include <stdlib.h>

#include "bench_calls.h"
#include "drive.h"

#define BATCH 1000u
/* A lane whose window is full looks again after some microseconds, and goes on when an eighth of it is free: it must
 * not take the tally's line from the sender at every reply. */
#define PAUSES_BETWEEN_LOOKS 64

/* ---- one lane of each kind ---- */

static bool fast_once(bench_lane *l) {
    nrhost_frame reply;
    nrhost_request request = {
        .entry = nrhost_str(l->b->entry), .metadata = &l->b->metadata, .payload = l->b->payload, .raw = l->b->raw};
    nrhost_outcome outcome = nrhost_call_fast(l->b->host, &request, &reply);
    if (outcome == NRHOST_NO_REPLY) {
        l->fault = BENCH_NOT_INSIDE;
    } else if (outcome != NRHOST_FRAME || reply.status != NR_OK) {
        l->fault = "a call failed: try it with nrhost call --fast";
    } else if (l->b->reply_len != BENCH_ANY_LENGTH && reply.len != l->b->reply_len) {
        l->fault = "a reply had another length than --reply: try it with nrhost call --fast";
    }
    nrhost_frame_free(&reply);
    return l->fault == NULL;
}

static void run_batches(bench_lane *l, bool (*once)(bench_lane *l)) {
    for (uint64_t left = l->calls; left > 0 && l->fault == NULL;) {
        uint64_t batch = left < BATCH ? left : BATCH, before = bench_now_ns();
        for (uint64_t i = 0; i < batch; i++) {
            if (!once(l)) {
                return;
            }
        }
        l->samples[l->sample_count++] = (double)(bench_now_ns() - before) / (double)batch;
        left -= batch;
    }
}

static void run_inside(bench_lane *l) {
    run_batches(l, bench_lane_inside);
}

static void run_fast(bench_lane *l) {
    run_batches(l, fast_once);
}

static void await_room(const bench_lane *l, uint64_t room) {
    uint64_t wanted = l->count + room - l->b->window;
    while (atomic_load_explicit(&l->tally->done, memory_order_acquire) < wanted) {
        for (int i = 0; i < PAUSES_BETWEEN_LOOKS; i++) {
            bench_pause();
        }
    }
}

static void run_throughput(bench_lane *l) {
    uint64_t window = l->b->window, left = l->calls;
    while (left > 0) {
        uint64_t outstanding = l->count - atomic_load_explicit(&l->tally->done, memory_order_acquire);
        if (outstanding >= window) {
            await_room(l, window / 8 + 1);
            continue;
        }
        uint64_t next = window - outstanding < left ? window - outstanding : left;
        for (uint64_t i = 0; i < next; i++) {
            if (!bench_lane_entered(l, bench_lane_enter(l))) {
                left = next;
                break;
            }
        }
        left -= next;
    }
    bench_await(l->tally, l->count);
}

static void run_stream(bench_lane *l) {
    uint64_t before = atomic_load(&l->tally->frames);
    for (uint64_t i = 0; i < l->calls; i++) {
        if (!bench_lane_entered(l, bench_lane_enter(l))) {
            return;
        }
        while (!bench_lane_is_done(l)) {
            for (int p = 0; p < PAUSES_BETWEEN_LOOKS; p++) {
                bench_pause();
            }
        }
    }
    l->frames = atomic_load(&l->tally->frames) - before;
}

/* ---- what is written of each kind ---- */

static const char *in_batches(const bench *b, json *out, void (*run)(bench_lane *)) {
    totals t;
    const char *fault = bench_lanes(b, run, NR_OK, bench_most_samples(b) / BATCH + 1, &t);
    if (fault == NULL) {
        bench_write_rate(b, &t, out);
        json_number(out, "ns_per_call", bench_percentile(&t, 0.5));
        json_number(out, "ns_per_call_best", bench_percentile(&t, 0));
    }
    free(t.samples);
    return fault;
}

const char *bench_inside(const bench *b, json *out) {
    return in_batches(b, out, run_inside);
}

const char *bench_fast(const bench *b, json *out) {
    return in_batches(b, out, run_fast);
}

const char *bench_throughput(const bench *b, json *out) {
    totals t;
    const char *fault = bench_lanes(b, run_throughput, NR_OK, 0, &t);
    if (fault == NULL) {
        bench_write_rate(b, &t, out);
        json_u64(out, "rss_kib", process_rss_kib() - b->rss_kib_before);
        bench_write_hop(out);
    }
    free(t.samples);
    return fault;
}

const char *bench_stream(const bench *b, json *out) {
    totals t;
    const char *fault = bench_lanes(b, run_stream, NR_STREAM_END, 0, &t);
    if (fault == NULL) {
        bench_write_rate(b, &t, out);
        json_u64(out, "frames", t.frames);
        json_number(out, "frames_per_s", (double)t.frames / t.seconds);
        bench_write_hop(out);
    }
    free(t.samples);
    return fault;
}
