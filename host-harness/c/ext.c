/* `nylon_ring_host_ext`: how a plugin in C finds the state functions of a host it knows only by host_ctx. */
#include <stdlib.h>

#include "internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static nrhost_ctx *live;
static nrhost_ctx *dead; /* kept on purpose: see nrhost_options.keep_dead_ctx */

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
    if (keep) {
        ctx->next = dead;
        dead = ctx;
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
