#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "instances.h"

#include "find_python.h"
#include "payload.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    memset(payload, 0, sizeof *payload);
    return nrpy_payload_read(&ref, __ehdr_start, payload, error, error_size);
}

/* This file as the dynamic loader knows it. */
static const char *own_path(void) {
    Dl_info self;
    return dladdr(__ehdr_start, &self) != 0 && self.dli_fname != NULL ? self.dli_fname : "?";
}

/* ---- taking ---- */

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t takings; /* guarded by slots_lock */

/* The lock is held. */
static nrpy_slot *find_free(nrpy_slot_table *table) {
    for (unsigned tried = 0; tried < table->count; tried++) {
        nrpy_slot *slot = &table->places[table->next++ % table->count].slot;
        int state = atomic_load(&slot->state);
        if (state == NRPY_SLOT_FREE || state == NRPY_SLOT_ENDED) {
            return slot;
        }
    }
    return NULL;
}

/* The lock is held. A host that only looked at the info never comes back for its slot. */
static nrpy_slot *find_abandoned(nrpy_slot_table *table) {
    nrpy_slot *oldest = NULL;
    for (unsigned i = 0; i < table->count; i++) {
        nrpy_slot *slot = &table->places[i].slot;
        if (atomic_load(&slot->state) == NRPY_SLOT_NEW && (oldest == NULL || slot->taken_at < oldest->taken_at)) {
            oldest = slot;
        }
    }
    int state = NRPY_SLOT_NEW;
    return oldest != NULL && atomic_compare_exchange_strong(&oldest->state, &state, NRPY_SLOT_ENDED) ? oldest : NULL;
}

static NrStr text_of(char *place, size_t size, const char *text) {
    snprintf(place, size, "%s", text);
    return (NrStr){.ptr = (const uint8_t *)place, .len = (uint32_t)strlen(place)};
}

/* An unreadable payload is reported by init, which can also say so in its status. */
static void describe(nrpy_slot *slot) {
    nrpy_payload payload;
    char error[NRPY_PATH_MAX];
    const char *name = NULL;
    const char *version = NULL;
    const char *abi = NULL;
    if (read_payload(&payload, error, sizeof error) == 0) {
        name = nrpy_payload_get(&payload, "name");
        version = nrpy_payload_get(&payload, "version");
        abi = nrpy_payload_get(&payload, "abi");
    }
    slot->is_raw = abi != NULL && strcmp(abi, "v1-raw") == 0;
    slot->info = (NrPluginInfo){
        .struct_size = sizeof(NrPluginInfo),
        .name = text_of(slot->name, sizeof slot->name, name != NULL ? name : "unreadable"),
        .version = text_of(slot->version, sizeof slot->version, version != NULL ? version : "0"),
    };
    nrpy_payload_free(&payload);
}

nrpy_slot *nrpy_slot_take(nrpy_slot_table *table) {
    pthread_mutex_lock(&slots_lock);
    nrpy_slot *taken = find_free(table);
    if (taken == NULL) {
        taken = find_abandoned(table);
    }
    if (taken != NULL) {
        uintptr_t generation = ++taken->generation & 0x7fffu;
        atomic_store(&taken->ctx, (uintptr_t)taken | generation << NRPY_ADDRESS_BITS);
        taken->taken_at = ++takings;
        atomic_store(&taken->state, NRPY_SLOT_NEW);
    }
    pthread_mutex_unlock(&slots_lock);
    if (taken != NULL) {
        describe(taken);
    }
    return taken;
}

void nrpy_say_full(unsigned count) {
    fprintf(stderr, "nylon-ring: %s: %u instances of this file are open already; shut one down first\n", own_path(),
            count);
}

/* ---- init ---- */

/* A file that nobody signed is refused before its boot record leads anywhere. Whether a signature is right the core
 * asks, which has a library for it. */
