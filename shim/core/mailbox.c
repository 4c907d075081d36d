#include "mailbox.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is known of a call, by its sid. */
typedef struct expected {
    unsigned unread;
    bool is_stream;
    bool is_dropped;
    bool has_refused;
} expected;

struct nrpy_mailbox {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    nrpy_sent *first;
    nrpy_sent *last;
    expected *calls; /* `count` of them, by sid */
    size_t count;
    unsigned capacity;
    uint64_t refusals;
    bool ended;
};

nrpy_mailbox *nrpy_mailbox_new(unsigned capacity) {
    nrpy_mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox != NULL) {
        pthread_mutex_init(&mailbox->lock, NULL);
        pthread_cond_init(&mailbox->changed, NULL);
        mailbox->capacity = capacity;
    }
    return mailbox;
}

void nrpy_mailbox_free(nrpy_mailbox *mailbox) {
    for (nrpy_sent *sent = mailbox->first; sent != NULL;) {
        nrpy_sent *next = sent->next;
        free(sent);
        sent = next;
    }
    free(mailbox->calls);
    pthread_cond_destroy(&mailbox->changed);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

bool nrpy_mailbox_expect(nrpy_mailbox *mailbox, uint64_t sid, bool is_stream) {
    pthread_mutex_lock(&mailbox->lock);
    size_t count = mailbox->count;
    if (sid >= count) {
        count = sid < 32 ? 64 : (size_t)sid * 2;
        expected *calls = realloc(mailbox->calls, count * sizeof *calls);
        if (calls == NULL) {
            pthread_mutex_unlock(&mailbox->lock);
            return false;
        }
        memset(calls + mailbox->count, 0, (count - mailbox->count) * sizeof *calls);
        mailbox->calls = calls;
        mailbox->count = count;
    }
    mailbox->calls[sid] = (expected){.is_stream = is_stream};
    pthread_mutex_unlock(&mailbox->lock);
    return true;
}

/* ---- the host's functions ---- */

static nrpy_sent *copy_of(uint64_t sid, NrStatus status, const void *bytes, uint64_t length) {
    nrpy_sent *sent = malloc(sizeof *sent + length);
    if (sent == NULL) {
        fprintf(stderr, "nylon-ring: FakeHost: no memory to keep a reply for sid %llu: it is lost\n",
                (unsigned long long)sid);
        return NULL;
    }
    *sent = (nrpy_sent){.sid = sid, .status = status, .length = length};
    if (length > 0) {
        memcpy(sent->bytes, bytes, length);
    }
    return sent;
}

/* The lock is held. */
static void append(nrpy_mailbox *mailbox, nrpy_sent *sent) {
    if (mailbox->first == NULL) {
        mailbox->first = sent;
    } else {
        mailbox->last->next = sent;
    }
    mailbox->last = sent;
    pthread_cond_signal(&mailbox->changed);
}

static void send_v1(void *ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    nrpy_mailbox *mailbox = ctx;
    nrpy_sent *sent = copy_of(sid, status, payload.ptr, payload.len);
    if (sent != NULL) {
        pthread_mutex_lock(&mailbox->lock);
        append(mailbox, sent);
        pthread_mutex_unlock(&mailbox->lock);
    }
}

/* The lock is held. An unknown sid is kept: whoever checks the promise is to see it. */
static NrStatus answer_of(nrpy_mailbox *mailbox, uint64_t sid) {
    expected *call = sid < mailbox->count ? &mailbox->calls[sid] : NULL;
    if (call == NULL) {
        return NR_OK;
    }
    bool is_full = mailbox->capacity > 0 && call->is_stream && call->unread >= mailbox->capacity;
    call->has_refused = is_full && !call->is_dropped;
    if (call->is_dropped) {
        return NR_INVALID;
    }
    if (is_full) {
        mailbox->refusals++;
        return NR_BACKPRESSURE;
    }
    call->unread++;
    return NR_OK;
}

static NrStatus keep_v2(nrpy_mailbox *mailbox, uint64_t sid, NrStatus status, const void *bytes, uint64_t length) {
    nrpy_sent *sent = copy_of(sid, status, bytes, length);
    if (sent == NULL) {
        return NR_ERR;
    }
    pthread_mutex_lock(&mailbox->lock);
    NrStatus answer = answer_of(mailbox, sid);
    if (answer == NR_OK) {
        append(mailbox, sent);
        sent = NULL;
    }
    pthread_mutex_unlock(&mailbox->lock);
    free(sent);
    return answer;
}

static NrStatus send_v2(void *ctx, uint64_t sid, NrStatus status, NrVecU8 payload) {
    NrStatus answer = keep_v2(ctx, sid, status, payload.ptr, payload.len);
    if (payload.owned != 0 && payload.drop_fn != NULL) {
        payload.drop_fn(payload.ptr, payload.len, payload.cap);
    }
    return answer;
}

static NrStatus send_owned_v2(void *ctx, uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    NrStatus answer = keep_v2(ctx, sid, status, payload.ptr, payload.len);
    if (payload.release != NULL) {
        payload.release(payload.owner_ctx, payload.ptr, payload.len);
    }
    return answer;
}

nrpy_host nrpy_mailbox_host(nrpy_mailbox *mailbox, bool v2) {
    nrpy_host host = {.ctx = mailbox};
    if (v2) {
        host.v2.send_result = send_v2;
        host.v2.send_result_owned = send_owned_v2;
    } else {
        host.v1.send_result = send_v1;
    }
    return host;
}

/* ---- the reader's side ---- */

nrpy_sent *nrpy_mailbox_take(nrpy_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    while (mailbox->first == NULL && !mailbox->ended) {
        pthread_cond_wait(&mailbox->changed, &mailbox->lock);
    }
    nrpy_sent *sent = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = NULL;
    pthread_mutex_unlock(&mailbox->lock);
    return sent;
}

void nrpy_mailbox_read(nrpy_mailbox *mailbox, uint64_t sid) {
    pthread_mutex_lock(&mailbox->lock);
    if (sid < mailbox->count && mailbox->calls[sid].unread > 0) {
        mailbox->calls[sid].unread--;
    }
    pthread_mutex_unlock(&mailbox->lock);
}

void nrpy_mailbox_drop(nrpy_mailbox *mailbox, uint64_t sid) {
    pthread_mutex_lock(&mailbox->lock);
    if (sid < mailbox->count) {
        mailbox->calls[sid].is_dropped = true;
    }
    pthread_mutex_unlock(&mailbox->lock);
}

bool nrpy_mailbox_has_refused(nrpy_mailbox *mailbox, uint64_t sid) {
    pthread_mutex_lock(&mailbox->lock);
    bool refused = false;
    if (sid < mailbox->count && mailbox->calls[sid].has_refused) {
        const expected *call = &mailbox->calls[sid];
        refused = call->is_dropped || mailbox->capacity == 0 || call->unread < mailbox->capacity;
    }
    pthread_mutex_unlock(&mailbox->lock);
    return refused;
}

uint64_t nrpy_mailbox_refusals(nrpy_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    uint64_t refusals = mailbox->refusals;
    pthread_mutex_unlock(&mailbox->lock);
    return refusals;
}

void nrpy_mailbox_lift_capacity(nrpy_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->capacity = 0;
    pthread_mutex_unlock(&mailbox->lock);
}

void nrpy_mailbox_end(nrpy_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->ended = true;
    pthread_cond_broadcast(&mailbox->changed);
    pthread_mutex_unlock(&mailbox->lock);
}
