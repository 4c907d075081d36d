/* What the library's files share. Nothing here is for users of the library. */
#ifndef NRHOST_INTERNAL_H
#define NRHOST_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "nrhost.h"

#define NRHOST_INTERNAL __attribute__((visibility("hidden")))
/* fork takes the locks of all, and ThreadSanitizer follows 64 locks of a thread at most. */
#ifdef __SANITIZE_THREAD__
#define NRHOST_SHARD_BITS 4
#else
#define NRHOST_SHARD_BITS 6
#endif
#define NRHOST_SHARDS (1u << NRHOST_SHARD_BITS)
#define NRHOST_CTX_LIVE 0x6e796c6f6e686f73u
#define NRHOST_CTX_DEAD 0xdeaddeaddeaddeadu

/* What the plugin gets as host_ctx: freed as soon as shutdown has returned. */
typedef struct nrhost_ctx {
    _Atomic uint64_t magic;
    nrhost *host;
    struct nrhost_ctx *next; /* guarded by the lock in ext.c */
} nrhost_ctx;

typedef struct nrhost_state {
    struct nrhost_state *next;
    size_t key_len;
    size_t value_len;
    uint8_t bytes[]; /* key, then value */
} nrhost_state;

/* A reply on its way. Its frame's bytes follow it, or are the plugin's own. */
typedef struct nrhost_arrival {
    struct nrhost_arrival *next;
    nrhost_frame frame;
    uint8_t bytes[];
} nrhost_arrival;

typedef struct nrhost_reply {
    NrStatus status;
    NrBytes bytes;         /* borrowed until the send returns */
    nrhost_arrival *ready; /* has these bytes already; NULL: they are copied */
    bool late;             /* its call is over: not for another one with that sid */
} nrhost_reply;

/* Memory lent to the plugin; its own once the lease is over. Abandoned when no call or slot has its token any more. */
typedef struct nrhost_lease {
    struct nrhost_lease *next;
    uint64_t token;
    uint64_t cap;
    nrhost_arrival *arrival;
} nrhost_lease;

struct nrhost_call {
    nrhost *host;
    uint64_t sid;
    nrhost_kind kind;
    atomic_int references; /* one of the table's, one of the caller's, one of each send in progress */
    nrhost_call *next;     /* guarded by the shard */
    nrhost_state *states;  /* guarded by the shard; gone with the terminal reply */
    uint64_t lease;        /* guarded by the shard; the token of the one that is out, 0 for none */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t arrived;
    nrhost_arrival *first;
    nrhost_arrival *last;
    size_t waiting; /* arrivals, and those room was made for */
    bool finished;
};

/* Padded, so that two shards never share a cache line. */
typedef struct nrhost_shard {
    _Alignas(64) pthread_mutex_t lock;
    nrhost_call **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t calls;
    nrhost_lease *leases; /* of the shard's sids */
} nrhost_shard;

/*
 * The slot of a fast call, on the caller's stack and found through a thread-local pointer. Slots stack up:
 * a call made from within send_result has one of its own.
 */
typedef struct nrhost_slot {
    nrhost *host;
    uint64_t sid;
    bool filled;
    nrhost_frame *reply;
    nrhost_state *states;
    uint64_t lease; /* as a call's */
    struct nrhost_slot *outer;
} nrhost_slot;

typedef struct nrhost_ledger nrhost_ledger;
typedef struct nrhost_record nrhost_record;

/* All that depends on the ABI: each has a front of its own, and nothing else asks which one it is. */
typedef struct nrhost_front {
    const char *name;
    const char *symbol; /* the function that gives NrPluginInfo */
    uint32_t version;
    bool shutdown_after_failed_init;
    bool offers_state;
    bool tells_drops;    /* a dropped receiver is a stream_close */
    bool answers_sends;  /* send_result has an answer, so that streams can be bounded */
    NrStatus handle_max; /* the one status above StreamEnd that handle and stream_data may return; StreamEnd: none */
    const void *host_vtable;
    bool (*take_functions)(nrhost *host); /* false: one is missing */
    NrStatus (*init)(nrhost *host, void *host_ctx, const void *host_vtable);
    NrStatus (*handle)(nrhost *host, const nrhost_request *request, uint64_t sid);
    void (*shutdown)(nrhost *host);
    NrStatus (*stream_data)(nrhost *host, uint64_t sid, NrBytes data);
    NrStatus (*stream_close)(nrhost *host, uint64_t sid);
} nrhost_front;

struct nrhost {
    void *image;
    const NrPluginInfo *info;
    const nrhost_front *front;
    nrhost_functions plugin;
    size_t stream_capacity; /* NRHOST_UNBOUNDED: none */
    nrhost_options options;
    _Atomic(nrhost_ctx *) ctx; /* set by init, taken by shutdown */
    atomic_int shutting;       /* shutdown calls in progress */
    atomic_bool owes_shutdown;
    _Atomic uint64_t next_sid;
    nrhost_ledger *ledger; /* NULL when off */
    nrhost_shard shards[NRHOST_SHARDS];
};

static inline size_t nrhost_shard_index(uint64_t sid) {
    return (size_t)((sid * 0x9e3779b97f4a7c15u) >> (64 - NRHOST_SHARD_BITS));
}

