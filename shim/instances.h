/*
 * The instances of one plugin file: a fixed table of slots per ABI. Each call of a get_plugin function takes one.
 */
#ifndef NRPY_INSTANCES_H
#define NRPY_INSTANCES_H

#include "abi/nylon_ring_v1.h"
#include "core_table.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Name and version lie in the slot; nylon_ring_py/settings.py holds authors to 64 and 48 bytes. */
enum { NRPY_NAME_SIZE = 72, NRPY_VERSION_SIZE = 56, NRPY_SLOT_SIZE = 256 };

/* Free and ended ones can be taken; one that closes still belongs to its old instance. */
typedef enum {
    NRPY_SLOT_FREE,
    NRPY_SLOT_NEW,
    NRPY_SLOT_STARTING,
    NRPY_SLOT_OPEN,
    NRPY_SLOT_CLOSING,
    NRPY_SLOT_ENDED
} nrpy_slot_state;

typedef struct nrpy_slot {
    _Atomic uintptr_t ctx; /* the slot's address, and the generation in the top bits: v1's plugin_ctx; 0 at first */
    _Atomic(nrpy_instance *) instance; /* set by start, cleared by stop */
    const nrpy_core_table *core;       /* set by start before `instance` */
    _Atomic int state;
    uint32_t generation; /* how often this slot was taken; guarded by the lock of all slots */
    uint64_t taken_at;   /* in the order of all takings; likewise */
    NrPluginInfo info;   /* name and version filled in by take */
    bool is_raw;         /* built for the layout "v1-raw" of ABI v1; likewise */
    char name[NRPY_NAME_SIZE];
    char version[NRPY_VERSION_SIZE];
} nrpy_slot;

#define NRPY_ADDRESS_BITS 48

typedef union nrpy_slot_place {
    nrpy_slot slot;
    char place[NRPY_SLOT_SIZE];
} nrpy_slot_place;

static_assert(sizeof(nrpy_slot_place) == NRPY_SLOT_SIZE, "a slot fits its place");

/* The slots of one ABI. */
typedef struct nrpy_slot_table {
    nrpy_slot_place *places;
    unsigned count;
    unsigned next; /* free slots are taken in turn, so a place rests before it is used again; guarded by the lock */
} nrpy_slot_table;

/*
 * A slot for a new instance, with name and version of the payload in its info, or NULL where all are in use. A slot that
 * was handed out and never started counts as free once no other is.
 */
nrpy_slot *nrpy_slot_take(nrpy_slot_table *table);

/* The ABI's init: starts Python and loads the plugin. Invalid unless the slot is new. */
NrStatus nrpy_slot_start(nrpy_slot *slot, const nrpy_host *host);

/* The ABI's shutdown. Nothing where the slot is not open. */
void nrpy_slot_stop(nrpy_slot *slot);

/* The file is being unmapped: what is still open ends without its host. */
void nrpy_slots_abandon(nrpy_slot_table *table);

/* Says on stderr that all slots are in use: what init of such an info does before it answers Err. */
void nrpy_say_full(unsigned count);

static inline nrpy_instance *nrpy_slot_instance(nrpy_slot *slot, const nrpy_core_table **core) {
    nrpy_instance *instance = atomic_load_explicit(&slot->instance, memory_order_acquire);
    *core = slot->core;
    return instance;
}

#endif /* NRPY_INSTANCES_H */
