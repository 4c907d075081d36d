/*
 * Replies that a host keeps instead of copying: the bytes of a Python object, given back from any thread at any time, long
 * after the plugin's file was closed if need be.
 */
#ifndef NRPY_OWNED_H
#define NRPY_OWNED_H

#include "python.h"

#include "host.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct nrpy_owned {
    struct nrpy_owned *next;
    PyObject *object; /* owned */
} nrpy_owned;

/* What hosts have given back and nobody has dropped yet. */
extern _Atomic(nrpy_owned *) nrpy_owned_returned;

/* What nrpy_owned_send sends: bytes that live as long as `object`. */
typedef struct nrpy_owned_bytes {
    PyObject *object;
    const void *bytes;
    uint64_t length;
} nrpy_owned_bytes;

/* Sends by send_result_owned. Takes `object` where `*kept` is set: the host has it until it releases it. Must not hold the
 * GIL. */
nrpy_delivery nrpy_owned_send(const nrpy_host *host, uint64_t sid, NrStatus status, const nrpy_owned_bytes *payload,
                              bool *kept);

/* Drops what was given back. Needs the GIL. */
void nrpy_owned_drop(void);

static inline void nrpy_owned_tidy(void) {
    if (atomic_load_explicit(&nrpy_owned_returned, memory_order_relaxed) != NULL) {
        nrpy_owned_drop();
    }
}

#endif /* NRPY_OWNED_H */
