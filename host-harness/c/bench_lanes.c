/* The threads of `nrhost bench`: they warm up, begin together, and their samples are put together. */
#include <sched.h>
#include <stdlib.h>

#include "bench.h"

/* Many times what a hop takes; one core, or valgrind, has to let the other thread run. */
#define SPINS_BEFORE_YIELD 500u

static void *lane_main(void *given) {
    bench_lane *l = given;
    const bench *b = l->b;
    l->calls = b->warmup / b->threads;
    if (l->calls > 0) {
        l->run(l);
    }
    l->sample_count = 0;
    l->frames = 0;
    l->calls = b->calls / b->threads;
    pthread_barrier_wait(l->start);
    l->began_ns = bench_now_ns();
    if (l->fault == NULL) {
        l->run(l);
    }
    l->ended_ns = bench_now_ns();
    if (l->fault == NULL && atomic_load(&l->tally->wrong) > 0) {
        l->fault = "a call was answered with another status than expected, or another length than --reply: try it with "
                   "nrhost call";
    }
    return NULL;
}

/* ---- how far the cores are from each other ---- */

enum { HOPS = 2000 };

typedef struct table_tennis {
    _Alignas(128) _Atomic int ping;
    _Alignas(128) _Atomic int pong;
} table_tennis;

static void await_ball(const _Atomic int *ball, int number) {
    for (unsigned spins = 0; atomic_load_explicit(ball, memory_order_acquire) < number; spins++) {
        bench_pause();
        if (spins > SPINS_BEFORE_YIELD) {
            sched_yield();
        }
    }
}

static void *hit_back(void *given) {
    table_tennis *game = given;
    for (int i = 1; i <= HOPS; i++) {
        await_ball(&game->ping, i);
        atomic_store_explicit(&game->pong, i, memory_order_release);
    }
    return NULL;
}

double bench_hop_ns(void) {
    table_tennis game = {.ping = 0};
    double least = 1e9;
    pthread_t other;
    if (pthread_create(&other, NULL, hit_back, &game) != 0) {
        return 0;
    }
    for (int i = 1; i <= HOPS; i++) {
        uint64_t began = bench_now_ns();
        atomic_store_explicit(&game.ping, i, memory_order_release);
        await_ball(&game.pong, i);
        double taken = (double)(bench_now_ns() - began) / 2;
        least = taken < least ? taken : least;
    }
    pthread_join(other, NULL);
    return least;
}

/* ---- lanes ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_sort(totals *t) {
    qsort(t->samples, t->sample_count, sizeof(double), by_value);
}

double bench_percentile(const totals *t, double share) {
    size_t index = (size_t)((double)t->sample_count * share);
    return t->samples[index < t->sample_count ? index : t->sample_count - 1];
}

const char *bench_lanes(const bench *b, void (*run)(bench_lane *), NrStatus wanted, size_t samples_each, totals *t) {
    const char *fault = NULL;
    size_t each = samples_each + 1;
    bench_lane *lanes = calloc(b->threads, sizeof *lanes);
    *t = (totals){.samples = calloc(each * b->threads, sizeof(double))};
    if (lanes == NULL || t->samples == NULL) {
        free(lanes);
        return "out of memory";
    }
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)b->threads);
    for (size_t i = 0; i < b->threads; i++) {
        lanes[i] = (bench_lane){.b = b, .number = i, .tally = bench_tally_of(i), .run = run, .start = &start};
        lanes[i].tally->wanted = wanted;
        lanes[i].tally->wanted_len = b->reply_len;
        lanes[i].samples = samples_each > 0 ? t->samples + i * each : NULL;
    }
    /* The first lane is this thread if it may be: a host's main thread can be cheaper for the plugin than others. */
    size_t first = b->elsewhere ? 0 : 1;
    for (size_t i = first; i < b->threads; i++) {
        if (pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]) != 0) {
            fputs("nrhost bench: cannot start its threads\n", stderr);
            exit(1);
        }
    }
    if (!b->elsewhere) {
        lane_main(&lanes[0]);
    }
    uint64_t began = UINT64_MAX, ended = 0;
    for (size_t i = 0; i < b->threads; i++) {
        bench_lane *l = &lanes[i];
        if (i >= first) {
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
    bench_sort(t);
    pthread_barrier_destroy(&start);
    free(lanes);
    return fault;
}
