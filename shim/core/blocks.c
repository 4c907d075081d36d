#include "blocks.h"

#include "prefetch.h"
#include "watched.h"

#include <stdlib.h>

/* 1,000 bytes hold a usual request; a longer one is malloc's. A thread keeps 1 MiB at most. Givers pass 32 at a time:
 * one contended word for 32 blocks. */
enum { BLOCK_SIZE = 1024, OWNED_MAX = 1024, GIVE_AT_ONCE = 32 };

typedef struct nrpy_block {
    union {
        struct {
            nrpy_block_home *home; /* NULL: malloc's */
            struct nrpy_block *next;
        };
        max_align_t alignment;
    };
    unsigned char bytes[];
} nrpy_block;

void *nrpy_block_make(size_t size) {
    size_t total = sizeof(nrpy_block) + size;
    nrpy_block *block = total < size ? NULL : malloc(total);
    if (block == NULL) {
        return NULL;
    }
    block->home = NULL;
    return block->bytes;
}

void *nrpy_block_take(nrpy_block_home *home, size_t size) {
    if (size > BLOCK_SIZE - sizeof(nrpy_block)) {
        return nrpy_block_make(size);
    }
    nrpy_block *block = home->spare;
    if (block == NULL) {
        block = atomic_load_explicit(&home->returned, memory_order_relaxed) == NULL
                    ? NULL
                    : atomic_exchange_explicit(&home->returned, NULL, memory_order_acquire);
    }
    if (block != NULL) {
        home->spare = block->next;
        nrpy_prefetch_to_write(home->spare, NRPY_CALL_LINES); /* for the next call: its giver's core has them */
        return block->bytes;
    }
    block = malloc(BLOCK_SIZE);
    if (block == NULL) {
        return NULL;
    }
    block->home = NULL;
    if (!NRPY_IS_WATCHED && home->owned < OWNED_MAX) {
        home->owned++;
        block->home = home;
    }
    return block->bytes;
}

void nrpy_block_flush(nrpy_block_home *giver) {
    nrpy_block *first = giver->outward;
    if (first == NULL) {
        return;
    }
    nrpy_block *last = first;
    while (last->next != NULL) {
        last = last->next;
    }
    nrpy_block_home *home = first->home;
    nrpy_block *before = atomic_load_explicit(&home->returned, memory_order_relaxed);
    do {
        last->next = before;
    } while (!atomic_compare_exchange_weak_explicit(&home->returned, &before, first, memory_order_release,
                                                    memory_order_relaxed));
    giver->outward = NULL;
    giver->outward_count = 0;
}

void nrpy_block_give(nrpy_block_home *giver, void *memory) {
    nrpy_block *block = (nrpy_block *)(void *)((unsigned char *)memory - offsetof(nrpy_block, bytes));
    nrpy_block_home *home = block->home;
    if (home == NULL) {
        free(block);
        return;
    }
    if (home == giver) {
        block->next = giver->spare;
        giver->spare = block;
        return;
    }
    if (giver->outward != NULL && giver->outward->home != home) {
        nrpy_block_flush(giver);
    }
    block->next = giver->outward;
    giver->outward = block;
    if (++giver->outward_count >= GIVE_AT_ONCE) {
        nrpy_block_flush(giver);
    }
}