static int check_signed(const nrpy_payload *payload, char *error, size_t error_size) {
    if (getenv(NRPY_TRUSTED_KEYS) == NULL || nrpy_payload_is_signed(payload)) {
        return 0;
    }
    snprintf(error, error_size,
             "it is not signed, and " NRPY_TRUSTED_KEYS " is set: build it with --sign KEYFILE, or unset the variable");
    return -1;
}

static NrStatus open_instance(nrpy_slot *slot, const nrpy_host *host, nrpy_payload *payload, nrpy_python *python,
                              char *error, size_t error_size) {
    if (read_payload(payload, error, error_size) != 0 || check_signed(payload, error, error_size) != 0 ||
        nrpy_find_python(payload, python, error, error_size) != 0) {
        return NR_ERR;
    }
    slot->core = nrpy_open_core(python, error, error_size);
    if (slot->core == NULL) {
        return NR_ERR;
    }
    nrpy_open_args args = {
        .struct_size = sizeof args,
        .host = *host,
        .origin = own_path(),
        .name = slot->name,
        .executable = python->executable,
        .prefix = python->prefix,
        .boot = payload->boot,
        .boot_size = payload->boot_size,
        .archive = payload->archive,
        .archive_size = payload->archive_size,
        .error = error,
        .error_size = error_size,
        .payload_sha256 = payload->sha256,
        .signature = payload->signature,
        .signature_size = sizeof *payload->signature,
    };
    nrpy_instance *instance = NULL;
    NrStatus status = slot->core->open(&args, &instance);
    if (status == NR_OK) {
        atomic_store_explicit(&slot->instance, instance, memory_order_release);
    }
    return status;
}

NrStatus nrpy_slot_start(nrpy_slot *slot, const nrpy_host *host) {
    int expected = NRPY_SLOT_NEW;
    if (!atomic_compare_exchange_strong(&slot->state, &expected, NRPY_SLOT_STARTING)) {
        return NR_INVALID;
    }
    char error[3 * NRPY_PATH_MAX] = "no memory";
    nrpy_payload payload = {.bytes = NULL};
    NrStatus status = NR_ERR;
    nrpy_python *python = malloc(sizeof *python);
    if (python != NULL) {
        error[0] = '\0';
        status = open_instance(slot, host, &payload, python, error, sizeof error);
    }
    if (status != NR_OK) {
        fprintf(stderr, "nylon-ring: plugin '%s' (%s) did not start: %s\n", slot->name, own_path(), error);
    }
    atomic_store(&slot->state, status == NR_OK ? NRPY_SLOT_OPEN : NRPY_SLOT_ENDED);
    nrpy_payload_free(&payload);
    free(python);
    return status;
}

/* ---- shutdown ---- */

/* Keeps this image mapped for good: a host thread is still below us in a handler that never ended. */
static void pin_image(void) {
    if (dlopen(own_path(), RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) == NULL) {
        fprintf(stderr, "nylon-ring: %s cannot be kept mapped while a handler still runs: do not dlclose it\n",
                own_path());
    }
}

void nrpy_slot_stop(nrpy_slot *slot) {
    int state = NRPY_SLOT_OPEN;
    if (atomic_compare_exchange_strong(&slot->state, &state, NRPY_SLOT_CLOSING)) {
        /* `instance` stays set while the core closes: calls that arrive meanwhile are answered Err by its gate. */
        int must_stay = slot->core->close(atomic_load(&slot->instance));
        atomic_store(&slot->instance, NULL);
        if (must_stay != 0) {
            pin_image();
        }
        atomic_store(&slot->state, NRPY_SLOT_ENDED);
    } else if (state == NRPY_SLOT_NEW) {
        atomic_compare_exchange_strong(&slot->state, &state, NRPY_SLOT_ENDED);
    }
}

void nrpy_slots_abandon(nrpy_slot_table *table) {
    for (unsigned i = 0; i < table->count; i++) {
        nrpy_slot *slot = &table->places[i].slot;
        int state = NRPY_SLOT_OPEN;
        if (atomic_compare_exchange_strong(&slot->state, &state, NRPY_SLOT_ENDED)) {
            slot->core->abandon(atomic_load(&slot->instance));
        }
    }
}
