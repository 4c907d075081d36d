/*
 * State per sid, kept in the plugin where the host offers none: made at the first set, gone with the sid's terminal
 * reply.
 */
#ifndef NRPY_STATE_H
#define NRPY_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NRPY_STATE_BUCKETS = 256 };

typedef struct nrpy_state_value {
    struct nrpy_state_value *next;
    uint64_t sid;
    size_t key_length;
    size_t length;
    unsigned char bytes[]; /* the key, then the value */
} nrpy_state_value;

typedef struct nrpy_state {
    pthread_mutex_t lock; /* guards the buckets */
    nrpy_state_value *buckets[NRPY_STATE_BUCKETS];
    _Atomic size_t count;
} nrpy_state;

void nrpy_state_init(nrpy_state *state);
void nrpy_state_destroy(nrpy_state *state);

/* Copies key and value. Returns false without memory. */
bool nrpy_state_set(nrpy_state *state, uint64_t sid, const void *key, size_t key_length, const void *value,
                    size_t length);

/* A copy for the caller to free, with its length; NULL and 0: none. `*no_memory` tells a failed copy from that. */
void *nrpy_state_get(nrpy_state *state, uint64_t sid, const void *key, size_t key_length, size_t *length,
                     bool *no_memory);

void nrpy_state_drop_all(nrpy_state *state, uint64_t sid);

static inline void nrpy_state_drop(nrpy_state *state, uint64_t sid) {
    if (atomic_load_explicit(&state->count, memory_order_relaxed) != 0) {
        nrpy_state_drop_all(state, sid);
    }
}

#endif /* NRPY_STATE_H */
