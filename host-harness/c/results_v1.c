/* send_result of ABI v1: nothing can be said back. */
#include "internal.h"

static void send_result(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    nrhost *host = nrhost_of_ctx(host_ctx); /* host_ctx is not read again: on_result may shut the host down */
    if (host == NULL) {
        return;
    }
    nrhost_arrival *arrival = nrhost_arrival_copy(sid, status, payload);
    if (nrhost_take(host, sid, arrival) != NR_OK) {
        nrhost_arrival_free(arrival);
    }
}

const NrHostVTable nrhost_vtable_v1 = {.send_result = send_result};
