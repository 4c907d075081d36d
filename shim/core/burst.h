/*
 * Frames that a generator gives without a pause: up to NRPY_BURST_MAX of them are sent together, so that the GIL is given
 * up once for them all.
 *
 * A generator may pause where it never did before. So whoever asks it for the next frame with frames in hand leaves them
 * where others find them: a timer, which sends what lies there for a millisecond; and whoever sends something else for
 * the same sid, or ends it, for frames leave in the order in which the author's code gave them.
 */
#ifndef NRPY_BURST_H
#define NRPY_BURST_H

#include "python.h"

#include "exchange.h"
#include "reply.h"

typedef struct nrpy_burst {
    nrpy_exchange *exchange; /* whoever runs the generator has a reference */
    _Atomic unsigned state;
    _Atomic unsigned times_left; /* how often frames were left: by it the timer tells new ones */
    unsigned count;
    unsigned limit;
    unsigned pulls;
    unsigned quick_pulls; /* timed ones, one after the other */
    PyObject *owners[NRPY_BURST_MAX];
    NrBytes frames[NRPY_BURST_MAX];
    /* guarded by the list's lock */
    struct nrpy_burst *next;
    struct nrpy_burst **link; /* NULL: not listed */
    unsigned times_seen;
    int64_t seen_ns;
} nrpy_burst;

/* One for each run of a generator, on the runner's stack. Need the GIL. */
void nrpy_burst_begin(nrpy_burst *burst, nrpy_exchange *exchange);
void nrpy_burst_end(nrpy_burst *burst);

/* Asks the generator for its next frame. As PyIter_Send. */
PySendResult nrpy_burst_pull(nrpy_burst *burst, PyObject *generator, PyObject **value);

/* Keeps a frame for later. Takes `reply` where it returns true; else it is to be sent at once, after what is kept. */
bool nrpy_burst_keep(nrpy_burst *burst, const nrpy_reply *reply);

static inline bool nrpy_burst_is_full(const nrpy_burst *burst) {
    return burst->count == burst->limit;
}

/* Sends what is kept, with the GIL given up meanwhile. Returns false where the exchange had ended. */
bool nrpy_burst_send(nrpy_burst *burst);

/* Before anything else is sent for `exchange`: puts what was left into its outbox. The caller sends, or drains it. */
void nrpy_burst_flush(nrpy_exchange *exchange);

#endif /* NRPY_BURST_H */
