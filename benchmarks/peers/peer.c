/*
 * The least a plugin in C does, for ABI v2: what our calls stand beside.
 *
 *   sync, raw  send_result inside handle, with the host's own bytes
 *   owned      the same by send_result_owned, with a copy of its own
 *   gen        1,000 frames of 128 bytes from a thread, which offers a refused one again at once; then StreamEnd
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "nylon_ring_v2.h"

enum { FRAMES = 1000, FRAME_SIZE = 128 };
enum { SYNC, RAW, OWNED, GEN, ENTRIES };

static const char *const names[ENTRIES] = {"sync", "raw", "owned", "gen"};
static void *host_ctx;
static NrHostVTableV2 host;

static NrStatus send_bytes(uint64_t sid, NrStatus status, const void *bytes, size_t length) {
    NrVecU8 payload = {.ptr = (uint8_t *)(uintptr_t)bytes, .len = length, .cap = length};
    return host.send_result(host_ctx, sid, status, payload);
}

static void release(void *owner, const uint8_t *bytes, uint64_t length) {
    (void)bytes;
    (void)length;
    free(owner);
}

static NrStatus send_copy(uint64_t sid, NrBytes body) {
    uint8_t *copy = malloc(body.len + 1);
    if (copy == NULL) {
        return NR_ERR;
    }
    memcpy(copy, body.ptr, body.len);
    NrOwnedBytes payload = {.ptr = copy, .len = body.len, .owner_ctx = copy, .release = release};
    (void)host.send_result_owned(host_ctx, sid, NR_OK, payload);
    return NR_OK;
}

static void *send_frames(void *sid_as_pointer) {
    static const char frame[FRAME_SIZE];
    uint64_t sid = (uintptr_t)sid_as_pointer;
    for (int i = 0; i <= FRAMES; i++) {
        NrStatus status = i < FRAMES ? NR_OK : NR_STREAM_END;
        while (send_bytes(sid, status, frame, i < FRAMES ? sizeof frame : 0) == NR_BACKPRESSURE) {
        }
    }
    return NULL;
}

static NrStatus handle_by_id(uint32_t id, uint64_t sid, NrBytes body) {
    pthread_t thread;
    switch (id) {
    case SYNC:
    case RAW:
        (void)send_bytes(sid, NR_OK, body.ptr, body.len);
        return NR_OK;
    case OWNED:
        return send_copy(sid, body);
    case GEN:
        if (pthread_create(&thread, NULL, send_frames, (void *)(uintptr_t)sid) != 0) {
            return NR_ERR;
        }
        pthread_detach(thread);
        return NR_OK;
    default:
        return NR_INVALID;
    }
}

static uint32_t resolve_entry(NrStr entry) {
    for (uint32_t id = 0; id < ENTRIES; id++) {
        if (strlen(names[id]) == entry.len && memcmp(names[id], entry.ptr, entry.len) == 0) {
            return id;
        }
    }
    return NR_ENTRY_UNKNOWN;
}

static NrStatus handle(NrStr entry, uint64_t sid, NrBytes body) {
    return handle_by_id(resolve_entry(entry), sid, body);
}

static NrStatus init(void *ctx, const NrHostVTableV2 *functions) {
    host_ctx = ctx;
    host = *functions;
    return NR_OK;
}

static void shut_down(void) {
}

static NrStatus stream_data(uint64_t sid, NrBytes data) {
    (void)sid;
    (void)data;
    return NR_UNSUPPORTED;
}

static NrStatus stream_close(uint64_t sid) {
    (void)sid;
    return NR_UNSUPPORTED;
}

__attribute__((visibility("default"))) const NrPluginInfo *nylon_ring_get_plugin(void);

const NrPluginInfo *nylon_ring_get_plugin(void) {
    static const NrPluginVTableV2 functions = {
        init, handle, shut_down, stream_data, stream_close, resolve_entry, handle_by_id,
    };
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V2,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)"peer", .len = 4},
        .vtable = &functions,
    };
    return &info;
}
