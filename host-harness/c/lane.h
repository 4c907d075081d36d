/*
 * Lanes: callers of one entry each, side by side, until they are stopped. `lane` starts one, `lanes` tells how all of
 * them do, `lane_stop` ends them. What is wrong is told to trouble(), and then every lane stops by itself.
 */
#ifndef NRHOST_LANE_H
#define NRHOST_LANE_H

#include "drive.h"

/* ---- histogram.c: times in nanoseconds, right to a sixteenth ---- */
#define HISTOGRAM_SIZE (16u * 60u)

typedef struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_SIZE];
} histogram;

/* By one thread at a time for each histogram; any thread may read. */
void histogram_add(histogram *h, uint64_t ns);
/* counts[] += */
void histogram_sum(uint64_t *counts, const histogram *h);
/* p50_us, p99_us, p999_us and max_us, after the prefix; nothing where there is no count. */
void json_quantiles(json *out, const char *prefix, const uint64_t *counts);
uint64_t lane_now_ns(void);

/* ---- lane.c ---- */
#define LANE_THREADS_MAX 64u

typedef enum lane_count {
    LANE_CALLS,
    LANE_ACCEPTED,
    LANE_REFUSED,
    LANE_REPLIES, /* calls whose terminal reply came */
    LANE_FAILED,  /* of these, those that were Err */
    LANE_DROPPED, /* calls whose receiver was dropped before */
    LANE_FRAMES,
    LANE_LIVES, /* threads that have ended, and were followed by another */
    LANE_COUNTS,
} lane_count;

typedef struct lane lane;

/* One of a lane's callers: a thread at a time. Written by that thread, read by any. */
typedef struct lane_member {
    _Alignas(64) lane *of;
    uint64_t next;        /* of its calls; the body of each is another one */
    pthread_t thread;     /* guarded by the lane's lock */
    pthread_t before;     /* the thread whose place this one has taken, to be joined */
    bool follows;         /* there was one */
    uint8_t *body, *seen; /* room for a body each */
    double due_ns;        /* of a paced lane: when the next call is to be made */
    _Atomic uint64_t counts[LANE_COUNTS];
    histogram taken, refused; /* from the call to its terminal reply; to its refusal */
} lane_member;

struct lane {
    char name[64], plugin[64], entry[64];
    uint64_t number; /* of the lane, in the bodies */
    uint64_t lineage;
    nrhost_request request; /* without payload */
    NrRequest metadata;
    bool fast, json_body, fire;
    bool may_fail, may_refuse;
    uint64_t bad; /* not 0: hostile calls, see lane_bad.c */
    uint64_t pieces, take;
    unsigned pause_us;
    size_t body_len;
    size_t window;    /* calls a member has in the air at once */
    uint64_t batch;   /* calls for which the plugin is held at once */
    uint64_t life;    /* calls of a thread before another takes its place; 0: no end */
    double timeout_s; /* after which a reply counts as lost */
    double rate;      /* calls a second of each member; 0: as fast as they are answered */
    atomic_bool over;
    pthread_mutex_t lock;
    size_t started;
    lane_member *members;
    uint64_t shown[2][HISTOGRAM_SIZE]; /* what `lanes` told last */
    lane *following;
};

static inline void lane_add(lane_member *m, lane_count which, uint64_t n) {
    uint64_t now = atomic_load_explicit(&m->counts[which], memory_order_relaxed);
    atomic_store_explicit(&m->counts[which], now + n, memory_order_relaxed);
}

static inline bool lane_goes_on(const lane *l) {
    return !atomic_load_explicit(&l->over, memory_order_relaxed) && !trouble_found();
}

/* Starts so many of the lane's threads; false where one cannot be started: then lane_end and lane_free follow. */
bool lane_start(lane *l, size_t threads);
/* Waits until the calls in progress are over. */
void lane_end(lane *l);
void lane_free(lane *l);
/* The next call's body in m->body, and its number. */
uint64_t lane_next(lane_member *m);
/* Waits until the next call is due. */
void lane_pace(lane_member *m);
/* A refusal is right where the lane's calls may be, and while the plugin stops. */
void lane_refused(lane_member *m, plugin_slot *slot, NrStatus status, uint64_t began_ns);

/* ---- lane_calls.c: up to `count` calls, all of them over when it returns ---- */
void lane_one_by_one(lane_member *m, plugin_slot *slot, uint64_t count);
void lane_in_window(lane_member *m, plugin_slot *slot, uint64_t count);

/* ---- lane_bad.c ---- */
void lane_hostile(lane_member *m, plugin_slot *slot, uint64_t count);

#endif /* NRHOST_LANE_H */
