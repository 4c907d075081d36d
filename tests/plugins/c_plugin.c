/*
 * A nylon-ring v1 plugin in plain C, for tests of the host. With -DRAW its table has six functions.
 *
 * Entries that keep the promise: echo, sync, raw_echo, info, state, deferred, error, stream, duplex, long, hold,
 * sigpipe. Entries that break it, one way each: lose_reply, double_reply, reply_after_refuse, overlap_frames,
 * after_end, stranger, unknown_sid, bad_status, and late_send (sends after shutdown has returned).
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nylon_ring_v1.h"

#define DUPLEX_MAX 64u
#define THREADS_MAX 4096u
#define EXPORT __attribute__((visibility("default")))

typedef struct instance {
    NrPluginInfo info; /* first, so that it can be handed out */
    void *host_ctx;
    const NrHostVTable *host;
    bool live, over; /* guarded by instances_lock; over is set last: shutdown is done, the place may be used again */
    pthread_mutex_t lock;        /* guards what follows */
    uint64_t duplex[DUPLEX_MAX]; /* open duplex streams; 0: free */
    uint64_t held[DUPLEX_MAX];   /* calls answered at shutdown */
    pthread_t threads[THREADS_MAX];
    size_t thread_count;
} instance;

typedef struct task {
    instance *self;
    uint64_t sid;
    void (*run)(instance *self, struct task *t);
    size_t len;
    uint8_t data[];
} task;

/* What late_send uses: a plugin that keeps the host's pointers beyond shutdown. */
static void *late_ctx;
static const NrHostVTable *late_host;

static void send_bytes(instance *self, uint64_t sid, NrStatus status, const void *data, size_t len) {
    self->host->send_result(self->host_ctx, sid, status, (NrBytes){.ptr = data, .len = len});
}

static void send_text(instance *self, uint64_t sid, NrStatus status, const char *text) {
    send_bytes(self, sid, status, text, strlen(text));
}

static void *task_main(void *given) {
    task *t = given;
    t->run(t->self, t);
    free(t);
    return NULL;
}

/* On a thread of its own; shutdown joins it. */
static NrStatus defer(instance *self, uint64_t sid, NrBytes payload, void (*run)(instance *, task *)) {
    NrStatus status = NR_ERR;
    task *t = malloc(sizeof *t + payload.len);
    if (t == NULL) {
        return status;
    }
    *t = (task){.self = self, .sid = sid, .run = run, .len = payload.len};
    if (payload.len > 0) {
        memcpy(t->data, payload.ptr, payload.len);
    }
    pthread_mutex_lock(&self->lock);
    if (self->thread_count < THREADS_MAX &&
        pthread_create(&self->threads[self->thread_count], NULL, task_main, t) == 0) {
        self->thread_count++;
        status = NR_OK;
    }
    pthread_mutex_unlock(&self->lock);
    if (status != NR_OK) {
        free(t);
    }
    return status;
}

static void run_deferred(instance *self, task *t) {
    send_bytes(self, t->sid, NR_OK, t->data, t->len);
}

static size_t number_of(const uint8_t *data, size_t len, size_t otherwise) {
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), (const char *)data);
    return len > 0 ? (size_t)strtoull(text, NULL, 10) : otherwise;
}

static void run_stream(instance *self, task *t) {
    size_t frames = number_of(t->data, t->len, 5);
    for (size_t i = 0; i < frames; i++) {
        char text[32];
        snprintf(text, sizeof text, "frame %zu", i);
        send_text(self, t->sid, NR_OK, text);
    }
    send_bytes(self, t->sid, NR_STREAM_END, NULL, 0);
}

/* ---- the broken ones ---- */

static void run_double(instance *self, task *t) {
    send_text(self, t->sid, NR_OK, "one");
    send_text(self, t->sid, NR_OK, "two");
}

static void run_after_end(instance *self, task *t) {
    send_bytes(self, t->sid, NR_STREAM_END, NULL, 0);
    send_text(self, t->sid, NR_OK, "after the end");
}

static void run_after_refuse(instance *self, task *t) {
    send_text(self, t->sid, NR_OK, "though refused");
}

typedef struct overlap {
    instance *self;
    uint64_t sid;
    pthread_barrier_t start;
} overlap;

static void *send_overlapping(void *given) {
    overlap *o = given;
    static const uint8_t big[1u << 16];
    pthread_barrier_wait(&o->start);
    for (int i = 0; i < 2000; i++) {
        send_bytes(o->self, o->sid, NR_OK, big, sizeof big);
    }
    return NULL;
}

