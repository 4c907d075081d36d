/* The C part of the cffi peer; emit.py puts it into what cffi generates. */
#include "nylon_ring_v1.h"

enum { PEER_STARTED = 1 };

static const NrHostVTable *peer_host; /* set by init */
static void *peer_host_context;       /* set by init */

/* Called by Python. */
static void peer_send(uint64_t sid, NrStatus status, const char *bytes, uint64_t size) {
    NrBytes payload = {.ptr = (const uint8_t *)bytes, .len = size};
    peer_host->send_result(peer_host_context, sid, status, payload);
}

/* In Python. */
CFFI_DLLEXPORT int peer_start(void);
CFFI_DLLEXPORT NrStatus peer_handle(NrStr entry, uint64_t sid, const NrRequest *request, NrBytes body);
CFFI_DLLEXPORT NrStatus peer_stream_data(uint64_t sid, NrBytes data);
CFFI_DLLEXPORT NrStatus peer_stream_close(uint64_t sid);
CFFI_DLLEXPORT void peer_shutdown(void);

static NrStatus init_v1(void *context, void *host_ctx, const NrHostVTable *host) {
    (void)context;
    peer_host = host;
    peer_host_context = host_ctx;
    return peer_start() == PEER_STARTED ? NR_OK : NR_ERR;
}

static NrStatus handle_v1(void *context, NrStr entry, uint64_t sid, const NrRequest *request, NrBytes body) {
    (void)context;
    return peer_handle(entry, sid, request, body);
}

static void shutdown_v1(void *context) {
    (void)context;
    peer_shutdown();
}

static NrStatus stream_data_v1(void *context, uint64_t sid, NrBytes data) {
    (void)context;
    return peer_stream_data(sid, data);
}

static NrStatus stream_close_v1(void *context, uint64_t sid) {
    (void)context;
    return peer_stream_close(sid);
}

CFFI_DLLEXPORT const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    static const NrPluginVTable functions = {init_v1, handle_v1, shutdown_v1, stream_data_v1, stream_close_v1};
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V1,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)"cffi", .len = 4},
        .vtable = &functions,
    };
    return &info;
}
