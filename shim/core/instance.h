/*
 * One loaded plugin: its own modules, handlers, host, queue and workers.
 *
 * The struct outlives `shutdown` while anything still refers to it, and its memory is used again only after a rest, never
 * unmapped: a host thread that is late by a moment reads a closed phase and no garbage.
 */
#ifndef NRPY_INSTANCE_H
#define NRPY_INSTANCE_H

#include "python.h"

#include "core_table.h"
#include "entries.h"
#include "lane.h"
#include "queue.h"
#include "registry.h"
#include "state.h"
#include "workers.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef enum { NRPY_OPENING, NRPY_OPEN, NRPY_CLOSING, NRPY_CLOSED } nrpy_phase;

struct nrpy_instance {
    /* read on every call */
    _Atomic int phase;          /* the gate: set by open and close */
    _Atomic bool host_gone;     /* set by close once; then nobody may begin to touch `host` */
    nrpy_host host;             /* set by open */
    nrpy_entries entries;       /* set by open */
    bool has_stream_data;       /* set by open */
    PyObject *stream_data;      /* set by open, cleared by unload; guarded by the GIL */
    PyObject *stream_close;     /* likewise */
    PyObject *object;           /* the _core.Instance; likewise */
    PyObject *session;          /* nylon_ring_py._session.Session; likewise */
    const NrHostExt *state_ext; /* set by open; NULL: state is kept here */
    double shutdown_timeout_s;  /* set by open */

    nrpy_queue queue;
    nrpy_pool pool;
    nrpy_lane workers;
    nrpy_queue stream_queue; /* of plain duplex handlers, which have threads of their own */
    nrpy_pool stream_pool;
    nrpy_lane stream_threads;
    unsigned stream_limit; /* how many such handlers; 0: the plugin has none */
    nrpy_loop *loops;      /* set by open */
    nrpy_lane *loop_lanes; /* likewise */
    unsigned loop_count;
    nrpy_registry registry;
    nrpy_state state;

    /* written on many calls: apart from what every call reads */
    _Alignas(NRPY_CACHE_LINE) _Atomic(nrpy_item *)
        late_posts;                  /* replies posted after the queue was closed; sent by close */
    _Atomic unsigned host_calls;     /* host threads inside a handler whose reply is not in their slot */
    _Atomic unsigned visitors;       /* threads inside the host's code, unary replies from their own slot not counted */
    _Atomic unsigned sync_streams;   /* plain duplex handlers, queued or at work */
    _Atomic unsigned held_back;      /* exchanges with frames that the host had no room for */
    _Atomic uint64_t highest_sid;    /* of calls begun */
    _Atomic uint64_t late_replies;   /* answers that came after the end */
    _Atomic uint64_t frames_dropped; /* frames that a host wanted no more */
    _Atomic unsigned refs;
    struct nrpy_instance *next;   /* in the list of open or of resting ones; guarded by the lists' lock */
    char *name;                   /* owned */
    struct nrpy_closing *closing; /* what close needs, until it begins: made by open */
    _Atomic(struct nrpy_exchange *)
        parked; /* exchanges whose generators nobody will go on with: close closes them; each a reference */
};

NrStatus nrpy_instance_open(const nrpy_open_args *args, nrpy_instance **out);

/* A Plugin object that this Python holds, for a host in the same process. */
typedef struct nrpy_local {
    PyObject *plugin;    /* borrowed */
    PyObject *exception; /* set by open where Python's part has failed: a new reference */
} nrpy_local;

/* The same for a plugin that needs no archive: of `args` only name, prefix, host and error count. NULL: from the archive. */
NrStatus nrpy_instance_open_local(const nrpy_open_args *args, nrpy_local *local, nrpy_instance **out);
int nrpy_instance_close(nrpy_instance *instance);

/* For a host that unmaps the plugin's file without a shutdown: it hears nothing more, and the instance is closed on a
 * thread of ours. */
void nrpy_instance_abandon(nrpy_instance *instance);

/* The memory that a close needs, or NULL. */
struct nrpy_closing *nrpy_closing_new(void);
void nrpy_closing_free(struct nrpy_closing *unused);

/* Closes every open instance: the interpreter is about to be finalized by its owner. Must not hold the GIL. */
void nrpy_instance_close_all(void);

/* Marks every instance closed without touching anything else: while the process exits; or in a forked child, and there
 * its host gone, too. */
void nrpy_instance_abandon_all(void);

/* Drops all Python objects of the instance. Needs the GIL; leaves no exception set. */
void nrpy_instance_unload(nrpy_instance *instance);

/* A new one with one reference, the caller's, or NULL without memory. */
nrpy_instance *nrpy_instance_new(const char *name);

/* Puts it on the list of open ones, or takes it off. */
void nrpy_instance_list(nrpy_instance *instance);
void nrpy_instance_unlist(nrpy_instance *instance);

void nrpy_instance_retain(nrpy_instance *instance);
void nrpy_instance_release(nrpy_instance *instance);

/* The pools it has, ended by NULL. */
typedef struct nrpy_pools {
    nrpy_pool *of[3];
} nrpy_pools;

nrpy_pools nrpy_instance_pools(nrpy_instance *instance);

/* Ends its event loops, in `seconds` at most; that of `self`, the thread that asked for it, ends by itself later. Must
 * not hold the GIL. Returns how many others have not ended. */
unsigned nrpy_instance_stop_loops(nrpy_instance *instance, double seconds, const struct nrpy_thread *self);

/* Of all that are open. Time has jumped: what sleeps until a time looks again. */
void nrpy_instance_wake_loops(void);

/* Where calls of an entry with these flags wait. */
static inline const nrpy_lane *nrpy_instance_lane(nrpy_instance *instance, uint32_t flags, uint64_t sid) {
    if ((flags & NRPY_ASYNC) != 0) {
        return &instance->loop_lanes[sid % instance->loop_count];
    }
    return (flags & NRPY_DUPLEX) != 0 ? &instance->stream_threads : &instance->workers;
}

static inline bool nrpy_is_open(nrpy_instance *instance) {
    return atomic_load_explicit(&instance->phase, memory_order_acquire) == NRPY_OPEN;
}

#endif /* NRPY_INSTANCE_H */