static void run_overlap(instance *self, task *t) {
    overlap o = {.self = self, .sid = t->sid};
    pthread_t other;
    pthread_barrier_init(&o.start, NULL, 2);
    if (pthread_create(&other, NULL, send_overlapping, &o) == 0) {
        send_overlapping(&o);
        pthread_join(other, NULL);
    }
    pthread_barrier_destroy(&o.start);
    send_bytes(self, t->sid, NR_STREAM_END, NULL, 0);
}

/* ---- entries that answer on the host's thread ---- */

static NrStatus answer_info(instance *self, uint64_t sid, const NrRequest *r, NrBytes payload) {
    char text[512];
    if (r == NULL) {
        send_text(self, sid, NR_OK, "no request");
        return NR_OK;
    }
    int len = snprintf(text, sizeof text, "%.*s %.*s?%.*s headers=%u body=%llu", (int)r->method.len, r->method.ptr,
                       (int)r->path.len, r->path.ptr, (int)r->query.len, r->query.ptr, r->headers_len,
                       (unsigned long long)payload.len);
    for (uint32_t i = 0; i < r->headers_len && i < 4 && len < 400; i++) {
        len += snprintf(text + len, sizeof text - (size_t)len, " %.*s=%.*s", (int)r->headers[i].key.len,
                        r->headers[i].key.ptr, (int)r->headers[i].value.len, r->headers[i].value.ptr);
    }
    send_text(self, sid, NR_OK, text);
    return NR_OK;
}

/* Sets "k" to the payload in the host's state, reads it back, and answers what it read. */
static NrStatus answer_state(instance *self, uint64_t sid, NrBytes payload) {
    NrHostExtFn ext_of;
    *(void **)&ext_of = dlsym(RTLD_DEFAULT, NR_HOST_EXT_SYMBOL);
    const NrHostExt *ext = ext_of != NULL ? ext_of(self->host_ctx) : NULL;
    if (ext == NULL || ext_of(self) != NULL) {
        send_text(self, sid, NR_ERR, "no state here, or for a context that is not the host's");
        return NR_OK;
    }
    NrStr key = {.ptr = (const uint8_t *)"k", .len = 1};
    NrBytes fault = ext->set_state(self->host_ctx, sid, key, payload);
    if (fault.len > 0) {
        send_bytes(self, sid, NR_ERR, fault.ptr, fault.len);
        return NR_OK;
    }
    NrBytes value = ext->get_state(self->host_ctx, sid, key);
    send_bytes(self, sid, NR_OK, value.ptr, value.len);
    return NR_OK;
}

static NrStatus set_after_end(instance *self, uint64_t sid) {
    NrHostExtFn ext_of;
    *(void **)&ext_of = dlsym(RTLD_DEFAULT, NR_HOST_EXT_SYMBOL);
    const NrHostExt *ext = ext_of != NULL ? ext_of(self->host_ctx) : NULL;
    send_text(self, sid, NR_OK, "answered");
    NrStr key = {.ptr = (const uint8_t *)"k", .len = 1};
    NrBytes value = {.ptr = (const uint8_t *)"v", .len = 1};
    if (ext == NULL || ext->set_state(self->host_ctx, sid, key, value).len == 0) {
        abort(); /* the host took a value that nothing would ever clear */
    }
    return NR_OK;
}

