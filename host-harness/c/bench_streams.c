/* `nrhost bench --kind echo, idle`: streams that stay open, and that the host sends into. */
#include <stdlib.h>

#include "bench.h"
#include "drive.h"

#define BURST 64u /* frames into one stream before the next has its turn */
/* A stream that has refused a frame is left alone for some microseconds: a host that asks without a pause is slower. */
#define PAUSES_WHEN_FULL 256

#define REFUSED "handle refused a stream: is the entry right, and --streams below the plugin's limits?"
#define ENDED_EARLY "a stream ended before the host had closed it: the entry must send every frame back until then"
#define NOT_ITS_OWN                                                                                                    \
    "a stream sent back frames of another length, or ended with another status than StreamEnd: try it with nrhost "    \
    "stream"
#define NOT_ECHOED "an entry did not send back as many frames as it was sent"

static const char *open_stream(const bench *b, size_t lane, uint64_t number) {
    bench_tally_of(lane)->wanted = NR_STREAM_END;
    bench_tally_of(lane)->wanted_len = b->payload.len;
    return bench_enter(b, nrhost_str(b->entry), lane, number) == NR_OK ? NULL : REFUSED;
}

static const char *close_streams(const bench *b, uint64_t number) {
    for (size_t lane = 0; lane < b->streams; lane++) {
        if (bench_close(b, lane, number) != NR_OK) {
            return ENDED_EARLY;
        }
    }
    for (size_t lane = 0; lane < b->streams; lane++) {
        bench_await(bench_tally_of(lane), number);
        if (atomic_load(&bench_tally_of(lane)->wrong) > 0) {
            return NOT_ITS_OWN;
        }
    }
    return NULL;
}

/* ---- echo ---- */

typedef struct echo {
    const bench *b;
    uint64_t number;  /* of the streams, which are one for each lane */
    uint64_t *unsent; /* frames, for each stream */
    uint64_t refused;
} echo;

/* Returns how many frames it sent. */
static uint64_t send_burst(echo *e, size_t lane) {
    uint64_t sent = 0;
    while (sent < BURST && e->unsent[lane] > 0) {
        if (bench_send(e->b, lane, e->number) != NR_OK) {
            e->refused++;
            break;
        }
        e->unsent[lane]--;
        sent++;
    }
    return sent;
}

static const char *send_all(echo *e, uint64_t each) {
    const bench *b = e->b;
    for (uint64_t left = each * b->streams; left > 0;) {
        uint64_t sent = 0;
        for (size_t lane = 0; lane < b->streams; lane++) {
            sent += send_burst(e, lane);
        }
        left -= sent;
        for (size_t lane = 0; sent == 0 && lane < b->streams; lane++) {
            if (atomic_load(&bench_tally_of(lane)->done) == e->number) {
                return ENDED_EARLY;
            }
        }
        for (int i = 0; sent == 0 && i < PAUSES_WHEN_FULL; i++) {
            bench_pause();
        }
    }
    return NULL;
}

static const char *echo_frames(echo *e, uint64_t each, double *seconds) {
    const bench *b = e->b;
    const char *fault = NULL;
    e->number++;
    e->refused = 0;
    for (size_t lane = 0; fault == NULL && lane < b->streams; lane++) {
        e->unsent[lane] = each;
        atomic_store(&bench_tally_of(lane)->frames, 0);
        fault = open_stream(b, lane, e->number);
    }
    uint64_t began = bench_now_ns();
    if (fault == NULL) {
        fault = send_all(e, each);
    }
    if (fault == NULL) {
        fault = close_streams(b, e->number);
    }
    *seconds = (double)(bench_now_ns() - began) / 1e9;
    for (size_t lane = 0; fault == NULL && lane < b->streams; lane++) {
        fault = atomic_load(&bench_tally_of(lane)->frames) == each ? NULL : NOT_ECHOED;
    }
    return fault;
}

const char *bench_echo(const bench *b, json *out) {
    echo e = {.b = b, .unsent = calloc(b->streams, sizeof *e.unsent)};
    if (e.unsent == NULL) {
        return "out of memory";
    }
    uint64_t each = b->calls / b->streams + 1;
    double seconds = 0;
    const char *fault = b->warmup > 0 ? echo_frames(&e, b->warmup / b->streams + 1, &seconds) : NULL;
    if (fault == NULL) {
        fault = echo_frames(&e, each, &seconds);
    }
    if (fault == NULL) {
        json_u64(out, "streams", b->streams);
        json_u64(out, "frames", each * b->streams);
        json_number(out, "frames_per_s", (double)(each * b->streams) / seconds);
        json_u64(out, "refused", e.refused);
        json_number(out, "hop_ns", bench_hop_ns());
    }
    free(e.unsent);
    return fault;
}

/* ---- idle ---- */

/* Opens streams one after the other; each has sent a frame back before the next is opened. */
static const char *open_idle(const bench *b, size_t from, size_t to) {
    for (size_t lane = from; lane < to; lane++) {
        const char *fault = open_stream(b, lane, 1);
        if (fault == NULL && bench_send(b, lane, 1) != NR_OK) {
            fault = ENDED_EARLY;
        }
        if (fault != NULL) {
            return fault;
        }
        const bench_tally *tally = bench_tally_of(lane);
        while (atomic_load(&tally->frames) == 0 && atomic_load(&tally->done) == 0) {
            bench_pause();
        }
        if (atomic_load(&tally->frames) == 0) {
            return ENDED_EARLY;
        }
    }
    return NULL;
}

const char *bench_idle(const bench *b, json *out) {
    const char *fault = open_idle(b, 0, 1); /* what the first one costs is not a stream's */
    uint64_t rss_before = process_rss_kib(), began = bench_now_ns();
    if (fault == NULL) {
        fault = open_idle(b, 1, b->streams);
    }
    if (fault == NULL) {
        json_u64(out, "streams", b->streams);
        json_number(out, "open_ns", (double)(bench_now_ns() - began) / (double)b->streams);
        json_u64(out, "rss_kib", process_rss_kib() - rss_before);
        fault = close_streams(b, 1);
    }
    return fault;
}
