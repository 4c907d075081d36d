/*
 * The stub: what a host loads. The same file for every plugin and every Python; build-plugin writes a payload into a
 * copy of it.
 *
 * It exports the ABI's functions, hands out instances, and forwards each call through the core's table. It holds no
 * Python and nothing that a call may still need after `shutdown` has returned: the host may dlclose it then.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "abi/nylon_ring_v1.h"
#include "core_table.h"
#include "find_python.h"
#include "payload.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* ---- the payload's place ---- */

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* Volatile: the writer changes these bytes after the compiler has seen them. */
__attribute__((section(".nylon.ref"), used)) static volatile nrpy_payload_ref payload_ref = {
    .magic = {'n', 'y', 'l', 'o', 'n', '.', 'p', 'a', 'y', 'l', 'o', 'a', 'd', '.', 'v', '1'},
};

/* The one note of this file: build-plugin turns its program header into the payload's segment. */
__attribute__((section(".note.nylon"), used, aligned(4))) static const struct {
    uint32_t name_size, data_size, type;
    char name[8];
    uint32_t data;
} spare_note = {8, 4, 1, "nylon", 0};

static int read_payload(nrpy_payload *payload, char *error, size_t error_size) {
    nrpy_payload_ref ref;
    for (size_t i = 0; i < sizeof ref; i++) {
        ((unsigned char *)&ref)[i] = ((volatile unsigned char *)&payload_ref)[i];
    }
    return nrpy_payload_read(&ref, __ehdr_start, payload, error, error_size);
}

/* ---- instances ---- */

/* Name and version lie in the slot; nylon_ring_py/settings.py holds authors to 64 and 48 bytes. */
enum { SLOTS = 256, SLOT_SIZE = 256, NAME_SIZE = 72, VERSION_SIZE = 56 };

/* Free and ended ones can be taken; one that closes still belongs to its old instance. */
typedef enum { SLOT_FREE, SLOT_NEW, SLOT_STARTING, SLOT_OPEN, SLOT_CLOSING, SLOT_ENDED } slot_state;

/* One instance. `plugin_ctx` is the slot's address with a generation in the top bits, so a stale, foreign or invented
 * pointer is told by comparison and never followed. */
typedef struct slot {
    _Atomic uintptr_t ctx;             /* 0 while free; guarded by slots_lock for writing */
    _Atomic(nrpy_instance *) instance; /* set by init, cleared by shutdown */
    const nrpy_core_table *core;       /* set by init before `instance` */
    _Atomic int state;
    uint32_t generation;
    NrPluginInfo info;
    char name[NAME_SIZE];
    char version[VERSION_SIZE];
} slot;

static_assert(sizeof(slot) <= SLOT_SIZE, "a slot fits its place");

static union {
    slot slot;
    char place[SLOT_SIZE];
} slots[SLOTS];

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned
    next_slot; /* guarded by slots_lock: free slots are taken in turn, so a place rests before it is reused */

#define ADDRESS_BITS 48
#define ADDRESS_MASK (((uintptr_t)1 << ADDRESS_BITS) - 1)

static inline slot *slot_of(void *plugin_ctx) {
    uintptr_t ctx = (uintptr_t)plugin_ctx;
    uintptr_t distance = (ctx & ADDRESS_MASK) - ((uintptr_t)slots & ADDRESS_MASK);
    if (distance >= sizeof slots || distance % SLOT_SIZE != 0) {
        return NULL;
    }
    slot *found = &slots[distance / SLOT_SIZE].slot;
    return atomic_load_explicit(&found->ctx, memory_order_acquire) == ctx ? found : NULL;
}

static inline nrpy_instance *instance_of(void *plugin_ctx, const nrpy_core_table **core) {
    slot *found = slot_of(plugin_ctx);
    if (found == NULL) {
        return NULL;
    }
    nrpy_instance *instance = atomic_load_explicit(&found->instance, memory_order_acquire);
    *core = found->core;
    return instance;
}

static void say(const char *name, const char *text) {
    Dl_info self;
    const char *path = dladdr((void *)(uintptr_t)slots, &self) != 0 && self.dli_fname != NULL ? self.dli_fname : "?";
    fprintf(stderr, "nylon-ring: plugin '%s' (%s) did not start: %s\n", name, path, text);
}

/* ---- ABI v1 ---- */

