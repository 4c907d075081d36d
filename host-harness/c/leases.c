/*
 * Buffers lent to a plugin. Until it gives one back, or is shut down, the memory must stay: also when the call has been
 * given up or answered otherwise, since the plugin may still be writing.
 */
#include <stdlib.h>

#include "internal.h"

static _Atomic uint64_t last_token;

NrBufferLease nrhost_lease_out(nrhost *host, uint64_t sid, uint64_t capacity) {
    NrBufferLease refused = {0};
    nrhost_lease *lease = malloc(sizeof *lease);
    nrhost_arrival *room = nrhost_arrival_room(capacity);
    if (lease == NULL || room == NULL) {
        free(lease);
        free(room);
        return refused;
    }
    *lease = (nrhost_lease){.token = atomic_fetch_add(&last_token, 1) + 1, .cap = capacity, .arrival = room};
    NrBufferLease given = {.ptr = room->bytes, .cap = capacity, .token = lease->token};
    nrhost_slot *slot = nrhost_slot_of(host, sid);
    nrhost_shard *shard = nrhost_table_lock(host, sid);
    nrhost_call *call = slot == NULL ? nrhost_table_find(shard, sid) : NULL;
    uint64_t *place = slot != NULL ? &slot->lease : call != NULL && call->kind == NRHOST_UNARY ? &call->lease : NULL;
    bool granted = place != NULL && *place == 0;
    if (granted) {
        *place = lease->token;
        lease->next = shard->leases;
        shard->leases = lease;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!granted) {
        free(lease);
        free(room);
        return refused;
    }
    return given;
}

nrhost_arrival *nrhost_lease_back(nrhost *host, uint64_t sid, uint64_t token, uint64_t len, bool *abandoned) {
    nrhost_arrival *room = NULL;
    *abandoned = false;
    nrhost_slot *slot = nrhost_slot_of(host, sid);
    nrhost_shard *shard = nrhost_table_lock(host, sid);
    nrhost_lease **link = &shard->leases;
    while (*link != NULL && (*link)->token != token) {
        link = &(*link)->next;
    }
    nrhost_lease *lease = *link;
    if (lease != NULL) {
        nrhost_call *call = slot == NULL ? nrhost_table_find(shard, sid) : NULL;
        uint64_t *place = slot != NULL ? &slot->lease : call != NULL ? &call->lease : NULL;
        *abandoned = place == NULL || *place != token;
        if (*abandoned || len <= lease->cap) {
            *link = lease->next;
            room = lease->arrival;
            if (!*abandoned) {
                *place = 0;
                room->frame.len = len;
            }
            free(lease);
        }
    }
    pthread_mutex_unlock(&shard->lock);
    return room;
}

size_t nrhost_leases(nrhost *host) {
    size_t count = 0;
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        pthread_mutex_lock(&host->shards[i].lock);
        for (const nrhost_lease *lease = host->shards[i].leases; lease != NULL; lease = lease->next) {
            count++;
        }
        pthread_mutex_unlock(&host->shards[i].lock);
    }
    return count;
}

void nrhost_leases_free(nrhost *host) {
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        nrhost_shard *shard = &host->shards[i];
        pthread_mutex_lock(&shard->lock);
        nrhost_lease *lease = shard->leases;
        shard->leases = NULL;
        pthread_mutex_unlock(&shard->lock);
        while (lease != NULL) {
            nrhost_lease *next = lease->next;
            free(lease->arrival);
            free(lease);
            lease = next;
        }
    }
}
