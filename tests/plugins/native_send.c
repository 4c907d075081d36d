/* The ways back to the host. */
#include "native.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

NrStatus native_send(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len) {
    if (!self->v2) {
        self->host.v1.send_result(self->host_ctx, sid, status, (NrBytes){.ptr = data, .len = len});
        return NR_OK;
    }
    NrVecU8 borrowed = {.ptr = (uint8_t *)(uintptr_t)data, .len = len, .cap = len};
    return self->host.v2.send_result(self->host_ctx, sid, status, borrowed);
}

void native_text(instance *self, uint64_t sid, NrStatus status, const char *text) {
    native_send(self, sid, status, text, strlen(text));
}

static uint8_t *copy_of(const void *data, uint64_t len) {
    uint8_t *copy = malloc(len + 1);
    if (copy != NULL && len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

/* ---- bytes that stay ours ---- */

/*
 * Each send has a ticket, and its release gives it back: a second release finds it given back. Tickets go round, so that
 * one is used again as late as can be.
 */
#define TICKETS 4096u

static _Atomic bool out[TICKETS];
static _Atomic uint64_t turn, sent, released, twice;

static void release(void *owner_ctx, const uint8_t *ptr, uint64_t len) {
    _Atomic bool *ticket = owner_ctx;
    (void)len;
    if (!atomic_exchange(ticket, false)) {
        atomic_fetch_add(&twice, 1);
        return;
    }
    atomic_fetch_add(&released, 1);
    free((void *)(uintptr_t)ptr);
}

static _Atomic bool *take_ticket(void) {
    for (unsigned i = 0; i < TICKETS; i++) {
        _Atomic bool *ticket = &out[atomic_fetch_add(&turn, 1) % TICKETS];
        bool taken = false;
        if (atomic_compare_exchange_strong(ticket, &taken, true)) {
            return ticket;
        }
    }
    return NULL;
}

/* A host may release after it has closed this file: from the first owned send on the image stays. */
static void stay(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool stays;
    Dl_info here;
    pthread_mutex_lock(&lock);
    if (!stays && dladdr((void *)out, &here) != 0) {
        stays = dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) != NULL;
    }
    pthread_mutex_unlock(&lock);
}

NrStatus native_send_owned(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len) {
    _Atomic bool *ticket = self->v2 ? take_ticket() : NULL;
    uint8_t *copy = ticket != NULL ? copy_of(data, len) : NULL;
    if (copy == NULL) {
        if (ticket != NULL) {
            atomic_store(ticket, false);
        }
        return native_send(self, sid, status, data, len);
    }
    stay();
    atomic_fetch_add(&sent, 1);
    NrOwnedBytes owned = {.ptr = copy, .len = len, .owner_ctx = (void *)ticket, .release = release};
    return self->host.v2.send_result_owned(self->host_ctx, sid, status, owned);
}

native_tally native_owned_tally(void) {
    return (native_tally){.sent = atomic_load(&sent), .released = atomic_load(&released), .twice = atomic_load(&twice)};
}

/* ---- a vector the host drops ---- */

static void drop(uint8_t *ptr, size_t len, size_t cap) {
    atomic_fetch_add(&released, 1);
    if (cap != len + 1) {
        abort(); /* not the vector that was given */
    }
    free(ptr);
}

NrStatus native_send_vector(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len) {
    uint8_t *copy = self->v2 ? copy_of(data, len) : NULL;
    if (copy == NULL) {
        return native_send(self, sid, status, data, len);
    }
    atomic_fetch_add(&sent, 1);
    NrVecU8 vector = {.ptr = copy, .len = len, .cap = len + 1, .owned = 1, .drop_fn = drop};
    return self->host.v2.send_result(self->host_ctx, sid, status, vector);
}

/* ---- the host's own buffer ---- */

NrStatus native_send_lease(instance *self, uint64_t sid, NrStatus status, const void *data, uint64_t len) {
    NrBufferLease lease = {0};
    if (self->v2) {
        lease = self->host.v2.acquire_result_buffer(self->host_ctx, sid, len);
    }
    if (lease.ptr == NULL) {
        return native_send(self, sid, status, data, len);
    }
    if (len > 0) {
        memcpy(lease.ptr, data, len);
    }
    return self->host.v2.commit_result_buffer(self->host_ctx, sid, status, lease.token, len);
}