static NrStatus v1_init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host_vtable) {
    slot *own = slot_of(plugin_ctx);
    int expected = SLOT_NEW;
    if (own == NULL || host_vtable == NULL || host_vtable->send_result == NULL ||
        !atomic_compare_exchange_strong(&own->state, &expected, SLOT_STARTING)) {
        return NR_INVALID;
    }
    char error[3 * NRPY_PATH_MAX];
    error[0] = '\0';
    nrpy_payload payload;
    memset(&payload, 0, sizeof payload);
    nrpy_python *python = malloc(sizeof *python);
    nrpy_instance *instance = NULL;
    NrStatus status = NR_ERR;
    if (python == NULL) {
        snprintf(error, sizeof error, "no memory");
        goto done;
    }
    if (read_payload(&payload, error, sizeof error) != 0 ||
        nrpy_find_python(&payload, python, error, sizeof error) != 0) {
        goto done;
    }
    own->core = nrpy_open_core(python, error, sizeof error);
    if (own->core == NULL) {
        goto done;
    }
    Dl_info self;
    nrpy_open_args args = {
        .struct_size = sizeof args,
        .host = {.ctx = host_ctx, .v1 = host_vtable},
        .origin = dladdr((void *)(uintptr_t)slots, &self) != 0 ? self.dli_fname : own->name,
        .name = own->name,
        .executable = python->executable,
        .prefix = python->prefix,
        .boot = payload.boot,
        .boot_size = payload.boot_size,
        .archive = payload.archive,
        .archive_size = payload.archive_size,
        .error = error,
        .error_size = sizeof error,
    };
    status = own->core->open(&args, &instance);
done:
    if (status == NR_OK) {
        atomic_store_explicit(&own->instance, instance, memory_order_release);
        atomic_store(&own->state, SLOT_OPEN);
    } else {
        atomic_store(&own->state, SLOT_ENDED);
        say(own->name, error);
    }
    nrpy_payload_free(&payload);
    free(python);
    return status;
}

static NrStatus v1_handle(void *plugin_ctx, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload) {
    const nrpy_core_table *core;
    nrpy_instance *instance = instance_of(plugin_ctx, &core);
    return instance != NULL ? core->handle(instance, entry, sid, req, payload) : NR_INVALID;
}

static NrStatus v1_handle_raw(void *plugin_ctx, NrStr entry, uint64_t sid, NrBytes payload) {
    return v1_handle(plugin_ctx, entry, sid, NULL, payload);
}

static NrStatus v1_stream_data(void *plugin_ctx, uint64_t sid, NrBytes data) {
    const nrpy_core_table *core;
    nrpy_instance *instance = instance_of(plugin_ctx, &core);
    return instance != NULL ? core->stream_data(instance, sid, data) : NR_INVALID;
}

static NrStatus v1_stream_close(void *plugin_ctx, uint64_t sid) {
    const nrpy_core_table *core;
    nrpy_instance *instance = instance_of(plugin_ctx, &core);
    return instance != NULL ? core->stream_close(instance, sid) : NR_INVALID;
}

/* Keeps this image mapped for good: a host thread is still below us in a handler that never ended. */
static void pin_image(void) {
    Dl_info self;
    if (dladdr((void *)(uintptr_t)slots, &self) == 0 ||
        dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) == NULL) {
        fprintf(stderr, "nylon-ring: %s cannot be kept mapped while a handler still runs: do not dlclose it\n",
                self.dli_fname != NULL ? self.dli_fname : "the plugin");
    }
}

/* The value is for hosts of the six-function layout, which call this slot as handle_raw: they read a defined status. */
static NrStatus v1_shutdown(void *plugin_ctx) {
    slot *own = slot_of(plugin_ctx);
    if (own == NULL) {
        return NR_UNSUPPORTED;
    }
    int open = SLOT_OPEN;
    if (atomic_compare_exchange_strong(&own->state, &open, SLOT_CLOSING)) {
        /* `instance` stays set while the core closes: calls that arrive meanwhile are answered Err by its gate. */
        nrpy_instance *instance = atomic_load(&own->instance);
        int must_stay = own->core->close(instance);
        atomic_store(&own->instance, NULL);
        atomic_store(&own->state, SLOT_ENDED);
        if (must_stay != 0) {
            pin_image();
        }
    } else if (open == SLOT_NEW) {
        atomic_store(&own->state, SLOT_ENDED);
    }
    return NR_UNSUPPORTED;
}

