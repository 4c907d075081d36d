/* The four functions of ABI v2's host: whose bytes a reply is made of, and when they are let go. */
#include "internal.h"

/* host_ctx is not read again after nrhost_of_ctx: on_result may shut the host down. */

static NrStatus send_result(void *host_ctx, uint64_t sid, NrStatus status, NrVecU8 payload) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    nrhost_reply reply = {.status = status, .bytes = {.ptr = payload.ptr, .len = payload.len}};
    NrStatus answer = host != NULL ? nrhost_take(host, sid, &reply) : NR_INVALID;
    if (payload.owned != 0 && payload.drop_fn != NULL) {
        payload.drop_fn(payload.ptr, payload.len, payload.cap);
    }
    return answer;
}

/* Kept bytes are released with their frame, all others here; also those that were refused. */
static NrStatus send_result_owned(void *host_ctx, uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    nrhost_reply reply = {.status = status, .bytes = {.ptr = payload.ptr, .len = payload.len}};
    if (host != NULL && host->options.keep_owned) {
        reply.ready = nrhost_arrival_owned(sid, status, payload);
        return nrhost_take(host, sid, &reply);
    }
    NrStatus answer = host != NULL ? nrhost_take(host, sid, &reply) : NR_INVALID;
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
    nrhost_reply reply = {.status = status,
                          .bytes = {.ptr = arrival->bytes, .len = arrival->frame.len},
                          .ready = arrival,
                          .late = abandoned};
    return nrhost_take(host, sid, &reply);
}

const NrHostVTableV2 nrhost_vtable_v2 = {
    .send_result = send_result,
    .send_result_owned = send_result_owned,
    .acquire_result_buffer = acquire_result_buffer,
    .commit_result_buffer = commit_result_buffer,
};
