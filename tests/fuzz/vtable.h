/*
 * The target of the plugins' functions: what its files share.
 *
 * An input is a small program. Its first byte is the ABI, its second how many host threads run it (each has an equal part
 * of what follows) and whether the instance is started before them. Then come operations (vtable_ops.c), each a byte and
 * what it needs. Whatever the program does is allowed to a host, or answered by a status: the host's ledger and the
 * checks beside the calls say whether the plugin kept its promise.
 */
#ifndef FUZZ_VTABLE_H
#define FUZZ_VTABLE_H

#include "../../host-harness/c/nrhost.h"

#include "target.h"

#include <stdatomic.h>
#include <stdbool.h>

enum {
    INSTANCES = 3,
    THREADS = 3,
    HELD = 24,
    VIEW_MAX = 0xff00, /* bytes in one view */
    LIMIT_S = 30,      /* what ends by itself has ended by then, on the slowest machine */
};

/* What comes back. */
typedef enum { SHOWS_NOTHING, SHOWS_BODY, SHOWS_REQUEST } shown;

typedef struct entry {
    const char *name;
    bool stream;
    bool ends; /* by itself */
    bool sync; /* on the host's thread: nothing can keep it from being taken */
    shown shows;
} entry;

typedef enum { GOT, OPEN, ENDING, ENDED } phase;

typedef struct instance {
    nrhost *host;
    nrhost_abi abi;
    _Atomic int phase;
} instance;

/* One input at work. */
typedef struct session {
    instance instances[INSTANCES];
    unsigned count; /* changed while one thread alone is at work */
    bool alone;
} session;

/* A call whose reply has not been looked at. */
typedef struct held {
    nrhost_call *call;
    const instance *of;
    const entry *entry;
    bool closed;       /* stream_close was called for its sid, whatever came of it */
    bool ends;         /* by itself, and the host knows its replies from others' */
    uint8_t *expected; /* owned; NULL: anything may come */
    size_t expected_size;
} held;

/* A host thread. */
typedef struct actor {
    session *session;
    unsigned thread; /* 0 for the first */
    input in;
    guard *memory;
    held held[HELD];
    unsigned held_count;
} actor;

/* ---- vtable.c ---- */
void open_instance(session *s, nrhost_abi abi);
void start_instance(instance *of);
void shut_instance(instance *of);

/* ---- vtable_request.c: calls out of an input ---- */
typedef struct view {
    const uint8_t *ptr;
    uint64_t len;
    bool possible; /* it can be a view; else it has to be refused */
} view;

/* Valid until the actor's guard ends. `wide`: lengths have 64 bits. */
view next_view(actor *a, bool wide);

typedef struct request {
    nrhost_request call;
    NrRequest metadata;
    const entry *entry; /* NULL: there is no such entry */
    bool possible;      /* nothing in it has to be refused */
    bool stream_sid;    /* its sid may be that of an open stream */
    bool sid_is_open;   /* it is that of a stream which is open beyond doubt */
    bool shares_sid;    /* with other calls in progress: the host cannot tell whose a reply is */
    uint8_t *expected;  /* owned; what the entry shows */
    size_t expected_size;
} request;

/* One of the sids that a thread's streams have again and again. */
uint64_t stream_sid(unsigned thread, unsigned which);

void next_request(actor *a, const instance *of, request *r);

/* ---- vtable_model.c: what has to come of it ---- */
const entry *entry_at(unsigned index);
const entry *entry_named(const uint8_t *name, size_t length);
bool is_utf8(const uint8_t *text, size_t length);

/* After handle: whether this status may be. `before` is the phase that was read before the call. */
void check_status(const session *s, const instance *of, int before, const request *r, NrStatus status);
void check_stream_status(const instance *of, int before, bool possible, NrStatus status);

/* A reply to a unary call. `expected` NULL: only its shape matters. */
void check_reply(const entry *of, const nrhost_frame *reply, const uint8_t *expected, size_t size);

/* Once nothing runs any more. */
void check_ledger(const instance *of);

/* ---- vtable_ops.c ---- */
/* Runs the actor's operations to the end of its input. */
void run_actor(actor *a);

/* Takes what has come. `must_end`: and waits for the end, which a shutdown may take from a stream whose host has no room
 * for it. Returns whether that was met. */
bool drain(const held *h, bool must_end);
void let_go(held *h);

#endif /* FUZZ_VTABLE_H */
