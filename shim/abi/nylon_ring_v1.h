/*
 * nylon-ring ABI v1: the types and tables a host and a plugin exchange.
 *
 * Layouts are 64-bit little-endian C. Every size and offset is pinned below: a compiler that lays a
 * type out differently refuses this header instead of building a plugin that corrupts its host.
 *
 * NrStr and NrBytes are views: valid until the call that passed them returns. A length of 0 is empty
 * whatever the pointer is.
 */
#ifndef NYLON_RING_V1_H
#define NYLON_RING_V1_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NR_ABI_V1 1u
#define NR_GET_PLUGIN_V1_SYMBOL "nylon_ring_get_plugin_v1"
#define NR_HOST_EXT_SYMBOL "nylon_ring_host_ext"

/* The ABI passes a status as u32; an enum type would leave its width to the compiler. */
typedef uint32_t NrStatus;
enum {
    NR_OK = 0,
    NR_ERR = 1,
    NR_INVALID = 2,
    NR_UNSUPPORTED = 3,
    NR_STREAM_END = 4,
};

typedef struct NrStr {
    const uint8_t *ptr;
    uint32_t len;
    uint32_t reserved; /* padding in Rust's layout: write 0, never read */
} NrStr;

typedef struct NrBytes {
    const uint8_t *ptr;
    uint64_t len;
} NrBytes;

typedef struct NrHeader {
    NrStr key;
    NrStr value;
} NrHeader;

typedef struct NrRequest {
    NrStr path;
    NrStr method;
    NrStr query;
    const NrHeader *headers;
    uint32_t headers_len;
    uint32_t reserved0;
    uint64_t reserved1;
} NrRequest;

/* What the host offers to the plugin. Any thread may call; the host copies before it returns. */
typedef struct NrHostVTable {
    void (*send_result)(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload);
} NrHostVTable;

/*
 * State per sid, kept by the host. set_state answers an empty view when all went well; get_state answers
 * an empty view where there is no value, and what it points to must be copied at once.
 */
typedef struct NrHostExt {
    NrBytes (*set_state)(void *host_ctx, uint64_t sid, NrStr key, NrBytes value);
    NrBytes (*get_state)(void *host_ctx, uint64_t sid, NrStr key);
} NrHostExt;

/* Exported by a host process that offers state; NULL for a context that is not its own. */
typedef const NrHostExt *(*NrHostExtFn)(void *host_ctx);

typedef NrStatus (*NrInitFn)(void *plugin_ctx, void *host_ctx, const NrHostVTable *host_vtable);
typedef NrStatus (*NrHandleFn)(void *plugin_ctx, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload);
typedef NrStatus (*NrHandleRawFn)(void *plugin_ctx, NrStr entry, uint64_t sid, NrBytes payload);
typedef void (*NrShutdownFn)(void *plugin_ctx);
typedef NrStatus (*NrStreamDataFn)(void *plugin_ctx, uint64_t sid, NrBytes data);
typedef NrStatus (*NrStreamCloseFn)(void *plugin_ctx, uint64_t sid);

/* "v1": five functions. Hosts that know only the first three find them in the same places. */
typedef struct NrPluginVTable {
    NrInitFn init;
    NrHandleFn handle;
    NrShutdownFn shutdown;
    NrStreamDataFn stream_data;
    NrStreamCloseFn stream_close;
} NrPluginVTable;

/* "v1-raw": six functions. Nothing at run time tells the two layouts apart. */
typedef struct NrPluginVTableRaw {
    NrInitFn init;
    NrHandleFn handle;
    NrHandleRawFn handle_raw;
    NrShutdownFn shutdown;
    NrStreamDataFn stream_data;
    NrStreamCloseFn stream_close;
} NrPluginVTableRaw;

typedef struct NrPluginInfo {
    uint32_t abi_version;
    uint32_t struct_size;
    NrStr name;
    NrStr version;
    void *plugin_ctx;
    const void *vtable; /* NrPluginVTable or NrPluginVTableRaw */
} NrPluginInfo;

typedef const NrPluginInfo *(*NrGetPluginFn)(void);

#define NR_PIN_SIZE(type, size) static_assert(sizeof(type) == (size), "size of " #type)
#define NR_PIN_OFFSET(type, field, offset)                                                                             \
    static_assert(offsetof(type, field) == (offset), "offset of " #type "." #field)

NR_PIN_SIZE(void *, 8);
NR_PIN_SIZE(NrStatus, 4);

NR_PIN_SIZE(NrStr, 16);
NR_PIN_OFFSET(NrStr, ptr, 0);
NR_PIN_OFFSET(NrStr, len, 8);
NR_PIN_OFFSET(NrStr, reserved, 12);

NR_PIN_SIZE(NrBytes, 16);
NR_PIN_OFFSET(NrBytes, ptr, 0);
NR_PIN_OFFSET(NrBytes, len, 8);

NR_PIN_SIZE(NrHeader, 32);
NR_PIN_OFFSET(NrHeader, key, 0);
NR_PIN_OFFSET(NrHeader, value, 16);

NR_PIN_SIZE(NrRequest, 72);
NR_PIN_OFFSET(NrRequest, path, 0);
NR_PIN_OFFSET(NrRequest, method, 16);
NR_PIN_OFFSET(NrRequest, query, 32);
NR_PIN_OFFSET(NrRequest, headers, 48);
NR_PIN_OFFSET(NrRequest, headers_len, 56);
NR_PIN_OFFSET(NrRequest, reserved0, 60);
NR_PIN_OFFSET(NrRequest, reserved1, 64);

NR_PIN_SIZE(NrHostVTable, 8);
NR_PIN_OFFSET(NrHostVTable, send_result, 0);

NR_PIN_SIZE(NrHostExt, 16);
NR_PIN_OFFSET(NrHostExt, set_state, 0);
NR_PIN_OFFSET(NrHostExt, get_state, 8);

NR_PIN_SIZE(NrPluginVTable, 40);
NR_PIN_OFFSET(NrPluginVTable, init, 0);
NR_PIN_OFFSET(NrPluginVTable, handle, 8);
NR_PIN_OFFSET(NrPluginVTable, shutdown, 16);
NR_PIN_OFFSET(NrPluginVTable, stream_data, 24);
NR_PIN_OFFSET(NrPluginVTable, stream_close, 32);

NR_PIN_SIZE(NrPluginVTableRaw, 48);
NR_PIN_OFFSET(NrPluginVTableRaw, init, 0);
NR_PIN_OFFSET(NrPluginVTableRaw, handle, 8);
NR_PIN_OFFSET(NrPluginVTableRaw, handle_raw, 16);
NR_PIN_OFFSET(NrPluginVTableRaw, shutdown, 24);
NR_PIN_OFFSET(NrPluginVTableRaw, stream_data, 32);
NR_PIN_OFFSET(NrPluginVTableRaw, stream_close, 40);

NR_PIN_SIZE(NrPluginInfo, 56);
NR_PIN_OFFSET(NrPluginInfo, abi_version, 0);
NR_PIN_OFFSET(NrPluginInfo, struct_size, 4);
NR_PIN_OFFSET(NrPluginInfo, name, 8);
NR_PIN_OFFSET(NrPluginInfo, version, 24);
NR_PIN_OFFSET(NrPluginInfo, plugin_ctx, 40);
NR_PIN_OFFSET(NrPluginInfo, vtable, 48);

#undef NR_PIN_SIZE
#undef NR_PIN_OFFSET

#ifdef __cplusplus
}
#endif

#endif /* NYLON_RING_V1_H */
