#include "state.h"

#include <stdlib.h>
#include <string.h>

void nrpy_state_init(nrpy_state *state) {
    memset(state, 0, sizeof *state);
    pthread_mutex_init(&state->lock, NULL);
}

static void free_list(nrpy_state_value *value) {
    while (value != NULL) {
        nrpy_state_value *next = value->next;
        free(value);
        value = next;
    }
}

void nrpy_state_destroy(nrpy_state *state) {
    for (size_t i = 0; i < NRPY_STATE_BUCKETS; i++) {
        free_list(state->buckets[i]);
        state->buckets[i] = NULL;
    }
    pthread_mutex_destroy(&state->lock);
}

/* The lock is held. The link that points to the value, or to the end of its bucket's list. */
static nrpy_state_value **find(nrpy_state *state, uint64_t sid, const void *key, size_t key_length) {
    nrpy_state_value **link = &state->buckets[sid % NRPY_STATE_BUCKETS];
    while (*link != NULL &&
           ((*link)->sid != sid || (*link)->key_length != key_length || memcmp((*link)->bytes, key, key_length) != 0)) {
        link = &(*link)->next;
    }
    return link;
}

bool nrpy_state_set(nrpy_state *state, uint64_t sid, const void *key, size_t key_length, const void *value,
                    size_t length) {
    nrpy_state_value *made = malloc(sizeof *made + key_length + length);
    if (made == NULL) {
        return false;
    }
    made->sid = sid;
    made->key_length = key_length;
    made->length = length;
    memcpy(made->bytes, key, key_length);
    if (length > 0) {
        memcpy(made->bytes + key_length, value, length);
    }
    pthread_mutex_lock(&state->lock);
    nrpy_state_value **link = find(state, sid, key, key_length);
    nrpy_state_value *replaced = *link;
    made->next = replaced != NULL ? replaced->next : NULL;
    *link = made;
    if (replaced == NULL) {
        atomic_fetch_add(&state->count, 1);
    }
    pthread_mutex_unlock(&state->lock);
    free(replaced);
    return true;
}

void *nrpy_state_get(nrpy_state *state, uint64_t sid, const void *key, size_t key_length, size_t *length,
                     bool *no_memory) {
    void *copy = NULL;
    *length = 0;
    *no_memory = false;
    pthread_mutex_lock(&state->lock);
    const nrpy_state_value *value = *find(state, sid, key, key_length);
    if (value != NULL) {
        copy = malloc(value->length + 1);
        *no_memory = copy == NULL;
        if (copy != NULL) {
            memcpy(copy, value->bytes + key_length, value->length);
            *length = value->length;
        }
    }
    pthread_mutex_unlock(&state->lock);
    return copy;
}

void nrpy_state_drop_all(nrpy_state *state, uint64_t sid) {
    nrpy_state_value *dropped = NULL;
    pthread_mutex_lock(&state->lock);
    nrpy_state_value **link = &state->buckets[sid % NRPY_STATE_BUCKETS];
    while (*link != NULL) {
        nrpy_state_value *value = *link;
        if (value->sid == sid) {
            *link = value->next;
            value->next = dropped;
            dropped = value;
            atomic_fetch_sub(&state->count, 1);
        } else {
            link = &value->next;
        }
    }
    pthread_mutex_unlock(&state->lock);
    free_list(dropped);
}
