/*
 * An exchange: what stays open under a sid after `handle` returned, when more than one reply may come or the reply may
 * come from anywhere. A stream, or a unary call whose handler took a callback.
 *
 * Frames leave one at a time and in order. Who finds the turn free sends; who finds it taken leaves the frame in the
 * outbox, and the one that has the turn sends it too. A frame that the host has no room for goes back to the outbox's
 * front, and the turn to the timer, which tries again. No thread of the host's ever waits for a host.
 */
#ifndef NRPY_EXCHANGE_H
#define NRPY_EXCHANGE_H

#include "python.h"

#include "abi/nylon_ring_v1.h"
#include "deadline.h"
#include "entries.h"
#include "frames.h"
#include "queue.h"
#include "threads.h"
#include "timer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct nrpy_burst;
struct nrpy_lane;
struct nrpy_runner;

/* A host thread that waits for a handler on a worker, because its own stack is too small for Python. */
typedef struct nrpy_waiter {
    sem_t answered;
    nrpy_frame *reply; /* owned by the waiting thread once posted; NULL: no memory for it */
} nrpy_waiter;

/* A thread of ours that waits for a change: for room, or for input. On its stack; guarded by the exchange's lock. */
typedef struct nrpy_sleeper {
    struct nrpy_sleeper *next;
    sem_t changed;
} nrpy_sleeper;

/* There may be very many: the small fields stand together. */
typedef struct nrpy_exchange {
    nrpy_item
        inbox_item; /* queued while `inbox_served`, unless it waits for room; for an event loop: to be looked at */
    nrpy_item drain_item;  /* queued while `drain_queued` */
    nrpy_item cancel_item; /* queued while `cancel_queued` */
    _Atomic unsigned refs;
    _Atomic unsigned turn;      /* NRPY_TURN_* */
    _Atomic unsigned cancelled; /* how often its handler was told to end; a generator is closed between two frames */
    _Atomic int handlers;       /* handlers running for it */
    _Atomic unsigned pending;   /* NRPY_PART_*, until each is over; of entries with max_pending */
    _Atomic bool is_over;       /* the host has its terminal, or wants none */
    bool is_stream;
    bool takes_input;                  /* a generator takes none */
    bool has_hooks;                    /* its input goes to stream_data and stream_close */
    nrpy_instance *instance;           /* holds a reference */
    const nrpy_entry *entry;           /* NULL: a reply that was held back, and nothing else */
    const struct nrpy_lane *lane;      /* where `inbox_item` goes */
    const struct nrpy_lane *task_lane; /* where `cancel_item` goes, or NULL: what `inbox_item` brings is enough */
    uint64_t sid;
    int64_t began_ns;           /* when the host called */
    nrpy_waiter *waiter;        /* set before it is shared */
    struct nrpy_runner *runner; /* the task at work for it, owned; touched with the GIL */

    pthread_mutex_t lock; /* guards what follows; nothing of a host's or an author's is called with it held */
    nrpy_frames outbox;
    nrpy_frames inbox;
    PyObject *generator; /* a producer that waits for room: owned, and touched with the GIL */
    PyObject *context;   /* its contextvars; likewise, may be NULL */
    size_t offered;      /* frames of the outbox that the host is being offered */
    nrpy_sleeper *sleepers;
    nrpy_timer retry;
    bool input_closed;
    bool inbox_served; /* a worker has it or will: one at a time */
    bool drain_queued;
    bool cancel_queued;
    bool wants_room;   /* its producer comes back by `inbox_item` once the outbox has room */
    bool reader_waits; /* a task waits for input */
    bool retry_armed;
    bool deadlines_over; /* nothing is armed any more */
    nrpy_deadlines deadlines;

    /* guarded otherwise */
    _Atomic(struct nrpy_burst *) burst; /* of its generator at work; under the lock of all bursts */
    unsigned char pauses;               /* how often its generator paused with frames in hand; the generator's runner */
    unsigned char retries;              /* how often the host had no room, one after the other; whoever has the turn */
    bool is_held_back;                  /* counted in the instance's `held_back`; whoever has the turn */
    bool is_left;                       /* in the list of `parked_next` */
    bool is_registered;                 /* the registry's lock */
    _Atomic bool has_last_word;         /* `last_word` is in use */
    struct nrpy_exchange *parked_next;  /* close's: generators to be closed */
    struct nrpy_exchange *bucket_next;  /* the registry's lock */
    nrpy_frame last_word;               /* an Err without a text, for when there is no memory for another frame */
} nrpy_exchange;

enum { NRPY_PART_ANSWER = 1, NRPY_PART_HANDLER = 2 };

enum {
    NRPY_TURN_BUSY = 1,  /* somebody is sending */
    NRPY_TURN_ENDED = 2, /* a terminal was accepted: nothing more is */
    NRPY_TURN_MORE = 4,  /* the outbox has frames */
    NRPY_TURN_HELD = 8,  /* busy, but nobody is at it: the host has no room. Who clears this bit has the turn */
};

/* A new exchange with one reference, the caller's, or NULL without memory. */
nrpy_exchange *nrpy_exchange_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid);

/* Likewise, without an entry: for a plain reply that was held back, and nothing else. */
nrpy_exchange *nrpy_exchange_new_bare(nrpy_instance *instance, uint64_t sid);

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

/* How many frames a generator's burst has at most. */
enum { NRPY_BURST_MAX = 64 };

