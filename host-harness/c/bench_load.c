/* `nrhost bench --kind load`: how long from the open to the first reply, and what it costs in memory. */
#include "bench.h"
#include "drive.h"

#define REFUSED "handle refused the first call: is the entry right?"
#define NOT_OK "the first call was not answered Ok, or with another length than --reply: try it with nrhost call"

static void write_load(json *out, const char *prefix, uint64_t load_ns, uint64_t reply_ns, uint64_t rss_kib) {
    char key[64];
    snprintf(key, sizeof key, "%sload_ns", prefix);
    json_u64(out, key, load_ns);
    snprintf(key, sizeof key, "%sfirst_reply_ns", prefix);
    json_u64(out, key, reply_ns);
    snprintf(key, sizeof key, "%srss_kib", prefix);
    json_u64(out, key, rss_kib);
}

/* The further plugins of a process. All stay until each was measured: none finds memory that another left. */
typedef struct further {
    nrhost *hosts[BENCH_MOST_FURTHER];
    double load_ns[BENCH_MOST_FURTHER], reply_ns[BENCH_MOST_FURTHER];
    size_t count;
} further;

/* Returns what went wrong. */
static const char *first_reply(const bench *b, uint64_t count) {
    bench_tally *tally = bench_tally_of(0);
    tally->wanted_len = b->reply_len;
    if (bench_enter(b, nrhost_str(b->entry), 0, count) != NR_OK) {
        return REFUSED;
    }
    bench_await(tally, count);
    return atomic_load(&tally->wrong) > 0 ? NOT_OK : NULL;
}

static const char *load_further(const bench *b, further *f) {
    static char why[512];
    uint64_t began = bench_now_ns();
    bench other = *b;
    other.host = f->hosts[f->count] = nrhost_load(b->second[f->count], &b->options, why, sizeof why);
    if (other.host == NULL) {
        return why;
    }
    size_t at = f->count++;
    f->load_ns[at] = (double)(bench_now_ns() - began);
    other.functions = nrhost_functions_of(other.host);
    const char *fault = first_reply(&other, 1 + f->count);
    f->reply_ns[at] = (double)(bench_now_ns() - began);
    return fault;
}

static double median_of(double *values, size_t count) {
    totals all = {.samples = values, .sample_count = count};
    bench_sort(&all);
    return bench_percentile(&all, 0.5);
}

const char *bench_load(const bench *b, json *out) {
    const char *fault = first_reply(b, 1);
    if (fault != NULL) {
        return fault;
    }
    write_load(out, "", b->load_ns, bench_now_ns() - b->load_began_ns, process_rss_kib() - b->rss_kib_before);
    if (b->second_count == 0) {
        return NULL;
    }
    further f = {.count = 0};
    uint64_t rss_before = process_rss_kib();
    while (fault == NULL && f.count < b->second_count) {
        fault = load_further(b, &f);
    }
    if (fault == NULL) {
        uint64_t rss_each = (process_rss_kib() - rss_before) / f.count;
        uint64_t load_ns = (uint64_t)median_of(f.load_ns, f.count), reply_ns = (uint64_t)median_of(f.reply_ns, f.count);
        write_load(out, "second_", load_ns, reply_ns, rss_each);
    }
    while (f.count > 0) {
        nrhost_unload(f.hosts[--f.count]);
    }
    return fault;
}
