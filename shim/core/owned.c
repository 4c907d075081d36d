#include "owned.h"

#include "monitor.h"
#include "threads.h"

#include <stdlib.h>

_Atomic(nrpy_owned *) nrpy_owned_returned_plain;
_Atomic(nrpy_owned *) nrpy_owned_returned_other;

static void let_go(nrpy_owned *owned) {
    if (atomic_fetch_sub(&owned->holders, 1) == 1) {
        free(owned);
    }
}

/* The ABI's release, on a thread that has no GIL and may hold locks of the host's: it only notes what came back. */
static void release(void *owner_ctx, const uint8_t *ptr, uint64_t len) {
    (void)ptr;
    (void)len;
    nrpy_owned *owned = owner_ctx;
    nrpy_thread *thread = nrpy_thread_cached;
    if (thread != NULL && thread->owned_in_send == owned) {
        thread->owned_in_send = NULL; /* before the send has returned: its sender goes on with the object */
        return;
    }
    _Atomic(nrpy_owned *) *list = owned->is_plain ? &nrpy_owned_returned_plain : &nrpy_owned_returned_other;
    nrpy_owned *newest = atomic_load_explicit(list, memory_order_relaxed);
    do {
        owned->next = newest;
    } while (!atomic_compare_exchange_weak(list, &newest, owned));
    /* From here on somebody else may have dropped it. */
    if (newest == NULL) {
        nrpy_monitor_arm(); /* whoever enters Python next drops a plain one; the rest, and if nobody does, the monitor */
    }
}

nrpy_delivery nrpy_owned_send(const nrpy_host *host, uint64_t sid, NrStatus status, const nrpy_owned_bytes *payload,
                              bool *kept) {
    *kept = false;
    nrpy_thread *thread = nrpy_thread_self();
    nrpy_owned *owned = thread != NULL ? malloc(sizeof *owned) : NULL;
    if (owned == NULL) {
        return nrpy_host_v2_send(host, sid, status, (NrBytes){.ptr = payload->bytes, .len = payload->length});
    }
    owned->object = payload->object;
    atomic_init(&owned->holders, 2);
    owned->is_plain = PyBytes_CheckExact(payload->object) || PyUnicode_CheckExact(payload->object);
    nrpy_owned *outer = thread->owned_in_send; /* of a send below this one on the stack */
    thread->owned_in_send = owned;
    nrpy_delivery delivery = nrpy_host_v2_send_owned(
        host, sid, status,
        (NrOwnedBytes){.ptr = payload->bytes, .len = payload->length, .owner_ctx = owned, .release = release});
    *kept = thread->owned_in_send == owned;
    thread->owned_in_send = outer;
    if (*kept) {
        let_go(owned);
    } else {
        free(owned);
    }
    return delivery;
}

void nrpy_owned_drop(_Atomic(nrpy_owned *) *list) {
    nrpy_owned *owned = atomic_exchange(list, NULL);
    while (owned != NULL) {
        nrpy_owned *next = owned->next;
        Py_DECREF(owned->object);
        let_go(owned);
        owned = next;
    }
}
