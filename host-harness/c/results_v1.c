/* send_result of ABI v1: nothing can be said back. */
#include "internal.h"

static void send_result(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    nrhost *host = nrhost_of_ctx(host_ctx); /* host_ctx is not read again: on_result may shut the host down */
    if (host != NULL) {
        nrhost_take(host, sid, &(nrhost_reply){.status = status, .bytes = payload});
    }
}

const NrHostVTable nrhost_vtable_v1 = {.send_result = send_result};