/* calls.c, table.c */
NRHOST_INTERNAL void nrhost_table_init(nrhost *host);
NRHOST_INTERNAL void nrhost_table_free(nrhost *host);
NRHOST_INTERNAL nrhost_shard *nrhost_table_lock(nrhost *host, uint64_t sid);
NRHOST_INTERNAL bool nrhost_table_insert(nrhost *host, nrhost_call *call);
/* With the shard locked: the oldest call of the sid. */
NRHOST_INTERNAL nrhost_call *nrhost_table_find(nrhost_shard *shard, uint64_t sid);
/* With the shard locked: false when the call was no longer in the table. The table's reference passes to the caller. */
NRHOST_INTERNAL bool nrhost_table_remove(nrhost_shard *shard, nrhost_call *call);
NRHOST_INTERNAL void nrhost_call_unref(nrhost_call *call);
/* Room for one more arrival; false when the receiver has not taken enough. */
NRHOST_INTERNAL bool nrhost_call_reserve(nrhost_call *call);
/* Takes the arrival. Room was reserved. */
NRHOST_INTERNAL void nrhost_call_deliver(nrhost_call *call, nrhost_arrival *arrival, bool terminal);

/* front_v1.c, front_v2.c */
NRHOST_INTERNAL extern const nrhost_front nrhost_front_v1, nrhost_front_v1_raw, nrhost_front_v2;

/* results_v1.c, results_v2.c */
NRHOST_INTERNAL extern const NrHostVTable nrhost_vtable_v1;
NRHOST_INTERNAL extern const NrHostVTableV2 nrhost_vtable_v2;

/* arrivals.c: the ABI has no answer for a host without memory, so without memory these end the process. */
NRHOST_INTERNAL nrhost_arrival *nrhost_arrival_copy(uint64_t sid, NrStatus status, NrBytes payload);
NRHOST_INTERNAL nrhost_arrival *nrhost_arrival_owned(uint64_t sid, NrStatus status, NrOwnedBytes payload);
/* Room for `cap` bytes; NULL without memory. */
NRHOST_INTERNAL nrhost_arrival *nrhost_arrival_room(uint64_t cap);
/* Takes the arrival; the frame is the caller's. */
NRHOST_INTERNAL nrhost_frame nrhost_arrival_open(nrhost_arrival *arrival);
NRHOST_INTERNAL void nrhost_arrival_free(nrhost_arrival *arrival);

/* leases.c */
NRHOST_INTERNAL NrBufferLease nrhost_lease_out(nrhost *host, uint64_t sid, uint64_t capacity);
/* Ends a lease: its memory, `len` bytes of it set, is the caller's. *abandoned: its call is over, and another with that sid
 * must not get it. NULL: there is no such lease, or not so much room, and nothing has changed. */
NRHOST_INTERNAL nrhost_arrival *nrhost_lease_back(nrhost *host, uint64_t sid, uint64_t token, uint64_t len,
                                                  bool *abandoned);
NRHOST_INTERNAL void nrhost_leases_free(nrhost *host);

/* results.c */
/* What a send comes to. Takes `ready`. */
NRHOST_INTERNAL NrStatus nrhost_take(nrhost *host, uint64_t sid, const nrhost_reply *reply);
/* This thread's slot when it waits for that sid, else NULL. */
NRHOST_INTERNAL nrhost_slot *nrhost_slot_of(const nrhost *host, uint64_t sid);
NRHOST_INTERNAL extern _Thread_local nrhost_slot *nrhost_slots;
/* The host behind a host_ctx; NULL, and counted as late, when that host was shut down (see keep_dead_ctx). */
NRHOST_INTERNAL nrhost *nrhost_of_ctx(void *host_ctx);
/* Notes whose function this thread enters (0: nobody's), and gives the one it leaves for that. */
NRHOST_INTERNAL uint64_t nrhost_set_inside(uint64_t sid);

/* Counts the sends below on this thread's stack as over: a shutdown that is called from inside one of them sends the
 * terminal replies, and the plugin cannot return from that send first. */
NRHOST_INTERNAL void nrhost_end_sends_below(nrhost *host);
NRHOST_INTERNAL NrStatus nrhost_enter(nrhost *host, const nrhost_request *request, uint64_t sid);
NRHOST_INTERNAL bool nrhost_is_terminal(nrhost_kind kind, NrStatus status);

/* state.c */
NRHOST_INTERNAL extern const NrHostExt nrhost_ext;
NRHOST_INTERNAL void nrhost_states_free(nrhost_state *states);

/* ext.c */
/* `keep`: it will stay after nrhost_ctx_retire. NULL without memory. */
NRHOST_INTERNAL nrhost_ctx *nrhost_ctx_make(nrhost *host, bool keep);
NRHOST_INTERNAL void nrhost_ctx_publish(nrhost_ctx *ctx);
NRHOST_INTERNAL void nrhost_ctx_retire(nrhost_ctx *ctx, bool keep);

/* ledger.c */
NRHOST_INTERNAL nrhost_ledger *nrhost_ledger_new(const nrhost_front *front, const nrhost_options *options);
NRHOST_INTERNAL void nrhost_ledger_free(nrhost_ledger *ledger);
NRHOST_INTERNAL nrhost_record *nrhost_ledger_call(nrhost_ledger *ledger, uint64_t sid, nrhost_kind kind);
NRHOST_INTERNAL void nrhost_ledger_returned(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record,
                                            NrStatus status);
/* `inside` is the sid whose handle this thread is in, 0 for none. Reads the frame during the call. */
NRHOST_INTERNAL nrhost_record *nrhost_ledger_send_begins(nrhost_ledger *ledger, uint64_t sid, const nrhost_frame *frame,
                                                         uint64_t inside);
/* With Backpressure the frame counts as not sent: it is read again. */
NRHOST_INTERNAL void nrhost_ledger_send_ends(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record,
                                             NrStatus answer, const nrhost_frame *frame);
/* A terminal frame that was refused to the end has nowhere to go any more: its call is over. */
NRHOST_INTERNAL void nrhost_ledger_shut(nrhost_ledger *ledger);
NRHOST_INTERNAL void nrhost_ledger_status(nrhost_ledger *ledger, uint64_t sid, NrStatus status, NrStatus highest);

#endif /* NRHOST_INTERNAL_H */
