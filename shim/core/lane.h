/*
 * A lane: where calls wait, and who works at them. An instance has one for its workers, one for the threads of plain
 * duplex handlers, and one for each event loop.
 */
#ifndef NRPY_LANE_H
#define NRPY_LANE_H

#include "loop.h"
#include "queue.h"
#include "workers.h"

typedef struct nrpy_lane {
    nrpy_queue *queue;
    nrpy_pool *pool;      /* NULL: an event loop's */
    nrpy_loop *loop;      /* NULL: a pool's */
    bool thread_per_item; /* an item may keep its thread for long: the next one does not wait for it */
} nrpy_lane;

/* Takes `item` when it answers NRPY_PUSHED, and has somebody look at it. */
static inline nrpy_push_result nrpy_lane_push(const nrpy_lane *lane, nrpy_item *item, bool limited) {
    nrpy_push_result pushed = nrpy_queue_push(lane->queue, item, limited);
    if (pushed == NRPY_PUSHED) {
        if (lane->loop != NULL) {
            nrpy_loop_notify(lane->loop);
        } else if (lane->thread_per_item) {
            nrpy_pool_add_worker(lane->pool);
        } else {
            nrpy_pool_notify(lane->pool);
        }
    }
    return pushed;
}

#endif /* NRPY_LANE_H */
