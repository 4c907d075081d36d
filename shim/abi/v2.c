#include "v2.h"

#include "instances.h"

enum { SLOTS = 64 };

static nrpy_slot_place places[SLOTS];
static nrpy_slot_table table = {.places = places, .count = SLOTS};

/* ---- what the functions of every set do ---- */

static NrStatus start(unsigned set, void *host_ctx, const NrHostVTableV2 *host_vtable) {
    if (host_vtable == NULL || host_vtable->send_result == NULL) {
        return NR_INVALID;
    }
    return nrpy_slot_start(&places[set].slot, &(nrpy_host){.ctx = host_ctx, .v2 = *host_vtable});
}

static inline NrStatus forward_handle(unsigned set, NrStr entry, uint64_t sid, NrBytes payload) {
    const nrpy_core_table *core;
    nrpy_instance *instance = nrpy_slot_instance(&places[set].slot, &core);
    return instance != NULL ? core->handle(instance, entry, sid, NULL, payload) : NR_INVALID;
}

static inline NrStatus forward_handle_by_id(unsigned set, uint32_t id, uint64_t sid, NrBytes payload) {
    const nrpy_core_table *core;
    nrpy_instance *instance = nrpy_slot_instance(&places[set].slot, &core);
    return instance != NULL ? core->handle_by_id(instance, id, sid, payload) : NR_INVALID;
}

static uint32_t forward_resolve_entry(unsigned set, NrStr entry) {
    const nrpy_core_table *core;
    nrpy_instance *instance = nrpy_slot_instance(&places[set].slot, &core);
    return instance != NULL ? core->resolve_entry(instance, entry) : NR_ENTRY_UNKNOWN;
}

static NrStatus forward_stream_data(unsigned set, uint64_t sid, NrBytes data) {
    const nrpy_core_table *core;
    nrpy_instance *instance = nrpy_slot_instance(&places[set].slot, &core);
    return instance != NULL ? core->stream_data(instance, sid, data) : NR_INVALID;
}

static NrStatus forward_stream_close(unsigned set, uint64_t sid) {
    const nrpy_core_table *core;
    nrpy_instance *instance = nrpy_slot_instance(&places[set].slot, &core);
    return instance != NULL ? core->stream_close(instance, sid) : NR_INVALID;
}

/* ---- the sets ---- */

/* Applies X to the numbers of all sets: two octal digits. */
#define EIGHT(X, high)                                                                                                 \
    X(0##high##0)                                                                                                      \
    X(0##high##1)                                                                                                      \
    X(0##high##2) X(0##high##3) X(0##high##4) X(0##high##5) X(0##high##6) X(0##high##7)
#define ALL_SETS(X) EIGHT(X, 0) EIGHT(X, 1) EIGHT(X, 2) EIGHT(X, 3) EIGHT(X, 4) EIGHT(X, 5) EIGHT(X, 6) EIGHT(X, 7)

#define DEFINE_SET(set)                                                                                                \
    static NrStatus init_##set(void *host_ctx, const NrHostVTableV2 *host_vtable) {                                    \
        return start(set, host_ctx, host_vtable);                                                                      \
    }                                                                                                                  \
    static NrStatus handle_##set(NrStr entry, uint64_t sid, NrBytes payload) {                                         \
        return forward_handle(set, entry, sid, payload);                                                               \
    }                                                                                                                  \
    static void shutdown_##set(void) {                                                                                 \
        nrpy_slot_stop(&places[set].slot);                                                                             \
    }                                                                                                                  \
    static NrStatus stream_data_##set(uint64_t sid, NrBytes data) {                                                    \
        return forward_stream_data(set, sid, data);                                                                    \
    }                                                                                                                  \
    static NrStatus stream_close_##set(uint64_t sid) {                                                                 \
        return forward_stream_close(set, sid);                                                                         \
    }                                                                                                                  \
    static uint32_t resolve_entry_##set(NrStr entry) {                                                                 \
        return forward_resolve_entry(set, entry);                                                                      \
    }                                                                                                                  \
    static NrStatus handle_by_id_##set(uint32_t id, uint64_t sid, NrBytes payload) {                                   \
        return forward_handle_by_id(set, id, sid, payload);                                                            \
    }

ALL_SETS(DEFINE_SET)

#define TABLE_OF_SET(set)                                                                                              \
    {init_##set,         handle_##set,        shutdown_##set,    stream_data_##set,                                    \
     stream_close_##set, resolve_entry_##set, handle_by_id_##set},

static const NrPluginVTableV2 functions[] = {ALL_SETS(TABLE_OF_SET)};

static_assert(sizeof functions / sizeof functions[0] == SLOTS, "a set of functions for each slot");

/* ---- none free ---- */

static NrStatus full_init(void *host_ctx, const NrHostVTableV2 *host_vtable) {
    (void)host_ctx;
    (void)host_vtable;
    nrpy_say_full(SLOTS);
    return NR_ERR;
}

static NrStatus full_handle(NrStr entry, uint64_t sid, NrBytes payload) {
    (void)entry;
    (void)sid;
    (void)payload;
    return NR_INVALID;
}

static void full_shutdown(void) {
}

static NrStatus full_stream_data(uint64_t sid, NrBytes data) {
    (void)sid;
    (void)data;
    return NR_INVALID;
}

static NrStatus full_stream_close(uint64_t sid) {
    (void)sid;
    return NR_INVALID;
}

static uint32_t full_resolve_entry(NrStr entry) {
    (void)entry;
    return NR_ENTRY_UNKNOWN;
}

static NrStatus full_handle_by_id(uint32_t id, uint64_t sid, NrBytes payload) {
    (void)id;
    (void)sid;
    (void)payload;
    return NR_INVALID;
}

/* Hosts look for every function before they call init. */
static const NrPluginInfo *full_info(void) {
    static const NrPluginVTableV2 refusing = {
        full_init,         full_handle,        full_shutdown,     full_stream_data,
        full_stream_close, full_resolve_entry, full_handle_by_id,
    };
    static const NrPluginInfo info = {
        .abi_version = NR_ABI_V2,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)"full", .len = 4},
        .vtable = &refusing,
    };
    return &info;
}

const NrPluginInfo *nrpy_v2_get_plugin(void) {
    nrpy_slot *own = nrpy_slot_take(&table);
    if (own == NULL) {
        return full_info();
    }
    own->info.abi_version = NR_ABI_V2;
    own->info.vtable = &functions[(nrpy_slot_place *)(void *)own - places];
    return &own->info;
}

void nrpy_v2_leave(void) {
    nrpy_slots_abandon(&table);
}
