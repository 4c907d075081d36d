/*
 * An exchange: what stays open under a sid after `handle` returned, when more than one reply may come or the reply may
 * come from anywhere. A stream, or a unary call whose handler took a callback.
 *
 * Frames leave one at a time and in order. Who finds the turn free sends; who finds it taken leaves the frame in the
 * outbox, and the one that has the turn sends it too. Nobody ever waits for a host.
 */
#ifndef NRPY_EXCHANGE_H
#define NRPY_EXCHANGE_H

#include "python.h"

#include "abi/nylon_ring_v1.h"
#include "entries.h"
#include "queue.h"
#include "threads.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct nrpy_frame {
    struct nrpy_frame *next;
    NrStatus status; /* of an outgoing frame */
    bool is_close;   /* an incoming one that ends the input */
    uint64_t length;
    unsigned char bytes[];
} nrpy_frame;

typedef struct nrpy_frames {
    nrpy_frame *first;
    nrpy_frame *last;
    size_t count;
} nrpy_frames;

/* A host thread that waits for a handler on a worker, because its own stack is too small for Python. */
typedef struct nrpy_waiter {
    sem_t answered;
    nrpy_frame *reply; /* owned by the waiting thread once posted; NULL: no memory for it */
} nrpy_waiter;

typedef struct nrpy_exchange {
    nrpy_item inbox_item; /* queued while `inbox_served` */
    nrpy_item drain_item; /* queued while `drain_queued` */
    _Atomic unsigned refs;
    nrpy_instance *instance; /* holds a reference */
    uint64_t sid;
    bool is_stream;
    bool takes_input;       /* a low-level stream; a generator takes none */
    nrpy_waiter *waiter;    /* set before it is shared */
    _Atomic unsigned turn;  /* NRPY_TURN_* */
    _Atomic bool cancelled; /* a generator is to be closed between two frames */
    _Atomic int handlers;   /* handlers running for it */

    pthread_mutex_t lock; /* guards what follows; nothing is called with it held */
    nrpy_frames outbox;
    nrpy_frames inbox;
    bool input_closed;
    bool inbox_served; /* a worker has it or will: one at a time */
    bool drain_queued;

    struct nrpy_exchange *bucket_next; /* guarded by the registry's lock */
    bool is_registered;                /* likewise */
} nrpy_exchange;

enum {
    NRPY_TURN_BUSY = 1,  /* somebody is sending */
    NRPY_TURN_ENDED = 2, /* a terminal was accepted: nothing more is */
    NRPY_TURN_MORE = 4,  /* the outbox has frames */
};

/* How many frames of input wait before stream_data refuses: 1,024 hold a burst of a busy socket, and bound a stuck
 * handler's memory. */
enum { NRPY_INBOX_LIMIT = 1024 };

/* A new exchange with one reference, the caller's, or NULL without memory. */
nrpy_exchange *nrpy_exchange_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid);
void nrpy_exchange_retain(nrpy_exchange *exchange);
void nrpy_exchange_release(nrpy_exchange *exchange);

static inline bool nrpy_exchange_is_terminal(const nrpy_exchange *exchange, NrStatus status) {
    return !exchange->is_stream || status != NR_OK;
}

static inline bool nrpy_exchange_has_ended(nrpy_exchange *exchange) {
    return (atomic_load_explicit(&exchange->turn, memory_order_acquire) & NRPY_TURN_ENDED) != 0;
}

/*
 * Sends a frame, or hands it to the one who is sending. `may_send`: this thread may enter the host for this sid; where it
 * may not, a worker does. Must not hold the GIL. Returns false where the exchange had ended; without memory to keep a
 * frame the exchange ends with Err.
 */
bool nrpy_exchange_send(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length, bool may_send);

/* Whether frames wait for a thread that is sending one. */
static inline bool nrpy_exchange_is_held_up(nrpy_exchange *exchange) {
    enum { HELD_UP = NRPY_TURN_BUSY | NRPY_TURN_MORE };
    return (atomic_load(&exchange->turn) & HELD_UP) == HELD_UP;
}

/* Sends what waits in the outbox. Whoever calls this has the turn, or knows that who has it stands still until this
 * returns. Must not hold the GIL. */
void nrpy_exchange_send_outbox(nrpy_exchange *exchange);

/* Sends what waits in the outbox, unless somebody is at it. Must not hold the GIL. */
void nrpy_exchange_drain(nrpy_exchange *exchange);

/* Takes it out of the registry without a reply, for a `handle` that is going to answer non-Ok. Returns false where close
 * was faster and has replied: then `handle` must answer Ok. */
bool nrpy_exchange_abandon(nrpy_exchange *exchange);

nrpy_frame *nrpy_frame_new(NrStatus status, const void *bytes, uint64_t length);
void nrpy_frames_push(nrpy_frames *frames, nrpy_frame *frame);
nrpy_frame *nrpy_frames_pop(nrpy_frames *frames);

#endif /* NRPY_EXCHANGE_H */
