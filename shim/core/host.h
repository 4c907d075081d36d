/*
 * The host's functions, as the core sees them: one small file per ABI, and no other calls them.
 */
#ifndef NRPY_HOST_H
#define NRPY_HOST_H

#include "core_table.h"

typedef enum {
    NRPY_DELIVERED,
    NRPY_GONE,      /* the host wants nothing more for this sid */
    NRPY_HELD_BACK, /* the host has no room for it now: to be sent again, before anything else for this sid */
} nrpy_delivery;

/* Call send_result with borrowed bytes. Must not hold the GIL. */
nrpy_delivery nrpy_host_v1_send(const nrpy_host *host, uint64_t sid, NrStatus status, NrBytes payload);
nrpy_delivery nrpy_host_v2_send(const nrpy_host *host, uint64_t sid, NrStatus status, NrBytes payload);

/* Calls send_result_owned, where the host has it. The host releases `payload` whatever the answer is. */
nrpy_delivery nrpy_host_v2_send_owned(const nrpy_host *host, uint64_t sid, NrStatus status, NrOwnedBytes payload);

/* What a host of this ABI is told when a call or a frame finds no room. */
static inline NrStatus nrpy_host_full(const nrpy_host *host) {
    return host->v2.send_result != NULL ? NR_BACKPRESSURE : NR_ERR;
}

static inline nrpy_delivery nrpy_host_deliver(const nrpy_host *host, uint64_t sid, NrStatus status, NrBytes payload) {
    return host->v1.send_result != NULL ? nrpy_host_v1_send(host, sid, status, payload)
                                        : nrpy_host_v2_send(host, sid, status, payload);
}

#endif /* NRPY_HOST_H */
