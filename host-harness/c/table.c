/* The calls in progress by sid, in shards: two calls meet at a lock only when their sids share a shard. */
#include <stdlib.h>

#include "internal.h"

void nrhost_table_init(nrhost *host) {
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        pthread_mutex_init(&host->shards[i].lock, NULL);
    }
}

void nrhost_table_free(nrhost *host) {
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        nrhost_shard *shard = &host->shards[i];
        for (size_t b = 0; b < shard->bucket_count; b++) {
            while (shard->buckets[b] != NULL) {
                nrhost_call *call = shard->buckets[b];
                nrhost_table_remove(shard, call);
                nrhost_call_unref(call);
            }
        }
        free(shard->buckets);
        pthread_mutex_destroy(&shard->lock);
    }
}

nrhost_shard *nrhost_table_lock(nrhost *host, uint64_t sid) {
    nrhost_shard *shard = &host->shards[nrhost_shard_index(sid)];
    pthread_mutex_lock(&shard->lock);
    return shard;
}

/* The shard index takes the hash's top bits, the bucket the ones below. */
static nrhost_call **bucket_of(nrhost_call **buckets, size_t count, uint64_t sid) {
    return &buckets[((sid * 0x9e3779b97f4a7c15u) >> 26) & (count - 1)];
}

/* At the tail: of two calls with one sid the older is found first. */
static void append(nrhost_call **bucket, nrhost_call *call) {
    while (*bucket != NULL) {
        bucket = &(*bucket)->next;
    }
    call->next = NULL;
    *bucket = call;
}

static bool grow(nrhost_shard *shard) {
    size_t count = shard->bucket_count ? shard->bucket_count * 2 : 16;
    nrhost_call **buckets = calloc(count, sizeof(nrhost_call *));
    if (buckets == NULL) {
        return false;
    }
    for (size_t b = 0; b < shard->bucket_count; b++) {
        for (nrhost_call *call = shard->buckets[b], *next; call != NULL; call = next) {
            next = call->next;
            append(bucket_of(buckets, count, call->sid), call);
        }
    }
    free(shard->buckets);
    shard->buckets = buckets;
    shard->bucket_count = count;
    return true;
}

bool nrhost_table_insert(nrhost *host, nrhost_call *call) {
    nrhost_shard *shard = nrhost_table_lock(host, call->sid);
    bool room = shard->calls < shard->bucket_count || grow(shard) || shard->bucket_count > 0;
    if (room) {
        append(bucket_of(shard->buckets, shard->bucket_count, call->sid), call);
        shard->calls++;
    }
    pthread_mutex_unlock(&shard->lock);
    return room;
}

nrhost_call *nrhost_table_find(nrhost_shard *shard, uint64_t sid) {
    if (shard->bucket_count == 0) {
        return NULL;
    }
    nrhost_call *call = *bucket_of(shard->buckets, shard->bucket_count, sid);
    while (call != NULL && call->sid != sid) {
        call = call->next;
    }
    return call;
}

bool nrhost_table_remove(nrhost_shard *shard, nrhost_call *call) {
    if (shard->bucket_count == 0) {
        return false;
    }
    nrhost_call **link = bucket_of(shard->buckets, shard->bucket_count, call->sid);
    while (*link != NULL && *link != call) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return false;
    }
    *link = call->next;
    shard->calls--;
    return true;
}
