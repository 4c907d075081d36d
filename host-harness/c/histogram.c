/* Counts of times: sixteen buckets for each doubling. */
#include <time.h>

#include "lane.h"

uint64_t lane_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t bucket_of(uint64_t ns) {
    if (ns < 32) {
        return (size_t)ns;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(ns); /* 5 and more */
    size_t bucket = (top - 3u) * 16u + ((ns >> (top - 4u)) & 15u);
    return bucket < HISTOGRAM_SIZE ? bucket : HISTOGRAM_SIZE - 1;
}

/* The longest time of a bucket. */
static double end_of(size_t bucket) {
    if (bucket < 32) {
        return (double)bucket;
    }
    size_t top = bucket / 16 + 3;
    return (double)(((16u + bucket % 16u + 1u) << (top - 4u)) - 1u);
}

void histogram_add(histogram *h, uint64_t ns) {
    _Atomic uint64_t *count = &h->counts[bucket_of(ns)];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

void histogram_sum(uint64_t *counts, const histogram *h) {
    for (size_t i = 0; i < HISTOGRAM_SIZE; i++) {
        counts[i] += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    }
}

static double quantile(const uint64_t *counts, uint64_t total, double part) {
    uint64_t wanted = (uint64_t)((double)total * part), seen = 0;
    size_t bucket = 0;
    for (size_t i = 0; i < HISTOGRAM_SIZE; i++) {
        seen += counts[i];
        bucket = counts[i] > 0 ? i : bucket;
        if (seen > wanted) {
            break;
        }
    }
    return end_of(bucket) / 1e3;
}

void json_quantiles(json *out, const char *prefix, const uint64_t *counts) {
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}, {"max_us", 1.0}};
    uint64_t total = 0;
    char key[64];
    for (size_t i = 0; i < HISTOGRAM_SIZE; i++) {
        total += counts[i];
    }
    for (size_t i = 0; total > 0 && i < sizeof parts / sizeof *parts; i++) {
        snprintf(key, sizeof key, "%s%s", prefix, parts[i].name);
        json_number(out, key, quantile(counts, total, parts[i].part));
    }
}
