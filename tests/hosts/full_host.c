/*
 * A v2 host that has no room for replies: it answers Backpressure so many times, or always.
 *
 *   full_host PLUGIN ENTRY SIZE TIMES|never
 *
 * Makes one call and prints what came of it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nylon_ring_v2.h"

static unsigned char *body;
static size_t size;
static long wanted; /* refusals; below 0: for ever */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long refused; /* guarded by lock, as is what follows */
static int taken;
static NrStatus taken_status;
static size_t taken_size;
static bool as_sent;

static NrStatus offer(NrStatus status, const uint8_t *bytes, size_t length) {
    NrStatus answer = NR_BACKPRESSURE;
    pthread_mutex_lock(&lock);
    if (wanted < 0 || refused < wanted) {
        refused++;
    } else {
        taken++;
        taken_status = status;
        taken_size = length;
        as_sent = status == NR_ERR || (length == size && memcmp(bytes, body, size) == 0);
        answer = NR_OK;
    }
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return answer;
}

static NrStatus send_result(void *ctx, uint64_t sid, NrStatus status, NrVecU8 payload) {
    (void)ctx;
    (void)sid;
    return offer(status, payload.ptr, payload.len);
}

static NrStatus send_owned(void *ctx, uint64_t sid, NrStatus status, NrOwnedBytes payload) {
    (void)ctx;
    (void)sid;
    NrStatus answer = offer(status, payload.ptr, payload.len);
    payload.release(payload.owner_ctx, payload.ptr, payload.len);
    return answer;
}

static NrBufferLease acquire(void *ctx, uint64_t sid, uint64_t capacity) {
    (void)ctx;
    (void)sid;
    (void)capacity;
    return (NrBufferLease){.ptr = NULL};
}

static NrStatus commit(void *ctx, uint64_t sid, NrStatus status, uint64_t token, uint64_t length) {
    (void)ctx;
    (void)sid;
    (void)status;
    (void)token;
    (void)length;
    return NR_INVALID;
}

static const NrHostVTableV2 functions = {send_result, send_owned, acquire, commit};

static void wait_for_reply(void) {
    pthread_mutex_lock(&lock);
    while (wanted < 0 ? refused < 3 : taken == 0) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        return 2;
    }
    size = strtoul(argv[3], NULL, 0);
    wanted = strcmp(argv[4], "never") == 0 ? -1 : strtol(argv[4], NULL, 0);
    body = malloc(size + 1);
    void *file = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    NrGetPluginFn get_plugin = NULL;
    void *symbol = file != NULL ? dlsym(file, NR_GET_PLUGIN_V2_SYMBOL) : NULL;
    memcpy(&get_plugin, &symbol, sizeof get_plugin);
    if (get_plugin == NULL || body == NULL) {
        fprintf(stderr, "full_host: %s\n", dlerror());
        return 1;
    }
    memset(body, 'x', size);
    const NrPluginVTableV2 *plugin = get_plugin()->vtable;
    int host = 0;
    if (plugin->init(&host, &functions) != NR_OK) {
        return 1;
    }
    NrStr entry = {.ptr = (const uint8_t *)argv[2], .len = (uint32_t)strlen(argv[2])};
    NrStatus status = plugin->handle(entry, 1, (NrBytes){.ptr = body, .len = size});
    if (status != NR_OK) {
        printf("handle answered %u\n", status);
        return 1;
    }
    wait_for_reply();
    plugin->shutdown();
    if (wanted < 0) {
        printf("%s\n", taken == 0 ? "never taken" : "taken");
    } else {
        printf("taken %s after %ld refusals: status %u, %zu bytes, %s\n", taken == 1 ? "once" : "again", refused,
               taken_status, taken_size, as_sent ? "as sent" : "not as sent");
    }
    free(body);
    return dlclose(file);
}
