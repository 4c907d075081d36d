/*
 * What a Stream and the awaitables it gives share.
 */
#ifndef NRPY_STREAM_INTERNAL_H
#define NRPY_STREAM_INTERNAL_H

#include "python.h"

#include "call.h"
#include "exchange.h"
#include "lane.h"

/* After so many frames without a wait, in or out, the other tasks of the loop get their turn. */
enum { NRPY_STREAM_STEPS = 64 };

typedef enum { NRPY_WAIT_FRAME, NRPY_WAIT_ROOM, NRPY_WAIT_TURN, NRPY_WAIT_NOTHING } nrpy_wait_kind;

/* An awaitable: for the next frame, for room to send one, for the other tasks to have their turn, or for nothing. */
typedef struct nrpy_stream_wait {
    PyObject_HEAD
    struct nrpy_stream *stream; /* owned; NULL for nothing */
    nrpy_wait_kind kind;
    bool is_waiting;
    bool has_turn;                 /* a writer who was woken: it is before all who wait */
    bool is_unbegun;               /* a writer that nobody has awaited yet; counted in the stream */
    PyObject *waiter;              /* owned; made at the first wait */
    PyObject *data;                /* what is to be sent, owned */
    struct nrpy_stream_wait *next; /* in the stream's list of writers, which owns them */
} nrpy_stream_wait;

typedef struct nrpy_stream {
    PyObject_HEAD
    nrpy_exchange *exchange;        /* a reference */
    nrpy_call *call;                /* owned, until `request` is asked for; NULL: it was, or never will be */
    PyObject *request;              /* owned, or NULL */
    nrpy_stream_wait *reader;       /* who waits for a frame; owned */
    nrpy_stream_wait *first_writer; /* who waits for room, in their order; owned */
    nrpy_stream_wait *last_writer;
    unsigned unbegun; /* sends that found no room and are not awaited yet: what is sent after them must not pass them */
    nrpy_stream_wait *spare; /* for the next read; owned */
    unsigned steps;          /* frames since the last wait */
} nrpy_stream;

/* NULL: a plain function's. */
static inline nrpy_loop *nrpy_stream_loop(const nrpy_stream *stream) {
    return stream->exchange->lane->loop;
}

typedef enum { NRPY_INPUT_FRAME, NRPY_INPUT_OVER, NRPY_INPUT_NONE } nrpy_input;

/* New reference or NULL. Borrows `data`, which may be NULL. */
PyObject *nrpy_stream_wait_new(nrpy_stream *stream, nrpy_wait_kind kind, PyObject *data);

/* The awaitable for the next frame. New reference or NULL. */
PyObject *nrpy_stream_wait_for_frame(nrpy_stream *stream);

/* Wakes the task that waits here. As nrpy_waiter_wake. */
PyObject *nrpy_stream_wait_wake(nrpy_stream_wait *wait);

/* Sends from the loop's thread where there is room. Returns 1, 0 where there is none, -1 with an exception set. */
int nrpy_stream_try_send(nrpy_stream *stream, PyObject *data);

#endif /* NRPY_STREAM_INTERNAL_H */
