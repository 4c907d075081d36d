/* `nrhost bench`: what its files share. */
#ifndef NRHOST_BENCH_H
#define NRHOST_BENCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "commands.h"
#include "nrhost.h"
#include "text.h"

enum { BENCH_MOST_FURTHER = 32 };
#define BENCH_ANY_LENGTH UINT64_MAX

typedef struct bench {
    const char *plugin, *entry, *kind;
    const char *busy, *busy_end;            /* what keeps Python busy meanwhile, or NULL */
    const char *second[BENCH_MOST_FURTHER]; /* further plugins to load */
    size_t second_count;
    uint64_t calls, warmup, pace_ns;
    uint64_t reply_len; /* of each reply and frame, or BENCH_ANY_LENGTH */
    size_t threads, streams, window, body;
    uint32_t headers;
    nrhost_abi abi;
    bool raw, by_id, json;
    bool elsewhere; /* the calls come from no main thread */
    uint32_t id;    /* of `entry`, with by_id */
    nrhost_options options;
    nrhost *host;
    const nrhost_functions *functions;
    NrRequest metadata;
    NrBytes payload;
    NrHeader *headers_owned;
    uint8_t *body_owned;
    uint64_t load_began_ns, load_ns, rss_kib_before;
} bench;

/* ---- bench_tally.c: the host's side of a call ---- */

/*
 * What has come for one lane. Lines of its own, and the lane looks at them seldom: a line that one core writes for each
 * reply and another reads in a loop costs more than many a plugin.
 */
typedef struct bench_tally {
    _Alignas(128) _Atomic uint64_t done; /* terminal replies */
    _Atomic uint64_t frames;             /* of a stream, but for the terminal one */
    _Atomic uint64_t wrong;              /* replies of another status than `wanted`, or of another length */
    _Alignas(128) NrStatus wanted;       /* set before the calls; StreamEnd: only what is not Ok is terminal */
    uint64_t wanted_len;                 /* of what is answered Ok, or BENCH_ANY_LENGTH; set before the calls */
} bench_tally;

extern const NrHostVTable bench_vtable_v1;
extern const NrHostVTableV2 bench_vtable_v2;

/* Room for `lanes` tallies. False without memory. */
bool bench_tallies_make(size_t lanes);
void bench_tallies_free(void);
bench_tally *bench_tally_of(size_t lane);

/* Calls `entry` under a sid of its own: the lane's number in the low 16 bits, `count` above. */
NrStatus bench_enter(const bench *b, NrStr entry, size_t lane, uint64_t count);

/* Sends the payload into the stream that bench_enter opened so, or closes the host's end of it. */
NrStatus bench_send(const bench *b, size_t lane, uint64_t count);
NrStatus bench_close(const bench *b, size_t lane, uint64_t count);

/* Spins: the measured time is the plugin's, not a futex's. Yields after long, for machines with few cores. */
void bench_await(const bench_tally *tally, uint64_t done);

uint64_t bench_now_ns(void);

static inline void bench_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- bench_lanes.c: threads that call, side by side ---- */

typedef struct bench_lane {
    const bench *b;
    bench_tally *tally;
    size_t number;
    uint64_t count;  /* calls so far */
    uint64_t calls;  /* to be measured */
    double *samples; /* ns: of a batch, or of a call */
    size_t sample_count;
    uint64_t frames;
    const char *fault;
    void (*run)(struct bench_lane *l);
    pthread_barrier_t *start;
    uint64_t began_ns, ended_ns;
    pthread_t thread;
} bench_lane;

typedef struct totals {
    double *samples; /* sorted; owned by the caller */
    size_t sample_count;
    uint64_t frames;
    double seconds;
} totals;

/* Runs `run` on each lane, after its warm-up, and adds up what came of it; or returns what went wrong. */
const char *bench_lanes(const bench *b, void (*run)(bench_lane *), NrStatus wanted, size_t samples_each, totals *t);

/* What a cache line takes from one core to another. Virtual cores move about: from 50 ns to 600 within a minute, and what
 * passes between threads costs that much more or less. */
double bench_hop_ns(void);

/* Sorts the samples, which bench_percentile wants. */
void bench_sort(totals *t);

double bench_percentile(const totals *t, double share);

/* ---- bench_kinds.c, bench_timed.c, bench_load.c, bench_streams.c ---- */

/* Measures, and writes what came of it; or returns why it could not. */
typedef const char *bench_run(const bench *b, json *out);
bench_run bench_inside, bench_latency, bench_fast, bench_submit, bench_throughput, bench_roundtrip, bench_stream,
    bench_load, bench_echo, bench_idle;

#endif /* NRHOST_BENCH_H */
