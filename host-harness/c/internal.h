/* What the library's files share. Nothing here is for users of the library. */
#ifndef NRHOST_INTERNAL_H
#define NRHOST_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "nrhost.h"

#define NRHOST_INTERNAL __attribute__((visibility("hidden")))
#define NRHOST_SHARDS 64u
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

typedef struct nrhost_arrival {
    struct nrhost_arrival *next;
    NrStatus status;
    size_t len;
    uint8_t data[];
} nrhost_arrival;

struct nrhost_call {
    nrhost *host;
    uint64_t sid;
    nrhost_kind kind;
    atomic_int references; /* one of the table's, one of the caller's, one of each send in progress */
    nrhost_call *next;     /* guarded by the shard */
    nrhost_state *states;  /* guarded by the shard; gone with the terminal reply */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t arrived;
    nrhost_arrival *first;
    nrhost_arrival *last;
    bool finished;
};

/* Padded, so that two shards never share a cache line. */
typedef struct nrhost_shard {
    _Alignas(64) pthread_mutex_t lock;
    nrhost_call **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t calls;
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
    struct nrhost_slot *outer;
} nrhost_slot;

typedef struct nrhost_ledger nrhost_ledger;
typedef struct nrhost_record nrhost_record;

struct nrhost {
    void *image;
    const NrPluginInfo *info;
    nrhost_layout layout;
    nrhost_functions plugin;
    nrhost_options options;
    _Atomic(nrhost_ctx *) ctx; /* set by init, taken by shutdown */
    atomic_int shutting;       /* shutdown calls in progress */
    _Atomic uint64_t next_sid;
    nrhost_ledger *ledger; /* NULL when off */
    nrhost_shard shards[NRHOST_SHARDS];
};

static inline size_t nrhost_shard_index(uint64_t sid) {
    return (size_t)((sid * 0x9e3779b97f4a7c15u) >> 58);
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
NRHOST_INTERNAL void nrhost_call_deliver(nrhost_call *call, NrStatus status, NrBytes payload, bool terminal);

/* results.c */
NRHOST_INTERNAL extern const NrHostVTable nrhost_vtable;
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
NRHOST_INTERNAL void nrhost_ctx_publish(nrhost_ctx *ctx);
NRHOST_INTERNAL void nrhost_ctx_retire(nrhost_ctx *ctx, bool keep);

/* ledger.c */
NRHOST_INTERNAL nrhost_ledger *nrhost_ledger_new(void);
NRHOST_INTERNAL void nrhost_ledger_free(nrhost_ledger *ledger);
NRHOST_INTERNAL nrhost_record *nrhost_ledger_call(nrhost_ledger *ledger, uint64_t sid, nrhost_kind kind);
NRHOST_INTERNAL void nrhost_ledger_returned(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record,
                                            NrStatus status);
/* `inside` is the sid whose handle this thread is in, 0 for none. */
NRHOST_INTERNAL nrhost_record *nrhost_ledger_send_begins(nrhost_ledger *ledger, uint64_t sid, NrStatus status,
                                                         uint64_t inside);
NRHOST_INTERNAL void nrhost_ledger_send_ends(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record);
NRHOST_INTERNAL void nrhost_ledger_status(nrhost_ledger *ledger, uint64_t sid, NrStatus status);

#endif /* NRHOST_INTERNAL_H */
