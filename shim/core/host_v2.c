#include "host.h"

/* Any other answer than Ok and Backpressure leaves nobody to send to. */
static nrpy_delivery delivery_of(NrStatus answer) {
    switch (answer) {
    case NR_OK:
        return NRPY_DELIVERED;
    case NR_BACKPRESSURE:
        return NRPY_HELD_BACK;
    default:
        return NRPY_GONE;
    }
}

/* The struct is passed by value in memory. Put together by stores of 8 bytes and copied by loads of 16, it would wait for
 * the stores to leave the core: with general registers the copy is of 8 bytes, too. */
__attribute__((target("general-regs-only"))) nrpy_delivery nrpy_host_v2_send(const nrpy_host *host, uint64_t sid,
                                                                             NrStatus status, NrBytes payload) {
    /* The ABI's type is for owned bytes too, hence the cast: borrowed ones are only read. */
    NrVecU8 bytes = {.ptr = (uint8_t *)(uintptr_t)payload.ptr, .len = payload.len, .cap = payload.len};
    return delivery_of(host->v2.send_result(host->ctx, sid, status, bytes));
}

nrpy_delivery nrpy_host_v2_send_owned(const nrpy_host *host, uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    return delivery_of(host->v2.send_result_owned(host->ctx, sid, status, payload));
}
