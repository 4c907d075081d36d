/*
 * A plugin of ABI v2 for the tests of the Python host: each way to reply, with what a host must answer held by abort().
 * -DFAULT=N: 0 none, 1 get_plugin returns null, 2 another version, 3 init refuses, 4 no table, 5 no handle function.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nylon_ring_v2.h"

#ifndef FAULT
#define FAULT 0
#endif

static const NrHostVTableV2 *host;
static void *ctx;
static int dropped, released;
static pthread_t sender;

static void on_drop(uint8_t *ptr, size_t len, size_t cap) {
    dropped += (int)(len + cap);
    free(ptr);
}
static void on_release(void *owner, const uint8_t *ptr, uint64_t len) {
    (void)len;
    released++;
    (*(int *)owner)++;
    free((void *)ptr);
}

static NrVecU8 borrowed(const void *data, size_t len) {
    return (NrVecU8){.ptr = (uint8_t *)data, .len = len, .cap = len};
}
static void *copy(const void *data, size_t len) {
    void *p = malloc(len + 1);
    memcpy(p, data, len);
    return p;
}

static NrStatus lease(uint64_t sid, NrBytes in) {
    NrBufferLease l = host->acquire_result_buffer(ctx, sid, in.len + 10);
    if (l.ptr == NULL || l.cap < in.len) {
        return NR_ERR;
    }
    if (host->acquire_result_buffer(ctx, sid, 1).ptr != NULL) {
        abort();
    }
    if (host->acquire_result_buffer(ctx, sid + 1000, 1).ptr != NULL) {
        abort();
    }
    if (in.len != 0) { /* the pointer of nothing may be null, which memcpy does not take */
        memcpy(l.ptr, in.ptr, in.len);
    }
    if (host->commit_result_buffer(ctx, sid, NR_OK, l.token + 1, in.len) != NR_INVALID) {
        abort();
    }
    if (host->commit_result_buffer(ctx, sid, NR_OK, l.token, l.cap + 1) != NR_INVALID) {
        abort();
    }
    if (host->commit_result_buffer(ctx, sid, NR_OK, l.token, in.len) != NR_OK) {
        abort();
    }
    if (host->commit_result_buffer(ctx, sid, NR_OK, l.token, in.len) != NR_INVALID) {
        abort();
    }
    return NR_OK;
}

static NrStatus burst(uint64_t sid) {
    char text[64];
    int taken = 0;
    if (host->acquire_result_buffer(ctx, sid, 1).ptr != NULL) {
        abort(); /* none for a stream */
    }
    while (host->send_result(ctx, sid, NR_OK, borrowed("x", 1)) == NR_OK) {
        taken++;
    }
    if (host->send_result(ctx, sid, NR_STREAM_END, borrowed("", 0)) != NR_BACKPRESSURE) {
        abort();
    }
    snprintf(text, sizeof text, "%d", taken);
    puts(text);
    fflush(stdout);
    return NR_OK;
}

static void *send_late(void *given) {
    host->send_result(ctx, *(uint64_t *)given, NR_OK, borrowed("from a thread", 13));
    free(given);
    return NULL;
}

static NrStatus handle(NrStr entry, uint64_t sid, NrBytes in) {
#define IS(name) (entry.len == strlen(name) && memcmp(entry.ptr, name, entry.len) == 0)
    if (IS("echo")) {
        return host->send_result(ctx, sid, NR_OK, borrowed(in.ptr, in.len));
    }
    if (IS("drop")) {
        return host->send_result(
            ctx, sid, NR_OK,
            (NrVecU8){.ptr = copy(in.ptr, in.len), .len = in.len, .cap = in.len, .owned = 1, .drop_fn = on_drop});
    }
    if (IS("owned")) {
        static int owner;
        NrOwnedBytes bytes = {copy(in.ptr, in.len), in.len, &owner, on_release},
                     again = {copy("x", 1), 1, &owner, on_release};
        if (host->send_result_owned(ctx, sid, NR_OK, bytes) != NR_OK) {
            abort();
        }
        if (host->send_result_owned(ctx, sid, NR_OK, again) != NR_INVALID) {
            abort(); /* refused, and released */
        }
        return owner == released ? NR_OK : NR_ERR;
    }
    if (IS("counts")) {
        char text[64];
        int len = snprintf(text, sizeof text, "%d %d", dropped, released);
        return host->send_result(ctx, sid, NR_OK, borrowed(text, (size_t)len));
    }
    if (IS("lease")) {
        return lease(sid, in);
    }
    if (IS("burst")) {
        return burst(sid);
    }
    if (IS("flood")) {
        while (host->send_result(ctx, sid, NR_OK, borrowed("x", 1)) == NR_OK) {
        }
        return NR_OK;
    }
    if (IS("panic")) {
        return host->send_result(ctx, sid, NR_PANIC, borrowed("caught", 6));
    }
    if (IS("thread")) {
        uint64_t *given = copy(&sid, sizeof sid);
        pthread_create(&sender, NULL, send_late, given);
        return NR_OK;
    }
    return NR_INVALID;
}

static NrStatus init(void *c, const NrHostVTableV2 *h) {
    ctx = c;
    host = h;
    return FAULT == 3 ? NR_UNSUPPORTED : NR_OK;
}
static void stop(void) {
    if (FAULT == 3) {
        abort();
    }
    if (sender) {
        pthread_join(sender, NULL);
    }
    host = NULL;
}
static NrStatus data(uint64_t sid, NrBytes in) {
    (void)in;
    (void)sid;
    return NR_BACKPRESSURE;
}
static NrStatus end(uint64_t sid) {
    (void)sid;
    return 77;
}
static uint32_t resolve(NrStr entry) {
    return IS("echo") ? 7 : NR_ENTRY_UNKNOWN;
}
static NrStatus by_id(uint32_t id, uint64_t sid, NrBytes in) {
    return id == 7 ? handle((NrStr){(const uint8_t *)"echo", 4, 0}, sid, in) : NR_INVALID;
}

static const NrPluginVTableV2 table = {init, FAULT == 5 ? NULL : handle, stop, data, end, resolve, by_id};
static const NrPluginInfo info = {FAULT == 2 ? 9 : 2,           sizeof info, {(const uint8_t *)"c_v2", 4, 0},
                                  {(const uint8_t *)"3", 1, 0}, NULL,        FAULT == 4 ? NULL : &table};
const NrPluginInfo *nylon_ring_get_plugin(void);
const NrPluginInfo *nylon_ring_get_plugin(void) {
    return FAULT == 1 ? NULL : &info;
}
