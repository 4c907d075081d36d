/*
 * Plugins in plain C, for tests of hosts: what is the same in all of them. A plugin is a table of entries; native.c gives
 * it both exports, instances and the gate, native_send.c the ways back to the host, native_streams.c streams and the
 * thread that runs them.
 */
#ifndef NATIVE_H
#define NATIVE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "nylon_ring_v2.h"

#define NATIVE_INSIDE __attribute__((visibility("hidden")))

typedef struct instance instance;

/* A call. On the host's thread it borrows; what the worker runs is a copy with the body behind it. */
typedef struct call {
    struct call *next;
    uint64_t sid;
    const NrRequest *request; /* NULL on the worker */
    NrBytes body;
    void (*run)(instance *self, struct call *c);
} call;

typedef enum entry_kind {
    SYNCHRONOUS, /* run on the host's thread; replies before it returns */
    POOLED,      /* run on the worker */
    STREAM,      /* run on the host's thread: opens a stream, or answers why not */
} entry_kind;

typedef struct entry {
    const char *name;
    entry_kind kind;
    void (*run)(instance *self, call *c);
    NrStatus (*open)(instance *self, call *c); /* of a stream */
} entry;

/* ---- given by each plugin ---- */
NATIVE_INSIDE extern const char native_name[];
NATIVE_INSIDE extern const entry native_entries[];
NATIVE_INSIDE extern const size_t native_entry_count;
/* Ok, or what init answers. */
NATIVE_INSIDE NrStatus native_starts(void);

/* ---- streams ---- */
typedef struct frame {
    struct frame *next;
    NrStatus status;
    uint64_t len;
    uint8_t bytes[];
} frame;

typedef enum stream_kind { COUNT, ENDLESS, DUPLEX } stream_kind;

typedef struct stream {
    struct stream *next;
    uint64_t sid;
    stream_kind kind;
    uint64_t sent, count; /* COUNT: frames so far, frames in all */
    bool fails;           /* COUNT: ends with Err */
    bool as_is;           /* DUPLEX: what comes in goes out without a change */
    bool closing;         /* the host closed it */
    bool ended;           /* its terminal is being sent: the sid may be used again */
    frame *first, *last;  /* what is to go out; of COUNT, instead of numbers */
    size_t waiting;
    frame *refused; /* answered Backpressure: goes before all others */
    uint64_t backoff_ns;
    uint64_t due_ns; /* not before that time */
} stream;

struct instance {
    NrPluginInfo info; /* first: plugin_ctx of v1 */
    bool v2;
    void *host_ctx;
    union {
        NrHostVTable v1;
        NrHostVTableV2 v2;
    } host; /* a copy: the released host of v2 frees its table while streams go on */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    enum { UNUSED, GIVEN, LIVE, STOPPING, OVER } state; /* OVER: set last, the slot may be given again */
    unsigned inside;                                    /* threads in one of our functions */
    pthread_t worker;
    bool has_worker; /* to be joined; set and cleared while nobody else may call in */
    bool drained;    /* what the worker holds is gone: it was stopped from its own stack */
    call *first, *last;
    call *held;
    stream *streams;
    uint64_t endless_ended;
};

/* ---- native.c: what a host may call, on any instance in any state; NULL: Invalid ---- */
NATIVE_INSIDE NrStatus native_init(instance *self, void *host_ctx, const void *host);
NATIVE_INSIDE uint32_t native_resolve(NrStr name);
NATIVE_INSIDE NrStatus native_handle(instance *self, uint32_t id, uint64_t sid, const NrRequest *request,
                                     NrBytes payload);
NATIVE_INSIDE NrStatus native_enter_stream_data(instance *self, uint64_t sid, NrBytes data);
NATIVE_INSIDE NrStatus native_enter_stream_close(instance *self, uint64_t sid);
NATIVE_INSIDE void native_shutdown(instance *self);

/* ---- native_send.c: any thread ---- */
NATIVE_INSIDE NrStatus native_send(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len);
NATIVE_INSIDE void native_text(instance *self, uint64_t sid, NrStatus status, const char *text);
/* Three ways more where the host speaks v2, native_send elsewhere: the bytes stay ours until the host releases them; a
 * vector the host drops; the host's own buffer. */
NATIVE_INSIDE NrStatus native_send_owned(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len);
NATIVE_INSIDE NrStatus native_send_vector(instance *self, uint64_t sid, NrStatus status, const void *data,
                                          uint64_t len);
NATIVE_INSIDE NrStatus native_send_lease(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len);
typedef struct native_tally {
    uint64_t sent, released, twice;
} native_tally;
/* Owned buffers of this image, over all its instances. */
NATIVE_INSIDE native_tally native_owned_tally(void);

/* ---- native_worker.c: the thread that runs pooled calls and streams ---- */
NATIVE_INSIDE bool native_worker_start(instance *self);
/* Ends the worker; the calls and streams it leaves are answered Err. Any thread, the worker too. */
NATIVE_INSIDE void native_worker_stop(instance *self);
/* Copies the call for the worker. */
NATIVE_INSIDE NrStatus native_defer(instance *self, const call *c);
/* Copies the call and keeps it until native_let_go or shutdown. */
NATIVE_INSIDE void native_hold(instance *self, const call *c);
/* Has every held call answered by the worker; gives their number. */
NATIVE_INSIDE uint64_t native_let_go(instance *self);

/* ---- native_streams.c ---- */
/* Copies a frame to the end of a stream that is not open yet. False without memory. */
NATIVE_INSIDE bool native_append(stream *s, const void *data, uint64_t len);
/* Takes the stream. Invalid when its sid has one. */
NATIVE_INSIDE NrStatus native_open(instance *self, stream *s);
NATIVE_INSIDE NrStatus native_stream_data(instance *self, uint64_t sid, NrBytes data);
NATIVE_INSIDE NrStatus native_stream_close(instance *self, uint64_t sid);

/* With the lock held: one frame of the first stream that has one, which then goes to the end of the row; the lock is let go for the send.
 * *due_ns is when the next may, 0 for never. False when the worker was stopped from there. */
NATIVE_INSIDE bool native_send_one(instance *self, bool *sent, uint64_t *due_ns);
NATIVE_INSIDE void native_stream_free(stream *s);

/* A decimal number at the start of the text; 0 for none. */
NATIVE_INSIDE uint64_t native_number(NrBytes text);

#endif /* NATIVE_H */