/* Sends frames of a stream, in order and none a terminal. As nrpy_exchange_send, on a thread that may enter the host. */
bool nrpy_exchange_send_frames(nrpy_exchange *exchange, const NrBytes *frames, unsigned count);

/* Ends it by an Err and has its handler know: the handler is told to end before it can see that its input has. Returns
 * whether this was its end. */
bool nrpy_exchange_end(nrpy_exchange *exchange, const char *text, uint64_t length);

/* Whether nobody sends, and nothing waits to be sent. */
static inline bool nrpy_exchange_is_idle(nrpy_exchange *exchange) {
    return atomic_load_explicit(&exchange->turn, memory_order_acquire) == 0;
}

/* Whether a thread is sending, or is about to. */
static inline bool nrpy_exchange_is_sending(nrpy_exchange *exchange) {
    return (atomic_load(&exchange->turn) & NRPY_TURN_BUSY) != 0;
}

/* Lets go of frames that the host still has no room for; only the terminal is offered once more, as Err where it would
 * hide that frames before it are lost. Returns whether there were any. */
bool nrpy_exchange_give_up(nrpy_exchange *exchange);

/* Its answer, its handler, or both are over, or never began: with the last of them its entry has room for another call. */
void nrpy_exchange_part_done(nrpy_exchange *exchange, unsigned parts);

/* Waits for the next change of what its lock guards, which the caller holds: it is let go of meanwhile. On threads of ours
 * only; must not hold the GIL. */
void nrpy_exchange_sleep(nrpy_exchange *exchange);

/* After a change: wakes all who sleep. The lock is held. */
static inline void nrpy_exchange_rouse(nrpy_exchange *exchange) {
    for (nrpy_sleeper *sleeper = exchange->sleepers; sleeper != NULL;) {
        nrpy_sleeper *next = sleeper->next; /* read before: the sleeper's stack is its own again */
        sem_post(&sleeper->changed);
        sleeper = next;
    }
    exchange->sleepers = NULL;
}

/* Has its handler know that nobody wants more of it. */
void nrpy_exchange_cancel(nrpy_exchange *exchange);

/* Whether nobody wants more of its handler. */
static inline bool nrpy_exchange_is_cancelled(nrpy_exchange *exchange) {
    return atomic_load_explicit(&exchange->cancelled, memory_order_acquire) != 0 || nrpy_exchange_has_ended(exchange);
}

/* Queues one of its items; while the instance is closing it does nothing. */
void nrpy_exchange_queue(nrpy_exchange *exchange, const struct nrpy_lane *lane, nrpy_item *item);

/* How many frames its outbox takes. */
static inline size_t nrpy_exchange_max_buffered(const nrpy_exchange *exchange) {
    return exchange->entry != NULL ? exchange->entry->limits->max_buffered : 0;
}

/* Whether the outbox can take a frame. */
bool nrpy_exchange_has_room(nrpy_exchange *exchange);

/* Waits until it can, or the exchange ends. On threads of ours only; must not hold the GIL. */
void nrpy_exchange_wait_for_room(nrpy_exchange *exchange);

/* Where the outbox is full: has the producer called again by `inbox_item` when it is not, and returns true. Takes a
 * reference to `generator`, which may be NULL, and its thread's context with it. Needs the GIL. */
bool nrpy_exchange_park(nrpy_exchange *exchange, PyObject *generator);

/* The generator that was parked, with its context in place, or NULL. New reference. Needs the GIL. */
PyObject *nrpy_exchange_unpark(nrpy_exchange *exchange);

/* While closing: nobody will go on with its generator, if one is parked, so close closes it. */
void nrpy_exchange_leave_parked(nrpy_exchange *exchange);

/* Has everybody who waits for room, or for input, look again: it is to end, or has ended, or has room. */
void nrpy_exchange_wake(nrpy_exchange *exchange);

/* Sends what waits in the outbox. Whoever calls this has the turn, or knows that who has it stands still until this
 * returns. Must not hold the GIL. */
void nrpy_exchange_send_outbox(nrpy_exchange *exchange);

/* Sends what waits in the outbox, unless somebody is at it. Must not hold the GIL. */
void nrpy_exchange_drain(nrpy_exchange *exchange);

/* Takes it out of the registry without a reply, for a `handle` that is going to answer non-Ok. Returns false where close
 * was faster and has replied: then `handle` must answer Ok. */
bool nrpy_exchange_abandon(nrpy_exchange *exchange);

/* Whose inbox_item it is. */
static inline nrpy_exchange *nrpy_exchange_of_inbox(nrpy_item *item) {
    return (nrpy_exchange *)(void *)((char *)item - offsetof(nrpy_exchange, inbox_item));
}

/* Whose cancel_item it is. */
static inline nrpy_exchange *nrpy_exchange_of_cancel(nrpy_item *item) {
    return (nrpy_exchange *)(void *)((char *)item - offsetof(nrpy_exchange, cancel_item));
}

/* ---- for who has its turn (turn.h) ---- */

/* Frees a frame of its outbox or inbox, or several. */
void nrpy_exchange_free_frame(nrpy_exchange *exchange, nrpy_frame *frame);
void nrpy_exchange_free_frames(nrpy_exchange *exchange, nrpy_frames *frames);

/* The host has its last word, or wants none. */
void nrpy_exchange_say_over(nrpy_exchange *exchange, NrStatus status);

/* The host has had no room for the answer, which counts again. */
void nrpy_exchange_answer_is_open_again(nrpy_exchange *exchange);

#endif /* NRPY_EXCHANGE_H */
