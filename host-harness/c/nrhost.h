/*
 * A nylon-ring host in C, for ABI v1 and v2: load a plugin, call its entries, read what it answers.
 *
 *   char why[256];
 *   nrhost *host = nrhost_load("./plugin.so", NULL, why, sizeof why);
 *   nrhost_request request = {.entry = nrhost_str("echo"), .payload = nrhost_bytes("hi", 2), .raw = true};
 *   nrhost_frame reply;
 *   if (nrhost_call_unary(host, &request, 5.0, &reply) == NRHOST_FRAME) { ...; nrhost_frame_free(&reply); }
 *   nrhost_unload(host);
 *
 * Any thread may use a host. Only nrhost_unload must be alone: it frees the host.
 * Link with -rdynamic, so that plugins find `nylon_ring_host_ext`.
 */
#ifndef NRHOST_H
#define NRHOST_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "nylon_ring_v2.h"

typedef struct nrhost nrhost;

/* What a plugin is asked for. Nothing at run time tells the two layouts of v1 apart. */
typedef enum nrhost_abi {
    NRHOST_V1,     /* five functions */
    NRHOST_V1_RAW, /* six: handle_raw between handle and shutdown */
    NRHOST_V2,
} nrhost_abi;

/* "v1", "v1-raw", "v2". The second is false for any other name. */
const char *nrhost_abi_name(nrhost_abi abi);
bool nrhost_abi_named(const char *name, nrhost_abi *abi);

#define NRHOST_STREAM_CAPACITY 64u /* as the released v2 hosts have it */
#define NRHOST_UNBOUNDED SIZE_MAX

typedef struct nrhost_options {
    nrhost_abi abi;
    bool ledger; /* keep the record that nrhost_ledger_report reads; costs a lock for each call and reply */

    /* For hosts that run long: calls that are over leave no record, so that memory stays as it is. */
    bool ledger_forgets;
    bool ledger_events; /* keep the last of what happened, for nrhost_ledger_events */

    /*
     * Leave host_ctx allocated after shutdown, marked dead, so that a late send is counted
     * (nrhost_late_sends) instead of reading freed memory. Under AddressSanitizer leave it off.
     */
    bool keep_dead_ctx;

    /* v2: frames a stream may have waiting for its receiver; the next is answered Backpressure. 0: the usual. */
    size_t stream_capacity;

    /*
     * v2: what comes through send_result_owned stays where it is, and is released with its frame, which may be after
     * nrhost_unload. Without, the host copies and releases at once.
     */
    bool keep_owned;

    /* Runs inside send_result before anybody can see the reply; what it returns is on_result's ticket. May be NULL. */
    uint64_t (*on_send)(void *user);
    /* Runs inside send_result once the reply is delivered, on the plugin's thread. May be NULL. */
    void (*on_result)(void *user, nrhost *host, uint64_t sid, NrStatus status, uint64_t ticket);
    void *user;

    /* Replaces the library's own send_result and context: for benchmarks that measure the plugin alone. */
    const void *vtable; /* NrHostVTable, NrHostVTableV2 */
    void *host_ctx;
} nrhost_options;

/*
 * Opens the file and asks it for an instance, without init. NULL with one line in `why` when the file is no
 * plugin of that ABI. `options` may be NULL. The first call makes the process ignore SIGPIPE.
 */
nrhost *nrhost_open(const char *path, const nrhost_options *options, char *why, size_t why_size);

/* Calls the plugin's `init`, and gives back its status. A v1 plugin is shut down even after a failed one, a v2 one not. */
NrStatus nrhost_init(nrhost *host);

/* nrhost_open and nrhost_init; a plugin that refuses is unloaded, and NULL comes back. */
nrhost *nrhost_load(const char *path, const nrhost_options *options, char *why, size_t why_size);

/* Calls the plugin's `shutdown`, and frees host_ctx when the last such call in progress has returned. */
void nrhost_shutdown(nrhost *host);

/* Shuts down where that is due, closes the file, frees the host. Takes `host`. */
void nrhost_unload(nrhost *host);

