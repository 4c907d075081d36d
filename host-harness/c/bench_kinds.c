/* The tight loops of `nrhost bench`, one for each kind. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"

#define BATCH 1000u
#define SPINS_BEFORE_YIELD 20000u
#define NOT_INSIDE "the entry does not answer inside handle: measure it with submit, throughput or roundtrip"

typedef struct lane {
    const bench *b;
    size_t first_slot;
    uint64_t count;    /* sids used so far */
    uint64_t calls;    /* to be measured */
    double *samples;   /* ns: of a batch, or of a call */
    size_t sample_count;
    uint64_t frames;
    const char *fault;
    void (*run)(struct lane *l);
    pthread_barrier_t *start;
    uint64_t began_ns, ended_ns;
    pthread_t thread;
} lane;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static NrStatus enter(lane *l, size_t slot_index, bool stream) {
    const bench *b = l->b;
    size_t index = l->first_slot + slot_index;
    uint64_t sid = bench_sid(index, ++l->count);
    bench_slot *slot = &bench_slots[index];
    slot->stream = stream;
    atomic_store_explicit(&slot->done, 0, memory_order_relaxed);
    NrStr entry = nrhost_str(b->entry);
    if (b->raw && b->functions->handle_raw != NULL) {
        return b->functions->handle_raw(b->functions->plugin_ctx, entry, sid, b->payload);
    }
    return b->functions->handle(b->functions->plugin_ctx, entry, sid, b->raw ? NULL : &b->metadata, b->payload);
}

static bool is_done(const lane *l, size_t slot_index) {
    return atomic_load_explicit(&bench_slots[l->first_slot + slot_index].done, memory_order_acquire) != 0;
}

/* Spins: the measured time is the plugin's, not a futex's. Yields after long, for machines with few cores. */
static void await_slot(const lane *l, size_t slot_index) {
    for (unsigned spins = 0; !is_done(l, slot_index); spins++) {
        if (spins > SPINS_BEFORE_YIELD) {
            sched_yield();
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static bool good(lane *l, size_t slot_index, NrStatus wanted) {
    if (bench_slots[l->first_slot + slot_index].status != wanted) {
        l->fault = "a call was answered with another status than expected: try it with nrhost call";
    }
    return l->fault == NULL;
}

static bool entered(lane *l, NrStatus status) {
    if (status != NR_OK) {
        l->fault = "handle refused a call: is the entry right, and --window below the plugin's max_pending?";
    }
    return status == NR_OK;
}

/* ---- one lane of each kind ---- */

static bool inside_once(lane *l) {
    if (!entered(l, enter(l, 0, false))) {
        return false;
    }
    if (!is_done(l, 0)) {
        l->fault = NOT_INSIDE;
        await_slot(l, 0); /* its reply must not meet freed slots */
        return false;
    }
    return good(l, 0, NR_OK);
}

static bool fast_once(lane *l) {
    nrhost_frame reply;
    nrhost_request request = {.entry = nrhost_str(l->b->entry),
                              .metadata = &l->b->metadata,
                              .payload = l->b->payload,
                              .raw = l->b->raw};
    nrhost_outcome outcome = nrhost_call_fast(l->b->host, &request, &reply);
    if (outcome == NRHOST_NO_REPLY) {
        l->fault = NOT_INSIDE;
    } else if (outcome != NRHOST_FRAME || reply.status != NR_OK) {
        l->fault = "a call failed: try it with nrhost call --fast";
    }
    nrhost_frame_free(&reply);
    return l->fault == NULL;
}

static void run_batches(lane *l, bool (*once)(lane *l)) {
    for (uint64_t left = l->calls; left > 0 && l->fault == NULL;) {
        uint64_t batch = left < BATCH ? left : BATCH, before = now_ns();
        for (uint64_t i = 0; i < batch; i++) {
            if (!once(l)) {
                return;
            }
        }
        l->samples[l->sample_count++] = (double)(now_ns() - before) / (double)batch;
        left -= batch;
    }
}

static void run_inside(lane *l) {
    run_batches(l, inside_once);
}

static void run_fast(lane *l) {
    run_batches(l, fast_once);
}

/* With at most `window` calls outstanding; times handle alone where there is a place for samples. */
static void run_window(lane *l) {
    size_t window = l->b->window;
    uint64_t submitted = 0;
    for (; submitted < l->calls && l->fault == NULL; submitted++) {
        size_t slot = submitted % window;
        if (submitted >= window) {
            await_slot(l, slot);
            if (!good(l, slot, NR_OK)) {
                break;
            }
        }
        uint64_t before = l->samples != NULL ? now_ns() : 0;
        NrStatus status = enter(l, slot, false);
        if (l->samples != NULL) {
            l->samples[l->sample_count++] = (double)(now_ns() - before);
        }
        if (!entered(l, status)) {
            atomic_store(&bench_slots[l->first_slot + slot].done, 1);
            break;
        }
    }
    for (size_t slot = 0; slot < window && slot < submitted; slot++) {
        await_slot(l, slot);
    }
}

static void run_roundtrip(lane *l) {
    for (uint64_t i = 0; i < l->calls; i++) {
        uint64_t before = now_ns();
        if (!entered(l, enter(l, 0, false))) {
            return;
        }
        await_slot(l, 0);
        l->samples[l->sample_count++] = (double)(now_ns() - before);
        if (!good(l, 0, NR_OK)) {
            return;
        }
    }
}

static void run_stream(lane *l) {
    bench_slot *slot = &bench_slots[l->first_slot];
    for (uint64_t i = 0; i < l->calls; i++) {
        slot->frames = 0;
        if (!entered(l, enter(l, 0, true))) {
            return;
        }
        await_slot(l, 0);
        l->frames += slot->frames - 1; /* less the terminal one */
        if (!good(l, 0, NR_STREAM_END)) {
            return;
        }
    }
}

/* ---- lanes side by side ---- */

static void *lane_main(void *given) {
    lane *l = given;
    const bench *b = l->b;
    double *samples = l->samples;
    l->calls = b->warmup / b->threads;
    if (l->calls > 0) {
        l->run(l);
    }
    l->samples = samples;
    l->sample_count = 0;
    l->frames = 0;
    l->calls = b->calls / b->threads;
    pthread_barrier_wait(l->start);
    l->began_ns = now_ns();
    if (l->fault == NULL) {
        l->run(l);
    }
    l->ended_ns = now_ns();
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct totals {
    double *samples; /* sorted; owned by the caller */
    size_t sample_count;
    uint64_t frames;
    double seconds;
} totals;

static double percentile(const totals *t, double share) {
    size_t index = (size_t)((double)t->sample_count * share);
    return t->samples[index < t->sample_count ? index : t->sample_count - 1];
}

static const char *run_lanes(const bench *b, void (*run)(lane *), size_t samples_each, totals *t) {
    const char *fault = NULL;
    size_t each = samples_each + 1;
    lane *lanes = calloc(b->threads, sizeof *lanes);
    *t = (totals){.samples = calloc(each * b->threads, sizeof(double))};
    if (lanes == NULL || t->samples == NULL) {
        free(lanes);
        return "out of memory";
    }
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)b->threads);
    for (size_t i = 0; i < b->threads; i++) {
        lanes[i] = (lane){.b = b, .first_slot = i * b->window, .run = run, .start = &start};
        lanes[i].samples = samples_each > 0 ? t->samples + i * each : NULL;
    }
    /* The first lane is this thread: a host's main thread may be cheaper for the plugin than others. */
    for (size_t i = 1; i < b->threads; i++) {
        if (pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]) != 0) {
            fputs("nrhost bench: cannot start its threads\n", stderr);
            exit(1);
        }
    }
    lane_main(&lanes[0]);
    uint64_t began = UINT64_MAX, ended = 0;
    for (size_t i = 0; i < b->threads; i++) {
        lane *l = &lanes[i];
        if (i > 0) {
            pthread_join(l->thread, NULL);
        }
        for (size_t s = 0; s < l->sample_count; s++) {
            t->samples[t->sample_count++] = l->samples[s];
        }
        t->frames += l->frames;
        began = l->began_ns < began ? l->began_ns : began;
        ended = l->ended_ns > ended ? l->ended_ns : ended;
        fault = l->fault != NULL ? l->fault : fault;
    }
    t->seconds = (double)(ended - began) / 1e9;
    qsort(t->samples, t->sample_count, sizeof(double), by_value);
    pthread_barrier_destroy(&start);
    free(lanes);
    return fault;
}

