/*
 * The gate: what the host's `handle` comes to. A call of an entry that is there goes one of two ways, direct.h or queued.h.
 */
#ifndef NRPY_DISPATCH_H
#define NRPY_DISPATCH_H

#include "instance.h"

/* The ABI's handle; `req` is NULL for a raw call. */
NrStatus nrpy_handle(nrpy_instance *instance, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload);

/* The ABI's resolve_entry and handle_by_id. */
uint32_t nrpy_resolve_entry(nrpy_instance *instance, NrStr name);
NrStatus nrpy_handle_by_id(nrpy_instance *instance, uint32_t id, uint64_t sid, NrBytes payload);

/* What a call is answered while the instance is not open. */
NrStatus nrpy_refusal(nrpy_instance *instance);

#endif /* NRPY_DISPATCH_H */
