/* The four functions of ABI v2's host: whose bytes a reply is made of, and when they are let go. */
#include "internal.h"

static NrStatus take_copy(nrhost *host, uint64_t sid, NrStatus status, const void *data, uint64_t len) {
    nrhost_arrival *arrival = nrhost_arrival_copy(sid, status, (NrBytes){.ptr = data, .len = len});
    NrStatus answer = nrhost_take(host, sid, arrival);
    if (answer != NR_OK) {
        nrhost_arrival_free(arrival);
    }
    return answer;
}

/* host_ctx is not read again after nrhost_of_ctx: on_result may shut the host down. */

static NrStatus send_result(void *host_ctx, uint64_t sid, NrStatus status, NrVecU8 payload) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    NrStatus answer = host != NULL ? take_copy(host, sid, status, payload.ptr, payload.len) : NR_INVALID;
    if (payload.owned != 0 && payload.drop_fn != NULL) {
        payload.drop_fn(payload.ptr, payload.len, payload.cap);
    }
    return answer;
}

/* Kept bytes are released with their frame, all others here; also those that were refused. */
static NrStatus send_result_owned(void *host_ctx, uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    NrStatus answer = NR_INVALID;
    if (host != NULL && host->options.keep_owned) {
        nrhost_arrival *arrival = nrhost_arrival_owned(sid, status, payload);
        answer = nrhost_take(host, sid, arrival);
        if (answer != NR_OK) {
            nrhost_arrival_free(arrival);
        }
        return answer;
    }
    if (host != NULL) {
        answer = take_copy(host, sid, status, payload.ptr, payload.len);
    }
    if (payload.release != NULL) {
        payload.release(payload.owner_ctx, payload.ptr, payload.len);
    }
    return answer;
}

static NrBufferLease acquire_result_buffer(void *host_ctx, uint64_t sid, uint64_t capacity) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    return host != NULL ? nrhost_lease_out(host, sid, capacity) : (NrBufferLease){0};
}

/* A wrong token or length is no send: the lease is still out, and the call still waits. */
static NrStatus commit_result_buffer(void *host_ctx, uint64_t sid, NrStatus status, uint64_t token,
                                     uint64_t initialized_len) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    bool abandoned = false;
    nrhost_arrival *arrival = host != NULL ? nrhost_lease_back(host, sid, token, initialized_len, &abandoned) : NULL;
    if (arrival == NULL) {
        return NR_INVALID;
    }
    arrival->frame.status = status;
    NrStatus answer = nrhost_take(host, sid, arrival);
    if (answer != NR_OK) {
        nrhost_arrival_free(arrival);
    }
    return answer;
}

const NrHostVTableV2 nrhost_vtable_v2 = {
    .send_result = send_result,
    .send_result_owned = send_result_owned,
    .acquire_result_buffer = acquire_result_buffer,
    .commit_result_buffer = commit_result_buffer,
};
