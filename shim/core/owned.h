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
    _Atomic int
        holders;   /* its sender until the send has returned, and the host: no other one has this address meanwhile */
    bool is_plain; /* a real bytes or str: dropping it runs nobody's code */
} nrpy_owned;

/* What hosts have given back and nobody has dropped yet. A thread that a host waits for drops plain ones only: code of an
 * author's might send from there. */
extern _Atomic(nrpy_owned *) nrpy_owned_returned_plain;
extern _Atomic(nrpy_owned *) nrpy_owned_returned_other;

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

/* Drops what is in a list. Needs the GIL. */
void nrpy_owned_drop(_Atomic(nrpy_owned *) *list);

static inline bool nrpy_owned_is_any(_Atomic(nrpy_owned *) *list) {
    return atomic_load_explicit(list, memory_order_relaxed) != NULL;
}

static inline void nrpy_owned_drop_plain(void) {
    if (nrpy_owned_is_any(&nrpy_owned_returned_plain)) {
        nrpy_owned_drop(&nrpy_owned_returned_plain);
    }
}

#endif /* NRPY_OWNED_H */