static void write_rate(const bench *b, const totals *t, json *out) {
    uint64_t calls = b->calls / b->threads * b->threads;
    json_u64(out, "calls", calls);
    json_u64(out, "threads", b->threads);
    json_number(out, "calls_per_s", (double)calls / t->seconds);
}

static const char *in_batches(const bench *b, json *out, void (*run)(lane *)) {
    totals t;
    uint64_t most = b->calls > b->warmup ? b->calls : b->warmup;
    const char *fault = run_lanes(b, run, (size_t)(most / BATCH) + 1, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
        json_number(out, "ns_per_call", percentile(&t, 0.5));
        json_number(out, "ns_per_call_best", percentile(&t, 0));
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

/* What reading the clock adds to each sample. */
static double clock_cost_ns(void) {
    uint64_t began = now_ns();
    for (int i = 0; i < 1000; i++) {
        now_ns();
    }
    return (double)(now_ns() - began) / 1001;
}

static const char *in_percentiles(const bench *b, json *out, void (*run)(lane *)) {
    totals t;
    uint64_t most = b->calls > b->warmup ? b->calls : b->warmup;
    const char *fault = run_lanes(b, run, (size_t)most, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
        json_number(out, "p50_ns", percentile(&t, 0.5));
        json_number(out, "p99_ns", percentile(&t, 0.99));
        json_number(out, "p999_ns", percentile(&t, 0.999));
        json_number(out, "max_ns", percentile(&t, 1));
        json_number(out, "clock_ns", clock_cost_ns());
    }
    free(t.samples);
    return fault;
}

const char *bench_submit(const bench *b, json *out) {
    return in_percentiles(b, out, run_window);
}

const char *bench_roundtrip(const bench *b, json *out) {
    return in_percentiles(b, out, run_roundtrip);
}

const char *bench_throughput(const bench *b, json *out) {
    totals t;
    const char *fault = run_lanes(b, run_window, 0, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
    }
    free(t.samples);
    return fault;
}

const char *bench_stream(const bench *b, json *out) {
    totals t;
    const char *fault = run_lanes(b, run_stream, 0, &t);
    if (fault == NULL) {
        write_rate(b, &t, out);
        json_u64(out, "frames", t.frames);
        json_number(out, "frames_per_s", (double)t.frames / t.seconds);
    }
    free(t.samples);
    return fault;
}
