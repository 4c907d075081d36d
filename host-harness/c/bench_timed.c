/* The kinds of `nrhost bench` that time each call by itself: submit, latency, roundtrip. */
#include <stdlib.h>

#include "bench_calls.h"

#define BUSY_END_NS 5000000000u

/* Keeps Python busy: a stream that says with its first frame that it runs. */
static bool begin_busy(bench_lane *l, uint64_t count) {
    const bench *b = l->b;
    bench_tally *tally = bench_tally_of(b->threads);
    tally->wanted = NR_STREAM_END;
    uint64_t frames = atomic_load(&tally->frames);
    if (!bench_lane_entered(l, bench_enter(b, nrhost_str(b->busy), b->threads, count))) {
        return false;
    }
    while (atomic_load(&tally->frames) == frames && atomic_load(&tally->done) < count) {
    }
    if (atomic_load(&tally->frames) == frames) {
        l->fault = "the --busy entry ended before it began: it must be a stream that sends a frame and runs on";
    }
    return l->fault == NULL;
}

static void end_busy(bench_lane *l, uint64_t count) {
    const bench *b = l->b;
    if (bench_enter(b, nrhost_str(b->busy_end), b->threads + 1, count) != NR_OK) {
        fputs("nrhost bench: the --busy-end entry refuses, so the busy one runs for ever\n", stderr);
        exit(1);
    }
    bench_await(bench_tally_of(b->threads + 1), count);
    const bench_tally *busy = bench_tally_of(b->threads);
    uint64_t until = bench_now_ns() + BUSY_END_NS;
    while (atomic_load(&busy->done) < count) {
        if (bench_now_ns() > until) {
            fputs("nrhost bench: the --busy entry does not end: it must be a stream, and --busy-end must end it\n",
                  stderr);
            exit(1);
        }
    }
}

static void pace(uint64_t until_ns) {
    while (bench_now_ns() < until_ns) {
        bench_pause();
    }
}

/* Times handle alone, a window's worth of calls at a time. */
static void run_submit(bench_lane *l) {
    const bench *b = l->b;
    static uint64_t rounds; /* with --busy there is one lane */
    for (uint64_t left = l->calls; left > 0 && l->fault == NULL;) {
        uint64_t burst = left < b->window ? left : b->window;
        uint64_t round = b->busy != NULL ? ++rounds : 0;
        if (b->busy != NULL && !begin_busy(l, round)) {
            return;
        }
        for (uint64_t i = 0; i < burst; i++) {
            uint64_t before = bench_now_ns();
            NrStatus status = bench_lane_enter(l);
            l->samples[l->sample_count++] = (double)(bench_now_ns() - before);
            if (!bench_lane_entered(l, status)) {
                break;
            }
            if (b->pace_ns > 0) {
                pace(before + b->pace_ns);
            }
        }
        if (b->busy != NULL) {
            end_busy(l, round);
        }
        bench_await(l->tally, l->count);
        left -= burst;
    }
}

/* Each call by itself: what a batch's mean hides. With --busy there is one lane. */
static void run_latency(bench_lane *l) {
    static uint64_t rounds;
    const bench *b = l->b;
    uint64_t round = b->busy != NULL ? ++rounds : 0;
    if (b->busy != NULL && !begin_busy(l, round)) {
        return;
    }
    for (uint64_t i = 0; i < l->calls; i++) {
        uint64_t before = bench_now_ns();
        if (!bench_lane_inside(l)) {
            break;
        }
        uint64_t after = bench_now_ns();
        l->samples[l->sample_count++] = (double)(after - before);
        if (b->pace_ns > 0) {
            pace(after + b->pace_ns); /* after a long one too: what the plugin does meanwhile must come to run */
        }
    }
    if (b->busy != NULL) {
        end_busy(l, round);
    }
}

static void run_roundtrip(bench_lane *l) {
    for (uint64_t i = 0; i < l->calls; i++) {
        uint64_t before = bench_now_ns();
        if (!bench_lane_entered(l, bench_lane_enter(l))) {
            return;
        }
        bench_await(l->tally, l->count);
        l->samples[l->sample_count++] = (double)(bench_now_ns() - before);
    }
}

/* ---- what is written of each kind ---- */

/* What reading the clock adds to each sample: the least of several tries, since anything may come in between. */
static double clock_cost_ns(void) {
    double least = 1e9;
    for (int tries = 0; tries < 20; tries++) {
        uint64_t began = bench_now_ns();
        for (int i = 0; i < 1000; i++) {
            bench_now_ns();
        }
        double cost = (double)(bench_now_ns() - began) / 1001;
        least = cost < least ? cost : least;
    }
    return least;
}

static const char *in_percentiles(const bench *b, json *out, void (*run)(bench_lane *)) {
    totals t;
    const char *fault = bench_lanes(b, run, NR_OK, bench_most_samples(b), &t);
    if (fault == NULL) {
        bench_write_rate(b, &t, out);
        json_number(out, "p50_ns", bench_percentile(&t, 0.5));
        json_number(out, "p90_ns", bench_percentile(&t, 0.9));
        json_number(out, "p99_ns", bench_percentile(&t, 0.99));
        json_number(out, "p999_ns", bench_percentile(&t, 0.999));
        json_number(out, "p9999_ns", bench_percentile(&t, 0.9999));
        json_number(out, "max_ns", bench_percentile(&t, 1));
        json_number(out, "clock_ns", clock_cost_ns());
        bench_write_hop(out);
    }
    free(t.samples);
    return fault;
}

const char *bench_latency(const bench *b, json *out) {
    return in_percentiles(b, out, run_latency);
}

const char *bench_submit(const bench *b, json *out) {
    return in_percentiles(b, out, run_submit);
}

const char *bench_roundtrip(const bench *b, json *out) {
    return in_percentiles(b, out, run_roundtrip);
}
