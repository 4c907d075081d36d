/*
 * What a peer in C exports: both ABIs, with one instance. Included once, by the file that has
 *
 *   PEER_NAME                       a string
 *   peer_entries, PEER_ENTRIES      the entries' names, and how many they are; an entry's number is its place
 *   peer_init, peer_handle, peer_stream_data, peer_stream_close, peer_shutdown
 *
 * The host's table of the ABI that is not spoken is NULL, and so is the request in v2.
 */
#ifndef PEERS_EXPORTS_H
#define PEERS_EXPORTS_H

#include <string.h>

#include "nylon_ring_v1.h"
#include "nylon_ring_v2.h"

static NrStatus peer_init(void *host_ctx, const NrHostVTable *v1, const NrHostVTableV2 *v2);
static NrStatus peer_handle(uint32_t id, uint64_t sid, const NrRequest *request, NrBytes body);
static NrStatus peer_stream_data(uint64_t sid, NrBytes data);
static NrStatus peer_stream_close(uint64_t sid);
static void peer_shutdown(void);

static uint32_t resolve_entry(NrStr entry) {
    for (uint32_t id = 0; id < PEER_ENTRIES; id++) {
        if (strlen(peer_entries[id]) == entry.len && memcmp(peer_entries[id], entry.ptr, entry.len) == 0) {
            return id;
        }
    }
    return NR_ENTRY_UNKNOWN;
}

/* ---- v1 ---- */

static NrStatus init_v1(void *context, void *host_ctx, const NrHostVTable *host) {
    (void)context;
    return peer_init(host_ctx, host, NULL);
}

static NrStatus handle_v1(void *context, NrStr entry, uint64_t sid, const NrRequest *request, NrBytes body) {
    (void)context;
    return peer_handle(resolve_entry(entry), sid, request, body);
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

__attribute__((visibility("default"))) const NrPluginInfo *nylon_ring_get_plugin_v1(void);

const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    static const NrPluginVTable functions = {init_v1, handle_v1, shutdown_v1, stream_data_v1, stream_close_v1};
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V1,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)PEER_NAME, .len = sizeof PEER_NAME - 1},
        .vtable = &functions,
    };
    return &info;
}

/* ---- v2 ---- */

static NrStatus init_v2(void *host_ctx, const NrHostVTableV2 *host) {
    return peer_init(host_ctx, NULL, host);
}

static NrStatus handle_by_id(uint32_t id, uint64_t sid, NrBytes body) {
    return peer_handle(id, sid, NULL, body);
}

static NrStatus handle_v2(NrStr entry, uint64_t sid, NrBytes body) {
    return peer_handle(resolve_entry(entry), sid, NULL, body);
}

__attribute__((visibility("default"))) const NrPluginInfo *nylon_ring_get_plugin(void);

const NrPluginInfo *nylon_ring_get_plugin(void) {
    static const NrPluginVTableV2 functions = {
        init_v2, handle_v2, peer_shutdown, peer_stream_data, peer_stream_close, resolve_entry, handle_by_id,
    };
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V2,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)PEER_NAME, .len = sizeof PEER_NAME - 1},
        .vtable = &functions,
    };
    return &info;
}

#endif /* PEERS_EXPORTS_H */
