/*
 * A v1 plugin for what the plain test plugin does not do. A mode is chosen when it is compiled:
 * -DABI=2, -DSIZE=8, -DNO_TABLE, -DNO_HANDLE, -DNO_INFO make a file that is no plugin; -DREFUSES fails in init;
 * -DTRACE="file" writes a line there at init, shutdown and dlclose.
 *
 * Entries: pair (two threads send for one sid), counter (a duplex stream that counts in the host's state), keep (sets
 * state and answers when `release` is called, or at shutdown), closed (how many stream_close calls there were),
 * null_payload, status_7, refuse_with_7, answers_elsewhere, shutdown_waits (at shutdown, for a byte from the descriptor
 * in the payload). -DRAW: six functions, and handle_raw answers every entry itself.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nylon_ring_v1.h"

#ifndef ABI
#define ABI 1
#endif
#ifndef SIZE
#define SIZE sizeof(NrPluginInfo)
#endif
#define PAIR_FRAMES 20000u
#define KEPT_MAX 64u
#define THREADS_MAX 64u

static void *host_ctx;
static const NrHostVTable *host;
static const NrHostExt *ext;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by lock, all that follows. */
static uint64_t kept[KEPT_MAX];
static uint64_t kept_count;
static pthread_t threads[THREADS_MAX];
static size_t thread_count;
static int waited_for = -1; /* the descriptor that shutdown reads */
static uint64_t closed;     /* how many stream_close calls there were */

static void send(uint64_t sid, NrStatus status, const void *data, size_t len) {
    host->send_result(host_ctx, sid, status, (NrBytes){.ptr = data, .len = len});
}

typedef struct sender {
    uint64_t sid;
    uint32_t number;
    pthread_barrier_t *start;
} sender;

static void *send_numbered(void *given) {
    sender *s = given;
    pthread_barrier_wait(s->start);
    for (uint32_t i = 0; i < PAIR_FRAMES; i++) {
        uint32_t frame[2] = {s->number, i};
        send(s->sid, NR_OK, frame, sizeof frame);
    }
    return NULL;
}

static void *run_pair(void *given) {
    uint64_t sid = (uint64_t)(uintptr_t)given;
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);
    sender senders[2] = {{sid, 0, &start}, {sid, 1, &start}};
    pthread_t other;
    if (pthread_create(&other, NULL, send_numbered, &senders[1]) != 0) {
        abort();
    }
    send_numbered(&senders[0]);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&start);
    send(sid, NR_STREAM_END, NULL, 0);
    return NULL;
}

static void *run_echo(void *given) {
    send((uint64_t)(uintptr_t)given, NR_OK, "elsewhere", 9);
    return NULL;
}

static NrStr key(void) {
    return (NrStr){.ptr = (const uint8_t *)"n", .len = 1};
}

/* The number in the state, or 0. */
static uint32_t counted(uint64_t sid) {
    uint32_t n = 0;
    NrBytes value = ext->get_state(host_ctx, sid, key());
    if (value.len == sizeof n) {
        memcpy(&n, value.ptr, sizeof n);
    }
    return n;
}

static NrStatus count_up(uint64_t sid) {
    uint32_t n = counted(sid) + 1;
    NrBytes value = {.ptr = (const uint8_t *)&n, .len = sizeof n};
    if (ext->set_state(host_ctx, sid, key(), value).len > 0) {
        return NR_ERR;
    }
    send(sid, NR_OK, &n, sizeof n);
    return NR_OK;
}