/* fork(), where other threads may be in calls or sends: the child may use its copy of `host`, calls that wait apart. */
pid_t nrhost_fork(nrhost *host);

const NrPluginInfo *nrhost_info(const nrhost *host);
nrhost_abi nrhost_abi_of(const nrhost *host);

/* The plugin's functions, for callers that need no bookkeeping. Borrowed from the loaded file. */
typedef struct nrhost_functions {
    void *plugin_ctx;
    NrInitFn init;
    NrHandleFn handle;
    NrHandleRawFn handle_raw; /* NULL in the five-function layout */
    NrShutdownFn shutdown;
    NrStreamDataFn stream_data;
    NrStreamCloseFn stream_close;
    const NrPluginVTableV2 *v2; /* then all above are NULL */
} nrhost_functions;

/* Writable: a test may pass another plugin_ctx than the plugin's own. */
nrhost_functions *nrhost_functions_of(nrhost *host);

/* What init was given; NULL before init and after shutdown. */
void *nrhost_ctx_of(const nrhost *host);

/* ---- calls ---- */

typedef enum nrhost_kind {
    NRHOST_UNARY,  /* the first reply ends the call */
    NRHOST_STREAM, /* the first reply that is not Ok ends it */
} nrhost_kind;

typedef struct nrhost_request {
    NrStr entry;
    const NrRequest *metadata; /* NULL: none */
    NrBytes payload;
    uint64_t sid; /* 0: the host picks the next */
    nrhost_kind kind;
    bool raw;    /* v1: by handle_raw where the plugin has one, else by handle without metadata */
    bool by_id;  /* v2: by handle_by_id with `id` */
    uint32_t id; /* what nrhost_resolve gave for `entry` */
} nrhost_request;

/* v2: the number of an entry while the plugin is loaded; NR_ENTRY_UNKNOWN where it has none, and in v1. */
uint32_t nrhost_resolve(nrhost *host, NrStr entry);

/* The next sid that no call of this host has had yet. */
uint64_t nrhost_next_sid(nrhost *host);

typedef struct nrhost_frame {
    NrStatus status;
    uint8_t *data; /* owned: nrhost_frame_free */
    size_t len;
    void (*release)(void *owner, const uint8_t *data, uint64_t len); /* how data goes; NULL: nothing is to be freed */
    void *owner;
} nrhost_frame;

void nrhost_frame_free(nrhost_frame *frame);

typedef enum nrhost_outcome {
    NRHOST_FRAME,    /* a reply or a frame was taken */
    NRHOST_ENDED,    /* the call's terminal reply was already taken */
    NRHOST_TIMEOUT,  /* nothing came in time; the call goes on */
    NRHOST_REFUSED,  /* handle said no: the frame's status tells how; no reply will come */
    NRHOST_NO_REPLY, /* a fast call's entry did not answer before handle returned */
} nrhost_outcome;

/* A call in progress; for a stream, its receiver. */
typedef struct nrhost_call nrhost_call;

/*
 * Registers the sid, then calls handle. Ok: *call is the caller's until nrhost_call_release. Any other
 * status: *call is NULL and no reply will come.
 */
NrStatus nrhost_submit(nrhost *host, const nrhost_request *request, nrhost_call **call);

uint64_t nrhost_call_sid(const nrhost_call *call);

/* Takes the next reply; waits up to timeout_s seconds (below 0: for ever). */
nrhost_outcome nrhost_call_next(nrhost_call *call, double timeout_s, nrhost_frame *frame);

/* Waits until the terminal reply has arrived, taking nothing. True when it has. */
bool nrhost_call_finished(nrhost_call *call, double timeout_s);

/*
 * Gives the call up. In v1 that closes a stream which is still open at the plugin; in v2 the plugin learns it from the
 * answer to its next send: Invalid.
 */
void nrhost_call_release(nrhost_call *call);

/* nrhost_submit, then the reply. */
nrhost_outcome nrhost_call_unary(nrhost *host, const nrhost_request *request, double timeout_s, nrhost_frame *reply);

/*
 * A unary call whose reply must come before handle returns: it lands in a slot of this thread, and no table
 * is touched. The released hosts wait for ever where this one answers NRHOST_NO_REPLY.
 */
