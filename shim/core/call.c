#include "call.h"

#include "clock.h"
#include "threads.h"

#include <string.h>

const NrRequest nrpy_no_metadata;

/* Where the next copy goes. */
typedef struct cursor {
    unsigned char *at;
} cursor;

static const uint8_t *copy_bytes(cursor *to, const uint8_t *from, uint64_t length) {
    unsigned char *start = to->at;
    if (length > 0) {
        memcpy(start, from, length);
    }
    to->at += length;
    return start;
}

static NrStr copy_text(cursor *to, NrStr from) {
    return (NrStr){.ptr = copy_bytes(to, from.ptr, from.len), .len = from.len};
}

/* Sums of lengths that each fit the address space may still overflow it: -1 then. */
static bool add(uint64_t *total, uint64_t length) {
    *total += length;
    return *total <= PTRDIFF_MAX;
}

static bool block_size(const nrpy_request_view *view, uint64_t *total) {
    const NrRequest *meta = view->meta;
    *total = sizeof(nrpy_call);
    bool fits = add(total, (uint64_t)meta->headers_len * sizeof(NrHeader)) && add(total, meta->method.len) &&
                add(total, meta->path.len) && add(total, meta->query.len) && add(total, view->body.len);
    for (uint32_t i = 0; fits && i < meta->headers_len; i++) {
        fits = add(total, meta->headers[i].key.len) && add(total, meta->headers[i].value.len);
    }
    return fits;
}

/* The request of a duplex stream is kept as long as the stream, and one without an entry because the author has it. */
static void *take_block(nrpy_thread *thread, const nrpy_entry *entry, uint64_t size) {
    bool stays = entry == NULL || (entry->flags & (NRPY_DUPLEX | NRPY_STREAM)) != 0;
    return stays ? nrpy_block_make(size) : nrpy_block_take(&thread->blocks, size);
}

nrpy_call *nrpy_call_new(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                         const nrpy_request_view *view) {
    uint64_t size;
    nrpy_thread *thread = nrpy_thread_self();
    nrpy_call *call = thread != NULL && block_size(view, &size) ? take_block(thread, entry, size) : NULL;
    if (call == NULL) {
        return NULL;
    }
    call->item.kind = NRPY_ITEM_CALL;
    call->instance = instance;
    call->entry = entry;
    call->sid = sid;
    call->exchange = NULL;
    call->weight = nrpy_sample_weight(thread->submits++);
    call->began_ns = nrpy_time_ns(call->weight != 0 ? CLOCK_MONOTONIC : CLOCK_MONOTONIC_COARSE);
    const NrRequest *from = view->meta;
    cursor place = {call->bytes + (uint64_t)from->headers_len * sizeof(NrHeader)};
    NrHeader *headers = (NrHeader *)(void *)call->bytes; /* first, where the block is aligned for it */
    for (uint32_t i = 0; i < from->headers_len; i++) {
        headers[i].key = copy_text(&place, from->headers[i].key);
        headers[i].value = copy_text(&place, from->headers[i].value);
    }
    call->meta = (NrRequest){
        .path = copy_text(&place, from->path),
        .method = copy_text(&place, from->method),
        .query = copy_text(&place, from->query),
        .headers = headers,
        .headers_len = from->headers_len,
    };
    call->request.meta = nrpy_has_metadata(view) ? &call->meta : &nrpy_no_metadata;
    call->request.body = (NrBytes){.ptr = copy_bytes(&place, view->body.ptr, view->body.len), .len = view->body.len};
    return call;
}

void nrpy_call_free(nrpy_call *call) {
    nrpy_thread_give_block(call);
}
