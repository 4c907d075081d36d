/*
 * A synchronous call: its handler runs on the host's own thread, and its reply leaves before `handle` returns.
 */
#ifndef NRPY_DIRECT_H
#define NRPY_DIRECT_H

#include "call.h"
#include "instance.h"

/* What `handle` answers. `view` is the host's memory, checked. Must not hold the GIL, unless the host is Python's. */
NrStatus nrpy_run_directly(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                           const nrpy_request_view *view);

#endif /* NRPY_DIRECT_H */
