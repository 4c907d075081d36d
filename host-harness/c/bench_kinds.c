/* The tight loops of `nrhost bench`, one for each kind. */
#include <stdlib.h>

#include "bench.h"
#include "drive.h"

#define BATCH 1000u
/* A lane whose window is full looks again after some microseconds, and goes on when an eighth of it is free: it must
 * not take the tally's line from the sender at every reply. */
#define PAUSES_BETWEEN_LOOKS 64
#define BUSY_END_NS 5000000000u
#define NOT_INSIDE "the entry does not answer inside handle: measure it with submit, throughput or roundtrip"

static NrStatus enter(bench_lane *l) {
    return bench_enter(l->b, nrhost_str(l->b->entry), l->number, ++l->count);
}

static bool is_done(const bench_lane *l) {
    return atomic_load_explicit(&l->tally->done, memory_order_acquire) == l->count;
}

static bool entered(bench_lane *l, NrStatus status) {
    if (status != NR_OK) {
        l->count--;
        l->fault = "handle refused a call: is the entry right, and --window below the plugin's max_pending?";
    }
    return status == NR_OK;
}

/* ---- one lane of each kind ---- */

static bool inside_once(bench_lane *l) {
    if (!entered(l, enter(l))) {
        return false;
    }
    if (!is_done(l)) {
        l->fault = NOT_INSIDE;
        bench_await(l->tally, l->count); /* its reply must not come when all is gone */
        return false;
    }
    return true;
}

static bool fast_once(bench_lane *l) {
    nrhost_frame reply;
    nrhost_request request = {
        .entry = nrhost_str(l->b->entry), .metadata = &l->b->metadata, .payload = l->b->payload, .raw = l->b->raw};
    nrhost_outcome outcome = nrhost_call_fast(l->b->host, &request, &reply);
    if (outcome == NRHOST_NO_REPLY) {
        l->fault = NOT_INSIDE;
    } else if (outcome != NRHOST_FRAME || reply.status != NR_OK) {
        l->fault = "a call failed: try it with nrhost call --fast";
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
    run_batches(l, inside_once);
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
            if (!entered(l, enter(l))) {
                left = next;
                break;
            }
        }
        left -= next;
    }
    bench_await(l->tally, l->count);
}

/* Keeps Python busy: a stream that says with its first frame that it runs. */
static bool begin_busy(bench_lane *l, uint64_t count) {
    const bench *b = l->b;
    bench_tally *tally = bench_tally_of(b->threads);
    tally->wanted = NR_STREAM_END;
    uint64_t frames = atomic_load(&tally->frames);
    if (!entered(l, bench_enter(b, nrhost_str(b->busy), b->threads, count))) {
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
            NrStatus status = enter(l);
            l->samples[l->sample_count++] = (double)(bench_now_ns() - before);
            if (!entered(l, status)) {
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
        if (!inside_once(l)) {
            break;
        }
        l->samples[l->sample_count++] = (double)(bench_now_ns() - before);
    }
    if (b->busy != NULL) {
        end_busy(l, round);
    }
}

static void run_roundtrip(bench_lane *l) {
    for (uint64_t i = 0; i < l->calls; i++) {
        uint64_t before = bench_now_ns();
        if (!entered(l, enter(l))) {
            return;
        }
        bench_await(l->tally, l->count);
        l->samples[l->sample_count++] = (double)(bench_now_ns() - before);
    }
}

static void run_stream(bench_lane *l) {
    uint64_t before = atomic_load(&l->tally->frames);
    for (uint64_t i = 0; i < l->calls; i++) {
        if (!entered(l, enter(l))) {
            return;
        }
        while (!is_done(l)) {
            for (int p = 0; p < PAUSES_BETWEEN_LOOKS; p++) {
                bench_pause();
            }
        }
    }
    l->frames = atomic_load(&l->tally->frames) - before;
}

/* ---- what is written of each kind ---- */

static size_t most_samples(const bench *b) {
    return (size_t)(b->calls > b->warmup ? b->calls : b->warmup);
}

static void write_rate(const bench *b, const totals *t, json *out) {
    uint64_t calls = b->calls / b->threads * b->threads;
    json_u64(out, "calls", calls);
    json_u64(out, "threads", b->threads);
    json_number(out, "calls_per_s", (double)calls / t->seconds);
}

/* For what passes from one thread to another. */
static void write_hop(json *out) {
    json_number(out, "hop_ns", bench_hop_ns());
}

static const char *in_batches(const bench *b, json *out, void (*run)(bench_lane *)) {
    totals t;
    const char *fault = bench_lanes(b, run, NR_OK, most_samples(b) / BATCH + 1, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
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
    const char *fault = bench_lanes(b, run, NR_OK, most_samples(b), &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
        json_number(out, "p50_ns", bench_percentile(&t, 0.5));
        json_number(out, "p99_ns", bench_percentile(&t, 0.99));
        json_number(out, "p999_ns", bench_percentile(&t, 0.999));
        json_number(out, "p9999_ns", bench_percentile(&t, 0.9999));
        json_number(out, "max_ns", bench_percentile(&t, 1));
        json_number(out, "clock_ns", clock_cost_ns());
        write_hop(out);
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

const char *bench_throughput(const bench *b, json *out) {
    totals t;
    const char *fault = bench_lanes(b, run_throughput, NR_OK, 0, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
        json_u64(out, "rss_kib", process_rss_kib() - b->rss_kib_before);
        write_hop(out);
    }
    free(t.samples);
    return fault;
}

const char *bench_stream(const bench *b, json *out) {
    totals t;
    const char *fault = bench_lanes(b, run_stream, NR_STREAM_END, 0, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
        json_u64(out, "frames", t.frames);
        json_number(out, "frames_per_s", (double)t.frames / t.seconds);
        write_hop(out);
    }
    free(t.samples);
    return fault;
}
