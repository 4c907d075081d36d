/* Both exports, and the instances they hand out. Compiled with -DRAW, v1's table has six functions. */
#include <string.h>

#include "native.h"

#define V1_INSTANCES 64u
#define EXPORT __attribute__((visibility("default")))

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; /* guards which instance is given next */

static void join_worker(instance *self) {
    if (self->has_worker) {
        pthread_join(self->worker, NULL);
        self->has_worker = false;
    }
}

/* With slots_lock: makes an unused or ended instance one to hand out. False for one in use. */
static bool take(instance *self, bool v2, const void *vtable) {
    pthread_mutex_lock(&self->lock);
    bool free_now = self->state == UNUSED || (self->state == OVER && self->inside == 0);
    pthread_mutex_unlock(&self->lock);
    if (free_now) {
        join_worker(self); /* one that shut its own instance down, and takes the lock once more */
        pthread_mutex_lock(&self->lock);
        self->state = GIVEN;
        self->drained = false;
        self->endless_ended = 0;
        self->v2 = v2;
        self->info = (NrPluginInfo){
            .abi_version = v2 ? NR_ABI_V2 : NR_ABI_V1,
            .struct_size = sizeof(NrPluginInfo),
            .name = {.ptr = (const uint8_t *)native_name, .len = (uint32_t)strlen(native_name)},
            .version = {.ptr = (const uint8_t *)"1.0.0", .len = 5},
            .plugin_ctx = v2 ? NULL : self,
            .vtable = vtable,
        };
        pthread_mutex_unlock(&self->lock);
    }
    return free_now;
}

/* In turn, so that an ended instance's place is used again as late as can be. */
static instance *take_any(instance *instances, size_t count, size_t *turn, bool v2, const void *vtables[]) {
    instance *taken = NULL;
    pthread_mutex_lock(&slots_lock);
    for (size_t i = 0; i < count && taken == NULL; i++) {
        size_t place = (*turn + i) % count;
        if (take(&instances[place], v2, v2 ? vtables[place] : vtables[0])) {
            taken = &instances[place];
            *turn = place + 1;
        }
    }
    pthread_mutex_unlock(&slots_lock);
    return taken;
}

/* ---- ABI v1: the instance is found by plugin_ctx ---- */

static instance v1_instances[V1_INSTANCES];

static instance *instance_of(const void *plugin_ctx) {
    uintptr_t offset = (uintptr_t)plugin_ctx - (uintptr_t)v1_instances;
    bool ours = offset < sizeof v1_instances && offset % sizeof(instance) == 0;
    return ours ? &v1_instances[offset / sizeof(instance)] : NULL;
}

static NrStatus v1_init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host) {
    instance *self = instance_of(plugin_ctx);
    return self != NULL ? native_init(self, host_ctx, host) : NR_INVALID;
}

static NrStatus v1_handle(void *plugin_ctx, NrStr name, uint64_t sid, const NrRequest *request, NrBytes payload) {
    return native_handle(instance_of(plugin_ctx), native_resolve(name), sid, request, payload);
}

static void v1_shutdown(void *plugin_ctx) {
    native_shutdown(instance_of(plugin_ctx));
}

static NrStatus v1_stream_data(void *plugin_ctx, uint64_t sid, NrBytes data) {
    return native_enter_stream_data(instance_of(plugin_ctx), sid, data);
}

static NrStatus v1_stream_close(void *plugin_ctx, uint64_t sid) {
    return native_enter_stream_close(instance_of(plugin_ctx), sid);
}

#ifdef RAW
static NrStatus v1_handle_raw(void *plugin_ctx, NrStr name, uint64_t sid, NrBytes payload) {
    return native_handle(instance_of(plugin_ctx), native_resolve(name), sid, NULL, payload);
}

static const NrPluginVTableRaw v1_vtable = {v1_init,     v1_handle,      v1_handle_raw,
                                            v1_shutdown, v1_stream_data, v1_stream_close};
#else
static const NrPluginVTable v1_vtable = {v1_init, v1_handle, v1_shutdown, v1_stream_data, v1_stream_close};
#endif

EXPORT const NrPluginInfo *nylon_ring_get_plugin_v1(void);

