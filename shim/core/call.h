/*
 * A call on its way to a worker: one block that holds a copy of all the host passed.
 */
#ifndef NRPY_CALL_H
#define NRPY_CALL_H

#include "abi/nylon_ring_v1.h"
#include "core_table.h"
#include "entries.h"
#include "exchange.h"
#include "queue.h"

#include <stdbool.h>

/* What a handler may ask of a request. The views point into a call's block, or into the host's memory while a host
 * thread waits. */
typedef struct nrpy_request_view {
    const NrRequest *meta; /* nrpy_no_metadata where the host passed none */
    NrBytes body;
} nrpy_request_view;

extern const NrRequest nrpy_no_metadata;

static inline bool nrpy_has_metadata(const nrpy_request_view *view) {
    return view->meta != &nrpy_no_metadata;
}

typedef struct nrpy_call {
    nrpy_item item;
    nrpy_instance *instance; /* alive as long as the call is queued: close waits for the queue */
    const nrpy_entry *entry;
    uint64_t sid;
    nrpy_exchange *exchange; /* a reference, or NULL: a plain unary call */
    int64_t began_ns;        /* when the host called: exact where the call is timed, else to some milliseconds */
    unsigned weight;         /* nrpy_sample_weight */
    NrRequest meta;          /* what `request` shows, unless the host passed none */
    nrpy_request_view request;
    unsigned char bytes[];
} nrpy_call;

/* A view of what the host passed, without a copy. */
static inline nrpy_request_view nrpy_view_request(const NrRequest *req, NrBytes payload) {
    return (nrpy_request_view){.meta = req != NULL ? req : &nrpy_no_metadata, .body = payload};
}

/* Copies all that `view` shows. NULL without memory. The views have been checked. */
nrpy_call *nrpy_call_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, const nrpy_request_view *view);

/* Frees the block; the exchange is the caller's affair. */
void nrpy_call_free(nrpy_call *call);

#endif /* NRPY_CALL_H */
