#include "v1.h"

#include "instances.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 256 };

static nrpy_slot_place places[SLOTS];
static nrpy_slot_table table = {.places = places, .count = SLOTS};

#define ADDRESS_MASK (((uintptr_t)1 << NRPY_ADDRESS_BITS) - 1)

/* A stale, foreign or invented pointer is told by comparison and never followed. */
static inline nrpy_slot *slot_of(void *plugin_ctx) {
    uintptr_t ctx = (uintptr_t)plugin_ctx;
    uintptr_t distance = (ctx & ADDRESS_MASK) - ((uintptr_t)places & ADDRESS_MASK);
    if (distance >= sizeof places || distance % NRPY_SLOT_SIZE != 0) {
        return NULL;
    }
    nrpy_slot *found = &places[distance / NRPY_SLOT_SIZE].slot;
    return atomic_load_explicit(&found->ctx, memory_order_acquire) == ctx ? found : NULL;
}

static inline nrpy_instance *instance_of(void *plugin_ctx, const nrpy_core_table **core) {
    nrpy_slot *found = slot_of(plugin_ctx);
    return found != NULL ? nrpy_slot_instance(found, core) : NULL;
}

NrStatus nrpy_v1_init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host_vtable) {
    nrpy_slot *own = slot_of(plugin_ctx);
    if (own == NULL || host_vtable == NULL || host_vtable->send_result == NULL) {
        return NR_INVALID;
    }
    return nrpy_slot_start(own, &(nrpy_host){.ctx = host_ctx, .v1 = *host_vtable});
}

NrStatus nrpy_v1_handle(void *plugin_ctx, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload) {
    const nrpy_core_table *core;
    nrpy_instance *instance = instance_of(plugin_ctx, &core);
    return instance != NULL ? core->handle(instance, entry, sid, req, payload) : NR_INVALID;
}

NrStatus nrpy_v1_stream_data(void *plugin_ctx, uint64_t sid, NrBytes data) {
    const nrpy_core_table *core;
    nrpy_instance *instance = instance_of(plugin_ctx, &core);
    return instance != NULL ? core->stream_data(instance, sid, data) : NR_INVALID;
}

NrStatus nrpy_v1_stream_close(void *plugin_ctx, uint64_t sid) {
    const nrpy_core_table *core;
    nrpy_instance *instance = instance_of(plugin_ctx, &core);
    return instance != NULL ? core->stream_close(instance, sid) : NR_INVALID;
}

NrStatus nrpy_v1_shutdown(void *plugin_ctx) {
    nrpy_slot *own = slot_of(plugin_ctx);
    if (own != NULL) {
        nrpy_slot_stop(own);
    }
    return NR_UNSUPPORTED;
}

/* Behind the five functions: where a six-function host looks for its last one. */
static NrStatus absent(void) {
    return NR_UNSUPPORTED;
}

typedef void (*any_function)(void);

static const any_function seed_layout[6] = {
    (any_function)nrpy_v1_init,        (any_function)nrpy_v1_handle,       (any_function)nrpy_v1_shutdown,
    (any_function)nrpy_v1_stream_data, (any_function)nrpy_v1_stream_close, (any_function)absent,
};

static const void *choose_layout(bool is_raw) {
    const char *forced = getenv("NYLON_RING_V1_LAYOUT");
    if (forced != NULL && strcmp(forced, "raw") == 0) {
        return &nrpy_v1_raw_layout;
    }
    if (forced != NULL && strcmp(forced, "seed") == 0) {
        return seed_layout;
    }
    if (forced != NULL) {
        fprintf(stderr, "nylon-ring: NYLON_RING_V1_LAYOUT is '%s'; it takes 'seed' or 'raw' and is ignored\n", forced);
    }
    return is_raw ? (const void *)&nrpy_v1_raw_layout : seed_layout;
}

/* ---- none free ---- */

static NrStatus full_init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host_vtable) {
    (void)plugin_ctx;
    (void)host_ctx;
    (void)host_vtable;
    nrpy_say_full(SLOTS);
    return NR_ERR;
}

/* Its plugin_ctx is no slot, so the other functions answer Invalid. */
static const NrPluginInfo *full_info(void) {
    static const any_function functions[6] = {
        (any_function)full_init,           (any_function)nrpy_v1_handle,       (any_function)nrpy_v1_shutdown,
        (any_function)nrpy_v1_stream_data, (any_function)nrpy_v1_stream_close, (any_function)absent,
    };
    static NrPluginInfo info = {
        .abi_version = NR_ABI_V1,
        .struct_size = sizeof info,
        .name = {.ptr = (const uint8_t *)"full", .len = 4},
        .plugin_ctx = &info,
        .vtable = functions,
    };
    return &info;
}

const NrPluginInfo *nrpy_v1_get_plugin(void) {
    nrpy_slot *own = nrpy_slot_take(&table);
    if (own == NULL) {
        return full_info();
    }
    own->info.abi_version = NR_ABI_V1;
    own->info.plugin_ctx = (void *)atomic_load(&own->ctx);
    own->info.vtable = choose_layout(own->is_raw);
    return &own->info;
}

void nrpy_v1_leave(void) {
    nrpy_slots_abandon(&table);
}
