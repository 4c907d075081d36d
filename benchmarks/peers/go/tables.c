/* The tables that a host finds, in memory that never moves. What a peer lacks answers Unsupported without entering Go. */
#include "nylon_ring_v1.h"
#include "nylon_ring_v2.h"

#include "_cgo_export.h"

/* The pointer of what is empty may be any number, which must not stand on a stack of Go's. */
static NrBytes bytes_of(NrBytes bytes) {
    return bytes.len > 0 ? bytes : (NrBytes){0};
}

static NrStr text_of(NrStr text) {
    return text.len > 0 ? text : (NrStr){0};
}

static NrStatus init_v1(void *context, void *host_ctx, const NrHostVTable *host) {
    return peerInitV1(context, host_ctx, (void *)(uintptr_t)host);
}

static NrStatus handle_v1(void *context, NrStr entry, uint64_t sid, const NrRequest *request, NrBytes payload) {
    return peerHandleV1(context, text_of(entry), sid, (NrRequest *)(uintptr_t)request, bytes_of(payload));
}

static void shutdown_v1(void *context) {
    (void)context;
}

static NrStatus stream_data_v1(void *context, uint64_t sid, NrBytes data) {
    return peerStreamDataV1(context, sid, bytes_of(data));
}

static NrStatus stream_close_v1(void *context, uint64_t sid) {
    return peerStreamCloseV1(context, sid);
}

static NrStatus init_v2(void *host_ctx, const NrHostVTableV2 *host) {
    return peerInitV2(host_ctx, (void *)(uintptr_t)host);
}

static NrStatus handle_v2(NrStr entry, uint64_t sid, NrBytes payload) {
    return peerHandleV2(text_of(entry), sid, bytes_of(payload));
}

static NrStatus handle_by_id(uint32_t id, uint64_t sid, NrBytes payload) {
    return peerHandleByID(id, sid, bytes_of(payload));
}

static uint32_t resolve_entry(NrStr entry) {
    return peerResolve(text_of(entry));
}

static void shutdown_v2(void) {
}

static NrStatus stream_data_v2(uint64_t sid, NrBytes data) {
    (void)sid;
    (void)data;
    return NR_UNSUPPORTED;
}

static NrStatus stream_close_v2(uint64_t sid) {
    (void)sid;
    return NR_UNSUPPORTED;
}

static const NrPluginVTable table_v1 = {init_v1, handle_v1, shutdown_v1, stream_data_v1, stream_close_v1};
static const NrPluginVTableV2 table_v2 = {
    init_v2, handle_v2, shutdown_v2, stream_data_v2, stream_close_v2, resolve_entry, handle_by_id,
};

const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V1,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)"go", .len = 2},
        .vtable = &table_v1,
    };
    return &info;
}

const NrPluginInfo *nylon_ring_get_plugin(void) {
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V2,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)"go", .len = 2},
        .vtable = &table_v2,
    };
    return &info;
}