/* With none free: an info whose init finds no instance. */
const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    static const NrPluginInfo full = {.abi_version = NR_ABI_V1, .struct_size = sizeof full, .vtable = &v1_vtable};
    static const void *vtables[] = {&v1_vtable};
    static size_t turn;
    const instance *taken = take_any(v1_instances, V1_INSTANCES, &turn, false, vtables);
    return taken != NULL ? &taken->info : &full;
}

/* ---- ABI v2: no plugin_ctx, so each instance has functions of its own ---- */

#define SLOTS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define V2_INSTANCES 16u

static instance v2_instances[V2_INSTANCES];

static NrStatus v2_handle(instance *self, NrStr name, uint64_t sid, NrBytes payload) {
    return native_handle(self, native_resolve(name), sid, NULL, payload);
}

/* For when no slot is free. A failed init is followed by nothing, but nothing keeps a host to that. */
static NrStatus init_none(void *host_ctx, const NrHostVTableV2 *host) {
    (void)host_ctx;
    (void)host;
    return NR_ERR;
}

static NrStatus handle_none(NrStr name, uint64_t sid, NrBytes payload) {
    return v2_handle(NULL, name, sid, payload);
}

static void shutdown_none(void) {
}

#define SLOT(n)                                                                                                        \
    static NrStatus init_##n(void *host_ctx, const NrHostVTableV2 *host) {                                             \
        return native_init(&v2_instances[n], host_ctx, host);                                                          \
    }                                                                                                                  \
    static NrStatus handle_##n(NrStr name, uint64_t sid, NrBytes payload) {                                            \
        return v2_handle(&v2_instances[n], name, sid, payload);                                                        \
    }                                                                                                                  \
    static void shutdown_##n(void) {                                                                                   \
        native_shutdown(&v2_instances[n]);                                                                             \
    }                                                                                                                  \
    static NrStatus stream_data_##n(uint64_t sid, NrBytes data) {                                                      \
        return native_enter_stream_data(&v2_instances[n], sid, data);                                                  \
    }                                                                                                                  \
    static NrStatus stream_close_##n(uint64_t sid) {                                                                   \
        return native_enter_stream_close(&v2_instances[n], sid);                                                       \
    }                                                                                                                  \
    static NrStatus handle_by_id_##n(uint32_t id, uint64_t sid, NrBytes payload) {                                     \
        return native_handle(&v2_instances[n], id, sid, NULL, payload);                                                \
    }                                                                                                                  \
    static const NrPluginVTableV2 v2_vtable_##n = {init_##n,         handle_##n,     shutdown_##n,    stream_data_##n, \
                                                   stream_close_##n, native_resolve, handle_by_id_##n};
SLOTS(SLOT)

EXPORT const NrPluginInfo *nylon_ring_get_plugin(void);

const NrPluginInfo *nylon_ring_get_plugin(void) {
#define VTABLE(n) &v2_vtable_##n,
    static const void *vtables[] = {SLOTS(VTABLE)};
    static const NrPluginVTableV2 no_slot = {.init = init_none, .handle = handle_none, .shutdown = shutdown_none};
    static const NrPluginInfo full = {.abi_version = NR_ABI_V2, .struct_size = sizeof full, .vtable = &no_slot};
    static size_t turn;
    const instance *taken = take_any(v2_instances, V2_INSTANCES, &turn, true, vtables);
    return taken != NULL ? &taken->info : &full;
}

static void for_all(void (*act)(instance *self)) {
    for (size_t i = 0; i < V1_INSTANCES; i++) {
        act(&v1_instances[i]);
    }
    for (size_t i = 0; i < V2_INSTANCES; i++) {
        act(&v2_instances[i]);
    }
}

static void make_locks(instance *self) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&self->lock, NULL);
}

__attribute__((constructor)) static void begin(void) {
    for_all(make_locks);
}

/* With the process, or with the file: where an instance was never shut down its worker ends with the process. */
static void join_ended(instance *self) {
    pthread_mutex_lock(&self->lock);
    bool ended = self->state == OVER;
    pthread_mutex_unlock(&self->lock);
    if (ended) {
        join_worker(self);
    }
}

/* A worker that shut its own instance down may still be on its way out. */
__attribute__((destructor)) static void end(void) {
    for_all(join_ended);
}
