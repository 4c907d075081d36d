/* `nylon_ring_host_ext`: how a plugin in C finds the state functions of a host it knows only by host_ctx. */
#include <stdlib.h>

#include "internal.h"

#define KEPT_IN_A_BLOCK 1000u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static nrhost_ctx *live;

/* Contexts that are kept on purpose lie side by side (see nrhost_options.keep_dead_ctx): each by itself in the heap would
 * keep the page around it, for each plugin that was ever loaded. */
typedef struct block {
    struct block *next;
    size_t used;
    nrhost_ctx contexts[KEPT_IN_A_BLOCK];
} block;

static block *blocks; /* guarded by the lock */

static nrhost_ctx *take_kept(void) {
    nrhost_ctx *ctx = NULL;
    pthread_mutex_lock(&lock);
    if (blocks == NULL || blocks->used == KEPT_IN_A_BLOCK) {
        block *fresh = calloc(1, sizeof *fresh);
        if (fresh != NULL) {
            fresh->next = blocks;
            blocks = fresh;
        }
    }
    if (blocks != NULL && blocks->used < KEPT_IN_A_BLOCK) {
        ctx = &blocks->contexts[blocks->used++];
    }
    pthread_mutex_unlock(&lock);
    return ctx;
}

nrhost_ctx *nrhost_ctx_make(nrhost *host, bool keep) {
    nrhost_ctx *ctx = keep ? take_kept() : malloc(sizeof *ctx);
    if (ctx != NULL) {
        *ctx = (nrhost_ctx){.host = host};
        atomic_init(&ctx->magic, NRHOST_CTX_LIVE);
    }
    return ctx;
}

void nrhost_ctx_publish(nrhost_ctx *ctx) {
    pthread_mutex_lock(&lock);
    ctx->next = live;
    live = ctx;
    pthread_mutex_unlock(&lock);
}

void nrhost_ctx_retire(nrhost_ctx *ctx, bool keep) {
    pthread_mutex_lock(&lock);
    for (nrhost_ctx **link = &live; *link != NULL; link = &(*link)->next) {
        if (*link == ctx) {
            *link = ctx->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    if (keep) {
        atomic_store(&ctx->magic, NRHOST_CTX_DEAD);
    } else {
        free(ctx);
    }
}

/* A context is compared, never read: it may be another host's. */
__attribute__((visibility("default"))) const NrHostExt *nylon_ring_host_ext(void *host_ctx);

const NrHostExt *nylon_ring_host_ext(void *host_ctx) {
    const NrHostExt *found = NULL;
    pthread_mutex_lock(&lock);
    for (const nrhost_ctx *ctx = live; ctx != NULL && found == NULL; ctx = ctx->next) {
        if (ctx == host_ctx) {
            found = &nrhost_ext;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}
