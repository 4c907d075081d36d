#include "registry.h"

#include "exchange.h"

#include <stdlib.h>

void nrpy_registry_init(nrpy_registry *registry) {
    pthread_mutex_init(&registry->lock, NULL);
    registry->buckets = NULL;
    registry->size = 0;
    registry->closed = false;
    atomic_init(&registry->count, 0);
    atomic_init(&registry->streams, 0);
}

void nrpy_registry_destroy(nrpy_registry *registry) {
    free(registry->buckets);
    pthread_mutex_destroy(&registry->lock);
}

static nrpy_exchange **bucket_of(const nrpy_registry *registry, uint64_t sid) {
    return &registry->buckets[(sid * 0x9e3779b97f4a7c15u >> 32) & (registry->size - 1)];
}

/* The lock is held. */
static nrpy_exchange *find(const nrpy_registry *registry, uint64_t sid, bool streams_only) {
    if (registry->size == 0) {
        return NULL;
    }
    nrpy_exchange *exchange = *bucket_of(registry, sid);
    while (exchange != NULL && (exchange->sid != sid || (streams_only && !exchange->is_stream))) {
        exchange = exchange->bucket_next;
    }
    return exchange;
}

/* The lock is held. */
static bool grow(nrpy_registry *registry) {
    size_t old_size = registry->size;
    nrpy_exchange **old = registry->buckets;
    size_t size = old_size == 0 ? 16 : old_size * 2;
    nrpy_exchange **buckets = calloc(size, sizeof(nrpy_exchange *));
    if (buckets == NULL) {
        return old_size != 0; /* a crowded table still works */
    }
    registry->buckets = buckets;
    registry->size = size;
    for (size_t i = 0; i < old_size; i++) {
        for (nrpy_exchange *exchange = old[i]; exchange != NULL;) {
            nrpy_exchange *next = exchange->bucket_next;
            nrpy_exchange **bucket = bucket_of(registry, exchange->sid);
            exchange->bucket_next = *bucket;
            *bucket = exchange;
            exchange = next;
        }
    }
    free(old);
    return true;
}

/* The lock is held. */
static bool insert(nrpy_registry *registry, nrpy_exchange *exchange) {
    /* Once it is closed a walk may be going on, which goes by the buckets; what comes back to it then was in it before. */
    bool may_grow = !registry->closed || registry->size == 0;
    if (atomic_load(&registry->count) >= registry->size && may_grow && !grow(registry)) {
        return false;
    }
    nrpy_exchange **bucket = bucket_of(registry, exchange->sid);
    nrpy_exchange_retain(exchange);
    exchange->bucket_next = *bucket;
    exchange->is_registered = true;
    *bucket = exchange;
    atomic_fetch_add(&registry->count, 1);
    if (exchange->is_stream) {
        atomic_fetch_add(&registry->streams, 1);
    }
    return true;
}

bool nrpy_registry_restore(nrpy_registry *registry, nrpy_exchange *exchange) {
    pthread_mutex_lock(&registry->lock);
    bool inserted = insert(registry, exchange);
    pthread_mutex_unlock(&registry->lock);
    return inserted;
}

nrpy_add_result nrpy_registry_add(nrpy_registry *registry, nrpy_exchange *exchange) {
    nrpy_add_result result = NRPY_ADDED;
    pthread_mutex_lock(&registry->lock);
    if (registry->closed) {
        result = NRPY_REGISTRY_CLOSED;
    } else if (find(registry, exchange->sid, true) != NULL) {
        result = NRPY_STREAM_IS_OPEN;
    } else if (!insert(registry, exchange)) {
        result = NRPY_NO_MEMORY;
    }
    pthread_mutex_unlock(&registry->lock);
    return result;
}

bool nrpy_registry_remove(nrpy_registry *registry, nrpy_exchange *exchange) {
    pthread_mutex_lock(&registry->lock);
    bool found = exchange->is_registered;
    if (found) {
        nrpy_exchange **link = bucket_of(registry, exchange->sid);
        while (*link != exchange) {
            link = &(*link)->bucket_next;
        }
        *link = exchange->bucket_next;
        exchange->is_registered = false;
        atomic_fetch_sub(&registry->count, 1);
        if (exchange->is_stream) {
            atomic_fetch_sub(&registry->streams, 1);
        }
    }
    pthread_mutex_unlock(&registry->lock);
    if (found) {
        nrpy_exchange_release(exchange);
    }
    return found;
}

nrpy_exchange *nrpy_registry_find(nrpy_registry *registry, uint64_t sid) {
    if (atomic_load(&registry->count) == 0) {
        return NULL;
    }
    pthread_mutex_lock(&registry->lock);
    nrpy_exchange *exchange = find(registry, sid, true);
    if (exchange == NULL) {
        exchange = find(registry, sid, false);
    }
    if (exchange != NULL) {
        nrpy_exchange_retain(exchange);
    }
    pthread_mutex_unlock(&registry->lock);
    return exchange;
}

bool nrpy_registry_has_stream(nrpy_registry *registry, uint64_t sid) {
    if (atomic_load_explicit(&registry->streams, memory_order_acquire) == 0) {
        return false;
    }
    pthread_mutex_lock(&registry->lock);
    bool found = find(registry, sid, true) != NULL;
    pthread_mutex_unlock(&registry->lock);
    return found;
}

void nrpy_registry_close(nrpy_registry *registry) {
    pthread_mutex_lock(&registry->lock);
    registry->closed = true;
    pthread_mutex_unlock(&registry->lock);
}

/* The lock is held. The first by address that the walk has not been at. */
static nrpy_exchange *next_in_bucket(const nrpy_registry *registry, const nrpy_registry_walk *walk) {
    nrpy_exchange *next = NULL;
    for (nrpy_exchange *each = registry->buckets[walk->bucket]; each != NULL; each = each->bucket_next) {
        if ((uintptr_t)each > walk->passed && (next == NULL || (uintptr_t)each < (uintptr_t)next)) {
            next = each;
        }
    }
    return next;
}

nrpy_exchange *nrpy_registry_next(nrpy_registry *registry, nrpy_registry_walk *walk) {
    nrpy_exchange *next = NULL;
    pthread_mutex_lock(&registry->lock);
    while (next == NULL && walk->bucket < registry->size) {
        next = next_in_bucket(registry, walk);
        if (next == NULL) {
            walk->bucket++;
            walk->passed = 0;
        }
    }
    if (next != NULL) {
        walk->passed = (uintptr_t)next;
        nrpy_exchange_retain(next);
    }
    pthread_mutex_unlock(&registry->lock);
    return next;
}
