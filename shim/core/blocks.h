/*
 * Memory for calls: blocks that one thread takes and another gives back.
 *
 * malloc is at its worst with that pattern: the taker's cache is always empty, the giver's always full, and both meet at
 * the arena's lock. So a block goes home to the thread that took it, many at a time, and is used again there.
 */
#ifndef NRPY_BLOCKS_H
#define NRPY_BLOCKS_H

#include <stdatomic.h>
#include <stddef.h>

struct nrpy_block;

/* Where a thread's blocks come from. Zeroed memory is a valid one; it may pass to another thread when its own ends. */
typedef struct nrpy_block_home {
    struct nrpy_block *spare;   /* the thread's own */
    unsigned owned;             /* blocks that belong here, wherever they are; the thread's own */
    struct nrpy_block *outward; /* blocks this thread gives back, all to one other home; the thread's own */
    unsigned outward_count;     /* likewise */
    _Alignas(64) _Atomic(struct nrpy_block *) returned; /* pushed by givers, taken whole by the thread */
} nrpy_block_home;

/* At least `size` bytes, aligned for any type, or NULL. `home` is the calling thread's. */
void *nrpy_block_take(nrpy_block_home *home, size_t size);

/* The same of the very size, for what stays long: there are few kinds of it to be fast for, and many of each. */
void *nrpy_block_make(size_t size);

/* Gives a block back from any thread; `giver` is the calling thread's home. */
void nrpy_block_give(nrpy_block_home *giver, void *memory);

/* Sends home what nrpy_block_give has put together: before the thread rests, or ends. */
void nrpy_block_flush(nrpy_block_home *giver);

#endif /* NRPY_BLOCKS_H */
