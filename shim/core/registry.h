/*
 * The open exchanges of an instance, found by sid: streams, and unary calls that may be answered from anywhere.
 */
#ifndef NRPY_REGISTRY_H
#define NRPY_REGISTRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nrpy_exchange;

typedef struct nrpy_registry {
    pthread_mutex_t lock; /* guards all but the counts; nothing is called with it held */
    struct nrpy_exchange **buckets;
    size_t size; /* a power of two, 0 before the first */
    bool closed;
    _Atomic size_t count;
    _Atomic size_t streams;
} nrpy_registry;

typedef enum { NRPY_ADDED, NRPY_STREAM_IS_OPEN, NRPY_REGISTRY_CLOSED, NRPY_NO_MEMORY } nrpy_add_result;

void nrpy_registry_init(nrpy_registry *registry);
void nrpy_registry_destroy(nrpy_registry *registry);

/* Adds it, with a reference of the registry's own, unless a stream with its sid is open. */
nrpy_add_result nrpy_registry_add(nrpy_registry *registry, struct nrpy_exchange *exchange);

/* Puts an exchange whose terminal the host has not taken back in, closed or not. Returns false without memory. */
bool nrpy_registry_restore(nrpy_registry *registry, struct nrpy_exchange *exchange);

/* Takes it out and drops the registry's reference; returns false where it was not in. */
bool nrpy_registry_remove(nrpy_registry *registry, struct nrpy_exchange *exchange);

/* A new reference, or NULL. */
struct nrpy_exchange *nrpy_registry_find(nrpy_registry *registry, uint64_t sid);

bool nrpy_registry_has_stream(nrpy_registry *registry, uint64_t sid);

/* Refuses additions from here on. */
void nrpy_registry_close(nrpy_registry *registry);

/* Where a walk over a closed registry stands. Zeroed: at its beginning. */
typedef struct nrpy_registry_walk {
    size_t bucket;
    uintptr_t passed; /* addresses up to this one are behind it in the bucket */
} nrpy_registry_walk;

/* A new reference to the next of those that are in it now, or NULL at the end. Takes no memory: whoever closes has to
 * reach them all. */
struct nrpy_exchange *nrpy_registry_next(nrpy_registry *registry, nrpy_registry_walk *walk);

#endif /* NRPY_REGISTRY_H */
