/* A call in memory of its own, in one block: what the floor's worker is given. */
#ifndef FLOOR_COPY_H
#define FLOOR_COPY_H

#include "nylon_ring_v1.h"
#include "queue.h"

typedef struct {
    queued link;
    uint32_t id; /* of its entry; set by who copies */
    uint64_t sid;
    NrRequest meta;
    NrBytes body;
} copied_call;

/* Returns new memory, to free(); NULL where there is none. `meta` may be NULL: there are no headers then. */
copied_call *copy_call(uint64_t sid, const NrRequest *meta, NrBytes body);

#endif /* FLOOR_COPY_H */