nrhost_outcome nrhost_call_fast(nrhost *host, const nrhost_request *request, nrhost_frame *reply);

/* Fire-and-forget: nothing waits for a reply. In v2 it is answered Invalid, in v1 it is thrown away. */
NrStatus nrhost_fire(nrhost *host, const nrhost_request *request);

NrStatus nrhost_send_stream_data(nrhost *host, uint64_t sid, NrBytes data);
NrStatus nrhost_close_stream(nrhost *host, uint64_t sid);

/* ---- what the host saw ---- */

/* A copy of a state value; false when the sid has none under that key. */
bool nrhost_state_get(nrhost *host, uint64_t sid, NrStr key, nrhost_frame *value);

/* Values held for a sid, or for all sids with sid 0. */
size_t nrhost_state_count(nrhost *host, uint64_t sid);

/* Every count after `open` is a broken promise; `open` is one once nothing runs any more. */
typedef struct nrhost_report {
    uint64_t accepted;       /* calls that handle answered with Ok */
    uint64_t refused;        /* calls it answered otherwise */
    uint64_t replies;        /* frames and replies of all calls */
    uint64_t terminals;      /* calls that have had their terminal reply */
    uint64_t backpressure;   /* frames not taken, which are to come again */
    uint64_t open;           /* accepted calls that have had none yet */
    uint64_t after_terminal; /* replies that came after the terminal one */
    uint64_t after_refusal;  /* refused calls that got a reply */
    uint64_t unknown;        /* replies for a sid that was never used */
    uint64_t overlaps;       /* sends that began while another for the same sid was in progress */
    uint64_t strangers;      /* sends for another sid by a thread inside handle, stream_data or stream_close */
    uint64_t bad_status;     /* statuses the ABI does not have there, sent or returned */
    uint64_t after_invalid;  /* sends for a sid that the host had answered Invalid */
    uint64_t reordered;      /* sends that were not the frame answered Backpressure before */
    char first[160];         /* the first broken promise, in words; empty when there is none */
} nrhost_report;

/* False when the host keeps no ledger. */
bool nrhost_ledger_report(nrhost *host, nrhost_report *report);

/* True when no promise is broken and no call is open. */
bool nrhost_report_clean(const nrhost_report *report);

/* Adds up two hosts' reports, or two instances'. `first` stays when there is one. */
void nrhost_report_add(nrhost_report *sum, const nrhost_report *more);

typedef enum nrhost_event_kind {
    NRHOST_CALLED,   /* the plugin's handle is about to be called */
    NRHOST_RETURNED, /* it has returned `status` */
    NRHOST_SENDS,    /* the plugin sends `status` and `len` bytes */
    NRHOST_SENT,     /* the host has answered `status` to that (v1: Ok, and nobody reads it) */
    NRHOST_WAITS,    /* not an event: this call has had no terminal reply yet */
} nrhost_event_kind;

typedef struct nrhost_event {
    uint64_t at_ns; /* of CLOCK_MONOTONIC */
    uint64_t sid;
    uint32_t len;
    uint16_t status;
    uint16_t what; /* nrhost_event_kind */
} nrhost_event;

/* The last events of a host with `ledger_events`, oldest first, then the calls that wait. Gives their number. */
size_t nrhost_ledger_events(nrhost *host, nrhost_event *out, size_t room);

/* A broken promise freezes the events of all hosts in the process; who finds something else wrong does, too. */
void nrhost_events_freeze(void);
bool nrhost_events_frozen(void);

/* Forgets all calls that are over. */
void nrhost_ledger_reset(nrhost *host);

/* Sends, and questions for state, that arrived after shutdown had returned, in the whole process (see keep_dead_ctx). */
uint64_t nrhost_late_sends(void);

/* v2: buffers lent to the plugin that it has not committed. */
size_t nrhost_leases(nrhost *host);

/* ---- small helpers ---- */

NrStr nrhost_str(const char *text);
NrBytes nrhost_bytes(const void *data, size_t len);
const char *nrhost_status_name(NrStatus status);

#endif /* NRHOST_H */