static bool put_sid(instance *self, uint64_t *list, uint64_t sid) {
    bool fresh = true, placed = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < DUPLEX_MAX; i++) {
        fresh = fresh && list[i] != sid;
    }
    for (size_t i = 0; i < DUPLEX_MAX && fresh && !placed; i++) {
        if (list[i] == 0) {
            list[i] = sid;
            placed = true;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return placed;
}

static bool has_duplex(instance *self, uint64_t sid, bool remove) {
    bool found = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < DUPLEX_MAX && sid != 0; i++) {
        if (self->duplex[i] == sid) {
            found = true;
            self->duplex[i] = remove ? 0 : sid;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

static NrStatus dispatch(instance *self, const char *entry, uint64_t sid, const NrRequest *r, NrBytes payload) {
#define IS(name) (strcmp(entry, name) == 0)
    if (IS("echo") || IS("sync") || IS("raw_echo")) {
        send_bytes(self, sid, NR_OK, payload.ptr, payload.len);
        return NR_OK;
    }
    if (IS("info")) {
        return answer_info(self, sid, r, payload);
    }
    if (IS("state")) {
        return answer_state(self, sid, payload);
    }
    if (IS("state_after_end")) {
        return set_after_end(self, sid);
    }
    if (IS("deferred")) {
        return defer(self, sid, payload, run_deferred);
    }
    if (IS("error")) {
        send_text(self, sid, NR_ERR, "Error: on purpose");
        return NR_OK;
    }
    if (IS("stream")) {
        return defer(self, sid, payload, run_stream);
    }
    if (IS("burst")) { /* all frames on the host's thread */
        task t = {.sid = sid};
        run_stream(self, &t);
        return NR_OK;
    }
    if (IS("duplex")) {
        return put_sid(self, self->duplex, sid) ? NR_OK : NR_INVALID;
    }
    if (IS("hold")) {
        return put_sid(self, self->held, sid) ? NR_OK : NR_ERR;
    }
    if (IS("sigpipe")) { /* the host ignores SIGPIPE, or this ends it */
        int ends[2];
        bool broken = pipe(ends) == 0 && close(ends[0]) == 0 && write(ends[1], "x", 1) < 0;
        close(ends[1]);
        send_text(self, sid, broken ? NR_OK : NR_ERR, broken ? "EPIPE" : "no error");
        return NR_OK;
    }
    if (IS("refuse")) {
        return NR_UNSUPPORTED;
    }
    if (IS("crash")) {
        abort();
    }
    if (IS("hang")) {
        pause();
        return NR_ERR;
    }
    if (IS("print")) {
        printf("a plugin prints\n");
        fflush(stdout);
        send_text(self, sid, NR_OK, "printed");
        return NR_OK;
    }
    if (IS("leak_fd")) {
        send_text(self, sid, dup(STDERR_FILENO) < 0 ? NR_ERR : NR_OK, "one descriptor more");
        return NR_OK;
    }
    if (IS("lose_reply")) {
        return NR_OK;
    }
    if (IS("double_reply")) {
        return defer(self, sid, payload, run_double);
    }
    if (IS("after_end")) {
        return defer(self, sid, payload, run_after_end);
    }
    if (IS("reply_and_refuse")) {
        send_text(self, sid, NR_OK, "then refused");
        return NR_ERR;
    }
    if (IS("reply_after_refuse")) {
        return defer(self, sid, payload, run_after_refuse) == NR_OK ? NR_INVALID : NR_ERR;
    }
    if (IS("overlap_frames")) {
        return defer(self, sid, payload, run_overlap);
    }
    if (IS("stranger")) { /* answers the held call with the sid in the payload, from inside this one */
        send_text(self, number_of(payload.ptr, payload.len, 0), NR_OK, "from a stranger");
        send_text(self, sid, NR_OK, "mine");
        return NR_OK;
    }
    if (IS("unknown_sid")) {
        send_text(self, UINT64_MAX, NR_OK, "for nobody");
        send_text(self, sid, NR_OK, "mine");
        return NR_OK;
    }
    if (IS("bad_status")) {
        send_text(self, sid, 6, "Backpressure is none of v1's");
        return NR_OK;
    }
    return NR_INVALID;
#undef IS
}

static bool bad_view(const void *ptr, uint64_t len) {
    return len > 0 && (ptr == NULL || len - 1 > UINTPTR_MAX - (uintptr_t)ptr || len > INT64_MAX);
}

static bool bad_request(const NrRequest *r) {
    if (bad_view(r->path.ptr, r->path.len) || bad_view(r->method.ptr, r->method.len) ||
        bad_view(r->query.ptr, r->query.len) || bad_view(r->headers, (uint64_t)r->headers_len * sizeof(NrHeader))) {
        return true;
    }
    for (uint32_t i = 0; i < r->headers_len; i++) {
        const NrHeader *h = &r->headers[i];
        if (bad_view(h->key.ptr, h->key.len) || bad_view(h->value.ptr, h->value.len)) {
            return true;
        }
    }
    return false;
}

static instance *instances[16];
static pthread_mutex_t instances_lock = PTHREAD_MUTEX_INITIALIZER;

static instance *known(const void *plugin_ctx, bool live) {
    instance *found = NULL;
    pthread_mutex_lock(&instances_lock);
    for (size_t i = 0; i < sizeof instances / sizeof *instances; i++) {
        if (instances[i] != NULL && instances[i] == plugin_ctx && instances[i]->live == live) {
            found = instances[i];
        }
    }
    pthread_mutex_unlock(&instances_lock);
    return found;
}

static NrStatus init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host) {
    instance *self = known(plugin_ctx, false);
    if (self == NULL || host == NULL || getenv("C_PLUGIN_REFUSES") != NULL) {
        return NR_INVALID;
    }
    pthread_mutex_lock(&instances_lock);
    NrStatus status = self->over ? NR_INVALID : NR_OK;
    if (status == NR_OK) {
        self->host_ctx = host_ctx;
        self->host = host;
        self->live = true;
    }
    pthread_mutex_unlock(&instances_lock);
    return status;
}

static NrStatus handle(void *plugin_ctx, NrStr entry, uint64_t sid, const NrRequest *r, NrBytes payload) {
    char name[64];
    instance *self = known(plugin_ctx, true);
    if (self == NULL || bad_view(entry.ptr, entry.len) || bad_view(payload.ptr, payload.len) ||
        entry.len >= sizeof name || (r != NULL && bad_request(r))) {
        return NR_INVALID;
    }
    if (entry.len > 0) {
        memcpy(name, entry.ptr, entry.len);
    }
    name[entry.len] = '\0';
    if (strcmp(name, "late_send") == 0) {
        late_ctx = self->host_ctx;
        late_host = self->host;
        return dispatch(self, "echo", sid, r, payload);
    }
    return dispatch(self, name, sid, r, payload);
}

static void shutdown_instance(void *plugin_ctx) {
    instance *self = known(plugin_ctx, true);
    if (self == NULL) {
        /* A second shutdown: where late_send was called, the plugin sends now, too late. */
        if (late_host != NULL) {
            late_host->send_result(late_ctx, 1, NR_OK, (NrBytes){0});
            late_host = NULL;
        }
        return;
    }
    pthread_mutex_lock(&instances_lock);
    self->live = false;
    pthread_mutex_unlock(&instances_lock);
    pthread_mutex_lock(&self->lock);
    size_t count = self->thread_count;
    pthread_mutex_unlock(&self->lock);
    for (size_t i = 0; i < count; i++) {
        if (!pthread_equal(self->threads[i], pthread_self())) {
            pthread_join(self->threads[i], NULL);
        } else {
            pthread_detach(self->threads[i]);
        }
    }
    for (size_t i = 0; i < DUPLEX_MAX; i++) {
        if (self->duplex[i] != 0) {
            send_text(self, self->duplex[i], NR_ERR, "shutting down");
        }
        if (self->held[i] != 0) {
            send_text(self, self->held[i], NR_ERR, "shutting down");
        }
    }
    self->host = NULL;
    pthread_mutex_lock(&instances_lock);
    self->over = true;
    pthread_mutex_unlock(&instances_lock);
}

static NrStatus stream_data(void *plugin_ctx, uint64_t sid, NrBytes data) {
    instance *self = known(plugin_ctx, true);
    if (self == NULL || bad_view(data.ptr, data.len) || !has_duplex(self, sid, false)) {
        return NR_INVALID;
    }
    send_bytes(self, sid, NR_OK, data.ptr, data.len);
    return NR_OK;
}

static NrStatus stream_close(void *plugin_ctx, uint64_t sid) {
    instance *self = known(plugin_ctx, true);
    if (self == NULL || !has_duplex(self, sid, true)) {
        return NR_INVALID;
    }
    send_bytes(self, sid, NR_STREAM_END, NULL, 0);
    return NR_OK;
}

#ifdef RAW
static NrStatus handle_raw(void *plugin_ctx, NrStr entry, uint64_t sid, NrBytes payload) {
    return handle(plugin_ctx, entry, sid, NULL, payload);
}

static const NrPluginVTableRaw vtable = {
    .init = init,
    .handle = handle,
    .handle_raw = handle_raw,
    .shutdown = shutdown_instance,
    .stream_data = stream_data,
    .stream_close = stream_close,
};
#else
static const NrPluginVTable vtable = {
    .init = init,
    .handle = handle,
    .shutdown = shutdown_instance,
    .stream_data = stream_data,
    .stream_close = stream_close,
};
#endif

EXPORT const NrPluginInfo *nylon_ring_get_plugin_v1(void);

/* The slot of an instance that was shut down is used again, its memory freed first. */
const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    static const NrPluginInfo none = {.abi_version = NR_ABI_V1, .struct_size = sizeof none, .vtable = &vtable};
    const NrPluginInfo *info = &none;
    pthread_mutex_lock(&instances_lock);
    for (size_t i = 0; i < sizeof instances / sizeof *instances && info == &none; i++) {
        if (instances[i] == NULL || instances[i]->over) {
            instance *self = instances[i] ? instances[i] : malloc(sizeof *self);
            instances[i] = self;
            if (self == NULL) {
                break;
            }
            *self = (instance){.info = {.abi_version = NR_ABI_V1, .struct_size = sizeof(NrPluginInfo)}};
            pthread_mutex_init(&self->lock, NULL);
            self->info.name = (NrStr){.ptr = (const uint8_t *)"c_plugin", .len = 8};
            self->info.version = (NrStr){.ptr = (const uint8_t *)"1.0.0", .len = 5};
            self->info.plugin_ctx = self;
            self->info.vtable = &vtable;
            info = &self->info;
        }
    }
    pthread_mutex_unlock(&instances_lock);
    return info;
}

__attribute__((destructor)) static void free_instances(void) {
    for (size_t i = 0; i < sizeof instances / sizeof *instances; i++) {
        free(instances[i]);
        instances[i] = NULL;
    }
}
