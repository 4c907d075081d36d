/* A call's life: registered, handed to the plugin, answered, taken by its caller. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

static nrhost_call *new_call(nrhost *host, uint64_t sid, nrhost_kind kind) {
    nrhost_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->host = host;
    call->sid = sid;
    call->kind = kind;
    atomic_init(&call->references, 2);
    pthread_mutex_init(&call->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&call->arrived, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return call;
}

void nrhost_call_unref(nrhost_call *call) {
    if (atomic_fetch_sub(&call->references, 1) != 1) {
        return;
    }
    for (nrhost_arrival *arrival = call->first, *next; arrival != NULL; arrival = next) {
        next = arrival->next;
        nrhost_arrival_free(arrival);
    }
    nrhost_states_free(call->states);
    pthread_cond_destroy(&call->arrived);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

uint64_t nrhost_next_sid(nrhost *host) {
    return atomic_fetch_add(&host->next_sid, 1);
}

/* The table's reference goes, unless the terminal reply has taken it. */
static void take_out(nrhost_call *call) {
    nrhost_shard *shard = nrhost_table_lock(call->host, call->sid);
    bool removed = nrhost_table_remove(shard, call);
    pthread_mutex_unlock(&shard->lock);
    if (removed) {
        nrhost_call_unref(call);
    }
}

NrStatus nrhost_submit(nrhost *host, const nrhost_request *request, nrhost_call **out) {
    *out = NULL;
    uint64_t sid = request->sid ? request->sid : nrhost_next_sid(host);
    nrhost_call *call = new_call(host, sid, request->kind);
    if (call == NULL) {
        return NR_ERR;
    }
    if (!nrhost_table_insert(host, call)) {
        atomic_store(&call->references, 1);
        nrhost_call_unref(call);
        return NR_ERR;
    }
    NrStatus status = nrhost_enter(host, request, sid);
    if (status == NR_OK) {
        *out = call;
        return status;
    }
    take_out(call);
    nrhost_call_unref(call);
    return status;
}

NrStatus nrhost_fire(nrhost *host, const nrhost_request *request) {
    return nrhost_enter(host, request, request->sid ? request->sid : nrhost_next_sid(host));
}

bool nrhost_call_reserve(nrhost_call *call) {
    size_t capacity = call->kind == NRHOST_STREAM ? call->host->stream_capacity : NRHOST_UNBOUNDED;
    pthread_mutex_lock(&call->lock);
    bool room = call->waiting < capacity;
    call->waiting += room;
    pthread_mutex_unlock(&call->lock);
    return room;
}

void nrhost_call_deliver(nrhost_call *call, nrhost_arrival *arrival, bool terminal) {
    pthread_mutex_lock(&call->lock);
    if (call->last != NULL) {
        call->last->next = arrival;
    } else {
        call->first = arrival;
    }
    call->last = arrival;
    call->finished = call->finished || terminal;
    pthread_cond_broadcast(&call->arrived);
    pthread_mutex_unlock(&call->lock);
}

static struct timespec deadline_after(double timeout_s) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    double whole = (double)(long)timeout_s;
    at.tv_sec += (time_t)whole;
    at.tv_nsec += (long)((timeout_s - whole) * 1e9);
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec += 1;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* With the call locked: false when the time is over. */
static bool wait_arrival(nrhost_call *call, double timeout_s, const struct timespec *deadline) {
    if (timeout_s < 0) {
        return pthread_cond_wait(&call->arrived, &call->lock) == 0;
    }
    return pthread_cond_timedwait(&call->arrived, &call->lock, deadline) != ETIMEDOUT;
}

nrhost_outcome nrhost_call_next(nrhost_call *call, double timeout_s, nrhost_frame *frame) {
    *frame = (nrhost_frame){0};
    struct timespec deadline = deadline_after(timeout_s < 0 ? 0 : timeout_s);
    bool in_time = true;
    pthread_mutex_lock(&call->lock);
    while (call->first == NULL && !call->finished && in_time) {
        in_time = timeout_s != 0 && wait_arrival(call, timeout_s, &deadline);
    }
    nrhost_arrival *arrival = call->first;
    bool finished = call->finished;
    if (arrival != NULL) {
        call->waiting--;
        call->first = arrival->next;
        if (call->first == NULL) {
            call->last = NULL;
        }
    }
    pthread_mutex_unlock(&call->lock);
    if (arrival == NULL) {
        return finished ? NRHOST_ENDED : NRHOST_TIMEOUT;
    }
    *frame = nrhost_arrival_open(arrival);
    return NRHOST_FRAME;
}

bool nrhost_call_finished(nrhost_call *call, double timeout_s) {
    struct timespec deadline = deadline_after(timeout_s < 0 ? 0 : timeout_s);
    bool in_time = true;
    pthread_mutex_lock(&call->lock);
    while (!call->finished && in_time) {
        in_time = wait_arrival(call, timeout_s, &deadline);
    }
    bool finished = call->finished;
    pthread_mutex_unlock(&call->lock);
    return finished;
}

uint64_t nrhost_call_sid(const nrhost_call *call) {
    return call->sid;
}

void nrhost_call_release(nrhost_call *call) {
    bool running = nrhost_ctx_of(call->host) != NULL;
    if (!call->host->front->tells_drops) {
        take_out(call); /* the next send finds no call */
    } else if (call->kind == NRHOST_STREAM && running && !nrhost_call_finished(call, 0)) {
        nrhost_close_stream(call->host, call->sid); /* Invalid when it ended just now: nothing to close */
    }
    nrhost_call_unref(call);
}

nrhost_outcome nrhost_call_unary(nrhost *host, const nrhost_request *request, double timeout_s, nrhost_frame *reply) {
    nrhost_call *call;
    *reply = (nrhost_frame){0};
    reply->status = nrhost_submit(host, request, &call);
    if (call == NULL) {
        return NRHOST_REFUSED;
    }
    nrhost_outcome outcome = nrhost_call_next(call, timeout_s, reply);
    nrhost_call_release(call);
    return outcome;
}