static NrStatus keep(uint64_t sid) {
    NrBytes value = {.ptr = (const uint8_t *)"v", .len = 1};
    NrStatus status = NR_ERR;
    if (ext->set_state(host_ctx, sid, key(), value).len > 0) {
        return status;
    }
    pthread_mutex_lock(&lock);
    if (kept_count < KEPT_MAX) {
        kept[kept_count++] = sid;
        status = NR_OK;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* Answers all that was kept. */
static void release(void) {
    pthread_mutex_lock(&lock);
    uint64_t count = kept_count;
    kept_count = 0;
    pthread_mutex_unlock(&lock);
    for (uint64_t i = 0; i < count; i++) {
        send(kept[i], NR_STREAM_END, "released", 8);
    }
}

/* Joined before the answer to `handle`, when `wait`; at shutdown otherwise. */
static NrStatus on_thread(uint64_t sid, void *(*run)(void *), bool wait) {
    pthread_t thread;
    NrStatus status = NR_ERR;
    pthread_mutex_lock(&lock);
    if (thread_count < THREADS_MAX && pthread_create(&thread, NULL, run, (void *)(uintptr_t)sid) == 0) {
        status = NR_OK;
        if (!wait) {
            threads[thread_count++] = thread;
        }
    }
    pthread_mutex_unlock(&lock);
    if (wait && status == NR_OK) {
        pthread_join(thread, NULL);
    }
    return status;
}

static NrStatus handle(void *ctx, NrStr entry, uint64_t sid, const NrRequest *request, NrBytes payload) {
    (void)ctx, (void)request;
#define IS(name) (entry.len == sizeof name - 1 && memcmp(entry.ptr, name, entry.len) == 0)
    if (IS("pair")) {
        return on_thread(sid, run_pair, false);
    }
    if (IS("answers_elsewhere")) {
        return on_thread(sid, run_echo, true);
    }
    if (IS("counter")) {
        return NR_OK;
    }
    if (IS("keep")) {
        return keep(sid);
    }
    if (IS("release")) {
        release();
        send(sid, NR_OK, NULL, 0);
        return NR_OK;
    }
    if (IS("closed")) {
        pthread_mutex_lock(&lock);
        uint64_t n = closed;
        pthread_mutex_unlock(&lock);
        send(sid, NR_OK, &n, sizeof n);
        return NR_OK;
    }
    if (IS("shutdown_waits") && payload.len == sizeof waited_for) {
        memcpy(&waited_for, payload.ptr, sizeof waited_for);
        send(sid, NR_OK, NULL, 0);
        return NR_OK;
    }
    if (IS("null_payload")) {
        send(sid, NR_OK, NULL, 5);
        return NR_OK;
    }
    if (IS("status_7")) {
        send(sid, 7, "seven", 5);
        return NR_OK;
    }
    if (IS("refuse_with_7")) {
        return 7;
    }
    return NR_INVALID;
#undef IS
}

static const NrHostExt *ext_of_host(void) {
    NrHostExtFn ext_of;
    *(void **)&ext_of = dlsym(RTLD_DEFAULT, NR_HOST_EXT_SYMBOL);
    return ext_of != NULL ? ext_of(host_ctx) : NULL;
}

/* Writes what happens, and whether the host still knows its context then. */
static void trace(const char *what) {
#ifdef TRACE
    FILE *out = fopen(TRACE, "a");
    if (out != NULL) {
        fprintf(out, "%s: context %s\n", what, ext_of_host() != NULL ? "live" : "gone");
        fclose(out);
    }
#else
    (void)what;
#endif
}

static NrStatus init(void *ctx, void *given_ctx, const NrHostVTable *given) {
    (void)ctx;
    host_ctx = given_ctx;
    host = given;
    ext = ext_of_host();
    trace("init");
#ifdef REFUSES
    return NR_UNSUPPORTED;
#else
    return ext != NULL ? NR_OK : NR_ERR;
#endif
}

static void shutdown(void *ctx) {
    (void)ctx;
    char byte = 's';
    if (waited_for >= 0 && (write(waited_for, &byte, 1) != 1 || read(waited_for, &byte, 1) != 1)) {
        abort();
    }
    release();
    for (size_t i = 0; i < thread_count; i++) { /* nobody is inside any more */
        pthread_join(threads[i], NULL);
    }
    trace("shutdown");
}

__attribute__((destructor)) static void unloaded(void) {
    trace("unloaded");
}

static NrStatus stream_data(void *ctx, uint64_t sid, NrBytes data) {
    (void)ctx, (void)data;
    return count_up(sid);
}

static NrStatus stream_close(void *ctx, uint64_t sid) {
    (void)ctx;
    trace("stream_close");
    pthread_mutex_lock(&lock);
    closed++;
    pthread_mutex_unlock(&lock);
    if (counted(sid) == 0) {
        return NR_OK; /* a kept stream: it ends when it is released */
    }
    uint32_t n = counted(sid);
    send(sid, NR_STREAM_END, &n, sizeof n);
    return NR_OK;
}

#ifdef RAW
static NrStatus handle_raw(void *ctx, NrStr entry, uint64_t sid, NrBytes payload) {
    (void)ctx, (void)entry, (void)payload;
    send(sid, NR_OK, "handle_raw", 10);
    return NR_OK;
}
#endif

__attribute__((visibility("default"))) const NrPluginInfo *nylon_ring_get_plugin_v1(void);

const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
#ifdef RAW
    static const NrPluginVTableRaw vtable = {
        .handle_raw = handle_raw,
#else
    static const NrPluginVTable vtable = {
#endif
        .init = init,
#ifndef NO_HANDLE
        .handle = handle,
#endif
        .shutdown = shutdown,
        .stream_data = stream_data,
        .stream_close = stream_close,
    };
    static const NrPluginInfo info = {
        .abi_version = ABI,
        .struct_size = SIZE,
        .name = {.ptr = (const uint8_t *)"faulty", .len = 6},
        .version = {.ptr = (const uint8_t *)"2.0.0", .len = 5},
#ifndef NO_TABLE
        .vtable = &vtable,
#endif
    };
    (void)&handle;
    (void)&vtable, (void)&info;
#ifdef NO_INFO
    return NULL;
#else
    return &info;
#endif
}
