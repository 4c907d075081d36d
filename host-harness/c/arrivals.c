/* A reply between send_result and its receiver: bytes of the host's, or the plugin's own. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static void free_block(void *owner, const uint8_t *data, uint64_t len) {
    (void)data;
    (void)len;
    free(owner);
}

static void end_without_memory(uint64_t sid, uint64_t len) {
    fprintf(stderr, "nrhost: sid %llu: no memory for a reply of %llu bytes\n", (unsigned long long)sid,
            (unsigned long long)len);
    abort();
}

nrhost_arrival *nrhost_arrival_room(uint64_t cap) {
    nrhost_arrival *arrival = cap < SIZE_MAX / 2 ? malloc(sizeof *arrival + (size_t)cap) : NULL;
    if (arrival != NULL) {
        arrival->next = NULL;
        arrival->frame = (nrhost_frame){.data = arrival->bytes, .release = free_block, .owner = arrival};
    }
    return arrival;
}

nrhost_arrival *nrhost_arrival_copy(uint64_t sid, NrStatus status, NrBytes payload) {
    nrhost_arrival *arrival = nrhost_arrival_room(payload.len);
    if (arrival == NULL) {
        end_without_memory(sid, payload.len);
        return NULL;
    }
    arrival->frame.status = status;
    arrival->frame.len = payload.len;
    if (payload.len > 0) {
        memcpy(arrival->bytes, payload.ptr, payload.len);
    }
    return arrival;
}

nrhost_arrival *nrhost_arrival_owned(uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    nrhost_arrival *arrival = nrhost_arrival_room(0);
    if (arrival == NULL) {
        end_without_memory(sid, payload.len);
        return NULL;
    }
    arrival->frame = (nrhost_frame){
        .status = status,
        .data = (uint8_t *)(uintptr_t)payload.ptr, /* read only: it is the plugin's */
        .len = payload.len,
        .release = payload.release,
        .owner = payload.owner_ctx,
    };
    return arrival;
}

nrhost_frame nrhost_arrival_open(nrhost_arrival *arrival) {
    nrhost_frame frame = arrival->frame;
    bool holds_bytes = frame.owner == arrival && frame.len > 0;
    if (frame.owner == arrival && !holds_bytes) {
        frame = (nrhost_frame){.status = frame.status};
    }
    if (!holds_bytes) {
        free(arrival);
    }
    return frame;
}

void nrhost_arrival_free(nrhost_arrival *arrival) {
    nrhost_frame frame = nrhost_arrival_open(arrival);
    nrhost_frame_free(&frame);
}

void nrhost_frame_free(nrhost_frame *frame) {
    if (frame->release != NULL) {
        frame->release(frame->owner, frame->data, frame->len);
    }
    *frame = (nrhost_frame){0};
}
