/* `nrhost bench --kind load`: how long from the open to the first reply, and what it costs in memory. */
#include "bench.h"
#include "drive.h"

static void write_load(json *out, const char *prefix, uint64_t load_ns, uint64_t reply_ns, uint64_t rss_before) {
    char key[64];
    snprintf(key, sizeof key, "%sload_ns", prefix);
    json_u64(out, key, load_ns);
    snprintf(key, sizeof key, "%sfirst_reply_ns", prefix);
    json_u64(out, key, reply_ns);
    snprintf(key, sizeof key, "%srss_kib", prefix);
    json_u64(out, key, process_rss_kib() - rss_before);
}

static bool first_reply(const bench *b, uint64_t count) {
    if (bench_enter(b, nrhost_str(b->entry), 0, count) != NR_OK) {
        return false;
    }
    bench_await(bench_tally_of(0), count);
    return true;
}

const char *bench_load(const bench *b, json *out) {
    static const char refused[] = "handle refused the first call: is the entry right?";
    if (!first_reply(b, 1)) {
        return refused;
    }
    write_load(out, "", b->load_ns, bench_now_ns() - b->load_began_ns, b->rss_kib_before);
    if (b->second == NULL) {
        return NULL;
    }
    static char why[512];
    uint64_t rss_before = process_rss_kib(), began = bench_now_ns();
    bench other = *b;
    other.host = nrhost_load(b->second, &b->options, why, sizeof why);
    if (other.host == NULL) {
        return why;
    }
    uint64_t load_ns = bench_now_ns() - began;
    other.functions = nrhost_functions_of(other.host);
    const char *fault = first_reply(&other, 2) ? NULL : refused;
    if (fault == NULL) {
        write_load(out, "second_", load_ns, bench_now_ns() - began, rss_before);
    }
    nrhost_unload(other.host);
    return fault;
}
