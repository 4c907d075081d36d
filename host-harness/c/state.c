/*
 * State by sid. A value belongs to its call's record, so it lives exactly as long: there is nothing left to
 * clear after the terminal reply, and a value set for a sid without a call is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static bool malformed(NrStr key, NrBytes value) {
    return (key.ptr == NULL && key.len > 0) || (value.ptr == NULL && value.len > 0);
}

static NrBytes refusal(const char *reason) {
    return nrhost_bytes(reason, strlen(reason));
}

static nrhost_state **find(nrhost_state **states, NrStr key) {
    while (*states != NULL &&
           ((*states)->key_len != key.len || (key.len > 0 && memcmp((*states)->bytes, key.ptr, key.len) != 0))) {
        states = &(*states)->next;
    }
    return states;
}

/* Where the states of a sid hang: at this thread's fast call, or at the call in the table. Shard locked. */
static nrhost_state **states_of(nrhost *host, nrhost_shard *shard, uint64_t sid) {
    nrhost_slot *slot = nrhost_slot_of(host, sid);
    if (slot != NULL) {
        return &slot->states;
    }
    nrhost_call *call = nrhost_table_find(shard, sid);
    return call != NULL ? &call->states : NULL;
}

static NrBytes set_state(void *host_ctx, uint64_t sid, NrStr key, NrBytes value) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    if (host == NULL) {
        return refusal("the host was shut down");
    }
    if (malformed(key, value)) {
        return refusal("null pointer with a length");
    }
    nrhost_state *fresh = malloc(sizeof *fresh + key.len + value.len);
    if (fresh == NULL) {
        return refusal("out of memory");
    }
    *fresh = (nrhost_state){.key_len = key.len, .value_len = value.len};
    if (key.len > 0) {
        memcpy(fresh->bytes, key.ptr, key.len);
    }
    if (value.len > 0) {
        memcpy(fresh->bytes + key.len, value.ptr, value.len);
    }
    nrhost_state *old = fresh;
    nrhost_shard *shard = nrhost_table_lock(host, sid);
    nrhost_state **states = states_of(host, shard, sid);
    if (states != NULL) {
        nrhost_state **place = find(states, key);
        old = *place;
        fresh->next = old != NULL ? old->next : NULL;
        *place = fresh;
    }
    pthread_mutex_unlock(&shard->lock);
    free(old);
    return states != NULL ? (NrBytes){0} : refusal("no call with this sid is in progress");
}

bool nrhost_state_get(nrhost *host, uint64_t sid, NrStr key, nrhost_frame *value) {
    *value = (nrhost_frame){0};
    nrhost_shard *shard = nrhost_table_lock(host, sid);
    nrhost_state **states = states_of(host, shard, sid);
    const nrhost_state *state = states != NULL ? *find(states, key) : NULL;
    bool found = state != NULL;
    if (found && state->value_len > 0) {
        NrBytes view = {.ptr = state->bytes + state->key_len, .len = state->value_len};
        *value = nrhost_arrival_open(nrhost_arrival_copy(sid, NR_OK, view));
    }
    pthread_mutex_unlock(&shard->lock);
    return found;
}

static pthread_key_t last_value;
static pthread_once_t last_value_once = PTHREAD_ONCE_INIT;

static void free_last_value(void *given) {
    nrhost_frame_free(given);
    free(given);
}

static void make_last_value(void) {
    pthread_key_create(&last_value, free_last_value);
}

/* The answer is a copy that dies with this thread's next question: a plugin that keeps the pointer is found out. */
static NrBytes get_state(void *host_ctx, uint64_t sid, NrStr key) {
    nrhost *host = nrhost_of_ctx(host_ctx);
    if (host == NULL || malformed(key, (NrBytes){0})) {
        return (NrBytes){0};
    }
    pthread_once(&last_value_once, make_last_value);
    nrhost_frame *value = pthread_getspecific(last_value);
    if (value == NULL) {
        value = calloc(1, sizeof *value);
        if (value == NULL || pthread_setspecific(last_value, value) != 0) {
            free(value);
            return (NrBytes){0};
        }
    }
    nrhost_frame_free(value);
    nrhost_state_get(host, sid, key, value);
    return nrhost_bytes(value->data, value->len);
}

const NrHostExt nrhost_ext = {.set_state = set_state, .get_state = get_state};

static size_t count(const nrhost_state *states) {
    size_t n = 0;
    for (; states != NULL; states = states->next) {
        n++;
    }
    return n;
}

size_t nrhost_state_count(nrhost *host, uint64_t sid) {
    size_t total = 0;
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        nrhost_shard *shard = &host->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (size_t b = 0; b < shard->bucket_count; b++) {
            for (const nrhost_call *call = shard->buckets[b]; call != NULL; call = call->next) {
                if (sid == 0 || call->sid == sid) {
                    total += count(call->states);
                }
            }
        }
        pthread_mutex_unlock(&shard->lock);
    }
    return total;
}

void nrhost_states_free(nrhost_state *states) {
    while (states != NULL) {
        nrhost_state *next = states->next;
        free(states);
        states = next;
    }
}
