/* An instance's life, and the gate in front of its functions. */
#include "native.h"

#include <stdio.h>
#include <string.h>

/* ---- the gate ---- */

/* The instances whose functions this thread is in: a shutdown from inside a send must not wait for its own stack. */
typedef struct visit {
    instance *self;
    struct visit *outer;
} visit;

static _Thread_local visit *visits;

/* Ok: native_leave must follow. */
static NrStatus enter(instance *self, visit *v) {
    if (self == NULL) {
        return NR_INVALID;
    }
    pthread_mutex_lock(&self->lock);
    NrStatus status = self->state == LIVE ? NR_OK : self->state == STOPPING ? NR_ERR : NR_INVALID;
    if (status == NR_OK) {
        self->inside++;
    }
    pthread_mutex_unlock(&self->lock);
    if (status == NR_OK) {
        *v = (visit){.self = self, .outer = visits};
        visits = v;
    }
    return status;
}

static void leave(visit *v) {
    instance *self = v->self;
    visits = v->outer;
    pthread_mutex_lock(&self->lock);
    self->inside--;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static bool is_bad(const void *ptr, uint64_t len) {
    return len > 0 && (ptr == NULL || len > INT64_MAX || len - 1 > UINTPTR_MAX - (uintptr_t)ptr);
}

static bool is_bad_request(const NrRequest *r) {
    if (is_bad(r->path.ptr, r->path.len) || is_bad(r->method.ptr, r->method.len) ||
        is_bad(r->query.ptr, r->query.len) || is_bad(r->headers, (uint64_t)r->headers_len * sizeof(NrHeader))) {
        return true;
    }
    for (uint32_t i = 0; i < r->headers_len; i++) {
        const NrHeader *h = &r->headers[i];
        if (is_bad(h->key.ptr, h->key.len) || is_bad(h->value.ptr, h->value.len)) {
            return true;
        }
    }
    return false;
}

uint32_t native_resolve(NrStr name) {
    for (uint32_t i = 0; i < native_entry_count && !is_bad(name.ptr, name.len); i++) {
        const char *known = native_entries[i].name;
        if (strlen(known) == name.len && memcmp(known, name.ptr, name.len) == 0) {
            return i;
        }
    }
    return NR_ENTRY_UNKNOWN;
}

static NrStatus run(instance *self, uint32_t id, uint64_t sid, const NrRequest *request, NrBytes payload) {
    if (id >= native_entry_count || is_bad(payload.ptr, payload.len) || (request != NULL && is_bad_request(request))) {
        return NR_INVALID;
    }
    const entry *e = &native_entries[id];
    call c = {.sid = sid, .request = request, .body = payload, .run = e->run};
    switch (e->kind) {
    case SYNCHRONOUS:
        e->run(self, &c);
        return NR_OK;
    case POOLED:
        return native_defer(self, &c);
    case STREAM:
        return e->open(self, &c);
    }
    return NR_INVALID;
}

NrStatus native_handle(instance *self, uint32_t id, uint64_t sid, const NrRequest *request, NrBytes payload) {
    visit v;
    NrStatus status = enter(self, &v);
    if (status == NR_OK) {
        status = run(self, id, sid, request, payload);
        leave(&v);
    }
    return status;
}

NrStatus native_enter_stream_data(instance *self, uint64_t sid, NrBytes data) {
    visit v;
    NrStatus status = enter(self, &v);
    if (status == NR_OK) {
        status = is_bad(data.ptr, data.len) ? NR_INVALID : native_stream_data(self, sid, data);
        leave(&v);
    }
    return status;
}

NrStatus native_enter_stream_close(instance *self, uint64_t sid) {
    visit v;
    NrStatus status = enter(self, &v);
    if (status == NR_OK) {
        status = native_stream_close(self, sid);
        leave(&v);
    }
    return status;
}

/* ---- an instance's life ---- */

NrStatus native_init(instance *self, void *host_ctx, const void *host) {
    NrStatus status = NR_INVALID;
    pthread_mutex_lock(&self->lock);
    if (self->state == GIVEN && host != NULL) {
        self->host_ctx = host_ctx;
        if (self->v2) {
            self->host.v2 = *(const NrHostVTableV2 *)host;
        } else {
            self->host.v1 = *(const NrHostVTable *)host;
        }
        status = native_starts();
        if (status == NR_OK && !native_worker_start(self)) {
            status = NR_ERR;
        }
        self->state = status == NR_OK ? LIVE : OVER;
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

void native_shutdown(instance *self) {
    if (self == NULL) {
        return;
    }
    pthread_mutex_lock(&self->lock);
    bool live = self->state == LIVE;
    if (live) {
        self->state = STOPPING;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    if (!live) {
        fprintf(stderr, "%s: shutdown out of turn\n", native_name);
        return;
    }
    unsigned own = 0;
    for (const visit *v = visits; v != NULL; v = v->outer) {
        own += v->self == self;
    }
    pthread_mutex_lock(&self->lock);
    while (self->inside > own) {
        pthread_cond_wait(&self->changed, &self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    native_worker_stop(self);
    pthread_mutex_lock(&self->lock);
    self->state = OVER;
    pthread_mutex_unlock(&self->lock);
}

uint64_t native_number(NrBytes text) {
    uint64_t number = 0;
    for (uint64_t i = 0; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        number = number * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    return number;
}