/* Behind the five functions: where a six-function host looks for its last one. */
static NrStatus v1_absent(void) {
    return NR_UNSUPPORTED;
}

typedef void (*any_function)(void);

static const any_function v1_seed_layout[6] = {
    (any_function)v1_init,        (any_function)v1_handle,       (any_function)v1_shutdown,
    (any_function)v1_stream_data, (any_function)v1_stream_close, (any_function)v1_absent,
};

static const any_function v1_raw_layout[6] = {
    (any_function)v1_init,     (any_function)v1_handle,      (any_function)v1_handle_raw,
    (any_function)v1_shutdown, (any_function)v1_stream_data, (any_function)v1_stream_close,
};

static const void *choose_layout(const char *built_for) {
    const char *forced = getenv("NYLON_RING_V1_LAYOUT");
    if (forced != NULL && strcmp(forced, "seed") != 0 && strcmp(forced, "raw") != 0) {
        fprintf(stderr, "nylon-ring: NYLON_RING_V1_LAYOUT is '%s'; it takes 'seed' or 'raw' and is ignored\n", forced);
        forced = NULL;
    }
    bool raw = forced != NULL ? strcmp(forced, "raw") == 0 : built_for != NULL && strcmp(built_for, "v1-raw") == 0;
    return raw ? v1_raw_layout : v1_seed_layout;
}

static slot *take_slot(void) {
    slot *taken = NULL;
    pthread_mutex_lock(&slots_lock);
    for (unsigned tried = 0; tried < SLOTS && taken == NULL; tried++) {
        slot *candidate = &slots[next_slot++ % SLOTS].slot;
        int state = atomic_load(&candidate->state);
        if (state == SLOT_FREE || state == SLOT_ENDED) {
            atomic_store(&candidate->state, SLOT_NEW);
            candidate->generation++;
            uintptr_t generation = candidate->generation & 0x7fffu;
            atomic_store(&candidate->ctx, (uintptr_t)candidate | generation << ADDRESS_BITS);
            taken = candidate;
        }
    }
    pthread_mutex_unlock(&slots_lock);
    return taken;
}

static NrStr text_of(char *place, size_t size, const char *text) {
    snprintf(place, size, "%s", text);
    return (NrStr){.ptr = (const uint8_t *)place, .len = (uint32_t)strlen(place)};
}

static NrStatus full_init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host_vtable) {
    (void)plugin_ctx;
    (void)host_ctx;
    (void)host_vtable;
    fprintf(stderr, "nylon-ring: %d instances of this file are open already; shut one down first\n", SLOTS);
    return NR_ERR;
}

static const NrPluginInfo *full_info(void) {
    static any_function functions[6];
    static NrPluginInfo info;
    pthread_mutex_lock(&slots_lock);
    memcpy(functions, v1_seed_layout, sizeof functions);
    functions[0] = (any_function)full_init;
    info =
        (NrPluginInfo){.abi_version = NR_ABI_V1, .struct_size = sizeof info, .plugin_ctx = &info, .vtable = functions};
    info.name = (NrStr){.ptr = (const uint8_t *)"full", .len = 4};
    pthread_mutex_unlock(&slots_lock);
    return &info;
}

EXPORT const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    slot *own = take_slot();
    if (own == NULL) {
        return full_info();
    }
    nrpy_payload payload;
    memset(&payload, 0, sizeof payload);
    char error[NRPY_PATH_MAX];
    const char *name = NULL;
    const char *version = NULL;
    const char *layout = NULL;
    /* An unreadable payload is reported by init, which can also say so in its status. */
    if (read_payload(&payload, error, sizeof error) == 0) {
        name = nrpy_payload_get(&payload, "name");
        version = nrpy_payload_get(&payload, "version");
        layout = nrpy_payload_get(&payload, "abi");
    }
    own->info = (NrPluginInfo){
        .abi_version = NR_ABI_V1,
        .struct_size = sizeof(NrPluginInfo),
        .name = text_of(own->name, sizeof own->name, name != NULL ? name : "unreadable"),
        .version = text_of(own->version, sizeof own->version, version != NULL ? version : "0"),
        .plugin_ctx = (void *)atomic_load(&own->ctx),
        .vtable = choose_layout(layout),
    };
    nrpy_payload_free(&payload);
    return &own->info;
}
