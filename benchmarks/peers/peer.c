/*
 * The C peer: the least a plugin in C does behind ABI v1 and v2, with one instance.
 *
 *   sync, raw  send_result inside handle, with the host's own bytes; the fields of a request are where they are
 *   pool       a copy of the body to one worker (queue.h), which sends it
 *   gen        1,000 frames of 128 bytes and StreamEnd; v1: sent inside handle, where the host takes all of them;
 *              v2: by the worker, which offers a refused one again when other threads have run
 *   gen_worker gen's frames, sent by the worker in v1 too
 *   echo       each frame goes back inside stream_data, with the host's own bytes; no stream has anything of its own
 *   owned      v2: a copy of the body, given away by send_result_owned
 *
 * There is no C SDK to be like. Left out is what would make it safe: it checks nothing the host passes.
 */
#include <sched.h>
#include <stdlib.h>

#include "queue.h"

enum { FRAMES = 1000, FRAME_SIZE = 128 };
enum { SYNC, RAW, POOL, GEN, GEN_WORKER, ECHO, OWNED, PEER_ENTRIES };

#define PEER_NAME "c"
static const char *const peer_entries[PEER_ENTRIES] = {"sync", "raw", "pool", "gen", "gen_worker", "echo", "owned"};

#include "exports.h"

typedef struct {
    queued link;
    uint32_t id;
    uint64_t sid;
    size_t size;
    uint8_t body[];
} call;

static void *host_ctx;                /* set by init */
static const NrHostVTable *host_v1;   /* set by init; NULL in v2 */
static const NrHostVTableV2 *host_v2; /* set by init; NULL in v1 */
static queue pool = QUEUE_INITIALIZER;

/* ---- towards the host ---- */

static NrStatus send_bytes(uint64_t sid, NrStatus status, const uint8_t *bytes, size_t size) {
    if (host_v1 != NULL) {
        host_v1->send_result(host_ctx, sid, status, (NrBytes){.ptr = bytes, .len = size});
        return NR_OK;
    }
    NrVecU8 payload = {.ptr = (uint8_t *)(uintptr_t)bytes, .len = size, .cap = size};
    return host_v2->send_result(host_ctx, sid, status, payload);
}

static void release(void *owner, const uint8_t *bytes, uint64_t size) {
    (void)bytes;
    (void)size;
    free(owner);
}

static NrStatus send_owned(uint64_t sid, NrBytes body) {
    uint8_t *copy = malloc(body.len + 1);
    if (copy == NULL) {
        return NR_ERR;
    }
    memcpy(copy, body.ptr, body.len);
    NrOwnedBytes payload = {.ptr = copy, .len = body.len, .owner_ctx = copy, .release = release};
    (void)host_v2->send_result_owned(host_ctx, sid, NR_OK, payload);
    return NR_OK;
}

/* ---- the worker ---- */

static NrStatus submit(uint32_t id, uint64_t sid, NrBytes body) {
    call *made = malloc(sizeof *made + body.len);
    if (made == NULL) {
        return NR_ERR;
    }
    made->id = id;
    made->sid = sid;
    made->size = body.len;
    memcpy(made->body, body.ptr, body.len);
    queue_put(&pool, &made->link);
    return NR_OK;
}

static void send_frames(uint64_t sid) {
    static const uint8_t frame[FRAME_SIZE];
    for (int i = 0; i <= FRAMES; i++) {
        NrStatus status = i < FRAMES ? NR_OK : NR_STREAM_END;
        while (send_bytes(sid, status, frame, i < FRAMES ? sizeof frame : 0) == NR_BACKPRESSURE) {
            sched_yield();
        }
    }
}

static void *work(void *unused) {
    (void)unused;
    for (queued *next = queue_take(&pool); next != NULL; next = next != NULL ? next : queue_take(&pool)) {
        call *taken = (call *)next;
        next = next->next;
        if (taken->id == GEN || taken->id == GEN_WORKER) {
            send_frames(taken->sid);
        } else {
            (void)send_bytes(taken->sid, NR_OK, taken->body, taken->size);
        }
        free(taken);
    }
    return NULL;
}

/* ---- from the host ---- */

static NrStatus peer_init(void *ctx, const NrHostVTable *v1, const NrHostVTableV2 *v2) {
    host_ctx = ctx;
    host_v1 = v1;
    host_v2 = v2;
    return queue_start(&pool, work) ? NR_OK : NR_ERR;
}

static NrStatus peer_handle(uint32_t id, uint64_t sid, const NrRequest *request, NrBytes body) {
    (void)request;
    switch (id) {
    case SYNC:
    case RAW:
        (void)send_bytes(sid, NR_OK, body.ptr, body.len);
        return NR_OK;
    case GEN:
        if (host_v1 != NULL) {
            send_frames(sid);
            return NR_OK;
        }
        return submit(id, sid, body);
    case POOL:
    case GEN_WORKER:
        return submit(id, sid, body);
    case ECHO:
        return NR_OK;
    case OWNED:
        return host_v2 != NULL ? send_owned(sid, body) : NR_INVALID;
    default:
        return NR_INVALID;
    }
}

static NrStatus peer_stream_data(uint64_t sid, NrBytes data) {
    return send_bytes(sid, NR_OK, data.ptr, data.len);
}

static NrStatus peer_stream_close(uint64_t sid) {
    return send_bytes(sid, NR_STREAM_END, NULL, 0);
}

static void peer_shutdown(void) {
    queue_stop(&pool);
}
