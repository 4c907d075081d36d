/*
 * nylon-ring ABI v2: the binary contract of the crates nylon-ring and nylon-ring-host 0.2.
 *
 * A plugin exports `nylon_ring_get_plugin`. No function is given a plugin_ctx, so each instance needs functions of its
 * own. There is no request: a call has an entry, a sid and bytes. Views are borrowed as in v1, whose types these are.
 */
#ifndef NYLON_RING_V2_H
#define NYLON_RING_V2_H

#include "nylon_ring_v1.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NR_ABI_V2 2u
#define NR_GET_PLUGIN_V2_SYMBOL "nylon_ring_get_plugin"
#define NR_ENTRY_UNKNOWN UINT32_MAX

/* Beside those of v1. A plugin never sends them; a host answers Backpressure for a frame it did not take. */
enum {
    NR_PANIC = 5,
    NR_BACKPRESSURE = 6,
};

/* A reply's bytes. With owned 0 they are borrowed: the host copies before send_result returns. */
typedef struct NrVecU8 {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    uint8_t owned;
    uint8_t reserved[7];
    void (*drop_fn)(uint8_t *ptr, size_t len, size_t cap); /* called once where owned is 1 */
} NrVecU8;

/* A reply's bytes in the plugin's memory. The host calls release exactly once, from any thread, inside the call or long
 * after, and also for bytes it refused. */
typedef struct NrOwnedBytes {
    const uint8_t *ptr;
    uint64_t len;
    void *owner_ctx;
    void (*release)(void *owner_ctx, const uint8_t *ptr, uint64_t len);
} NrOwnedBytes;

/* Memory of the host's to write a reply into. A null ptr: refused, answer another way. */
typedef struct NrBufferLease {
    uint8_t *ptr;
    uint64_t cap;
    uint64_t token;
} NrBufferLease;

/*
 * What the host offers. Ok: delivered. Invalid: the sid is gone on the host's side, nothing more is wanted for it.
 * Backpressure: not taken, try again. Any thread may call.
 */
typedef struct NrHostVTableV2 {
    NrStatus (*send_result)(void *host_ctx, uint64_t sid, NrStatus status, NrVecU8 payload);
    NrStatus (*send_result_owned)(void *host_ctx, uint64_t sid, NrStatus status, NrOwnedBytes payload);
    NrBufferLease (*acquire_result_buffer)(void *host_ctx, uint64_t sid, uint64_t capacity);
    NrStatus (*commit_result_buffer)(void *host_ctx, uint64_t sid, NrStatus status, uint64_t token,
                                     uint64_t initialized_len);
} NrHostVTableV2;

typedef NrStatus (*NrInitFnV2)(void *host_ctx, const NrHostVTableV2 *host_vtable);
typedef NrStatus (*NrHandleFnV2)(NrStr entry, uint64_t sid, NrBytes payload);
typedef void (*NrShutdownFnV2)(void);
typedef NrStatus (*NrStreamDataFnV2)(uint64_t sid, NrBytes data);
typedef NrStatus (*NrStreamCloseFnV2)(uint64_t sid);
typedef uint32_t (*NrResolveEntryFn)(NrStr entry);
typedef NrStatus (*NrHandleByIdFn)(uint32_t id, uint64_t sid, NrBytes payload);

/* The last two are both set or both NULL. */
typedef struct NrPluginVTableV2 {
    NrInitFnV2 init;
    NrHandleFnV2 handle;
    NrShutdownFnV2 shutdown;
    NrStreamDataFnV2 stream_data;
    NrStreamCloseFnV2 stream_close;
    NrResolveEntryFn resolve_entry; /* NR_ENTRY_UNKNOWN, or an id that stays valid while the instance lives */
    NrHandleByIdFn handle_by_id;
} NrPluginVTableV2;

#define NR_PIN_SIZE(type, size) static_assert(sizeof(type) == (size), "size of " #type)
#define NR_PIN_OFFSET(type, field, offset)                                                                             \
    static_assert(offsetof(type, field) == (offset), "offset of " #type "." #field)

NR_PIN_SIZE(size_t, 8);

NR_PIN_SIZE(NrVecU8, 40);
NR_PIN_OFFSET(NrVecU8, ptr, 0);
NR_PIN_OFFSET(NrVecU8, len, 8);
NR_PIN_OFFSET(NrVecU8, cap, 16);
NR_PIN_OFFSET(NrVecU8, owned, 24);
NR_PIN_OFFSET(NrVecU8, reserved, 25);
NR_PIN_OFFSET(NrVecU8, drop_fn, 32);

NR_PIN_SIZE(NrOwnedBytes, 32);
NR_PIN_OFFSET(NrOwnedBytes, ptr, 0);
NR_PIN_OFFSET(NrOwnedBytes, len, 8);
NR_PIN_OFFSET(NrOwnedBytes, owner_ctx, 16);
NR_PIN_OFFSET(NrOwnedBytes, release, 24);

NR_PIN_SIZE(NrBufferLease, 24);
NR_PIN_OFFSET(NrBufferLease, ptr, 0);
NR_PIN_OFFSET(NrBufferLease, cap, 8);
NR_PIN_OFFSET(NrBufferLease, token, 16);

NR_PIN_SIZE(NrHostVTableV2, 32);
NR_PIN_OFFSET(NrHostVTableV2, send_result, 0);
NR_PIN_OFFSET(NrHostVTableV2, send_result_owned, 8);
NR_PIN_OFFSET(NrHostVTableV2, acquire_result_buffer, 16);
NR_PIN_OFFSET(NrHostVTableV2, commit_result_buffer, 24);

NR_PIN_SIZE(NrPluginVTableV2, 56);
NR_PIN_OFFSET(NrPluginVTableV2, init, 0);
NR_PIN_OFFSET(NrPluginVTableV2, handle, 8);
NR_PIN_OFFSET(NrPluginVTableV2, shutdown, 16);
NR_PIN_OFFSET(NrPluginVTableV2, stream_data, 24);
NR_PIN_OFFSET(NrPluginVTableV2, stream_close, 32);
NR_PIN_OFFSET(NrPluginVTableV2, resolve_entry, 40);
NR_PIN_OFFSET(NrPluginVTableV2, handle_by_id, 48);

#undef NR_PIN_SIZE
#undef NR_PIN_OFFSET

#ifdef __cplusplus
}
#endif

#endif /* NYLON_RING_V2_H */
