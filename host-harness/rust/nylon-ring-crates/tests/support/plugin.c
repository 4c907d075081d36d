/*
 * A nylon-ring v2 plugin in plain C: the entries of docs/conformance.md that the tests of this crate call, so that they
 * run without another plugin, and a few that show what the released host does.
 *
 *   echo_owned, echo_lease   synchronous: echo by send_result_owned, and through a lease
 *   burst                    stream: as many frames as the body says, inside handle; refused ones are never tried again
 *   undelivered              synchronous: how many sends of this instance the host has answered Invalid
 *   shutdowns                synchronous: how many instances of this file have been shut down
 *
 * One thread per instance works on all that is answered later, a job at a time; see jobs.h.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs.h"

#define EXPORT __attribute__((visibility("default")))
#define DECIMAL_ROOM 24

static _Atomic uint64_t shutdowns;

static NrStatus send_number(instance *self, uint64_t sid, uint64_t number) {
    char text[DECIMAL_ROOM];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return jobs_send(self, sid, NR_OK, text, (size_t)len);
}

static uint64_t read_number(NrBytes body) {
    uint64_t number = 0;
    for (uint64_t i = 0; i < body.len; i++) {
        number = number * 10 + (uint64_t)(body.ptr[i] - '0');
    }
    return number;
}

static void free_owned(void *owner_ctx, const uint8_t *ptr, uint64_t len) {
    (void)ptr;
    (void)len;
    free(owner_ctx);
}

static NrStatus do_echo(instance *self, uint64_t sid, NrBytes body) {
    return jobs_answer_later(self, sid, NR_OK, "", body);
}

static NrStatus do_echo_sync(instance *self, uint64_t sid, NrBytes body) {
    jobs_send(self, sid, NR_OK, body.ptr, body.len);
    return NR_OK;
}

static NrStatus do_echo_owned(instance *self, uint64_t sid, NrBytes body) {
    uint8_t *copy = malloc(body.len + 1);
    if (copy == NULL) {
        return NR_ERR;
    }
    if (body.len > 0) {
        memcpy(copy, body.ptr, body.len);
    }
    NrOwnedBytes owned = {.ptr = copy, .len = body.len, .owner_ctx = copy, .release = free_owned};
    self->host.send_result_owned(self->host_ctx, sid, NR_OK, owned);
    return NR_OK;
}

static NrStatus do_echo_lease(instance *self, uint64_t sid, NrBytes body) {
    NrBufferLease lease = self->host.acquire_result_buffer(self->host_ctx, sid, body.len);
    if (lease.ptr == NULL) {
        return do_echo_sync(self, sid, body);
    }
    if (body.len > 0) {
        memcpy(lease.ptr, body.ptr, body.len);
    }
    self->host.commit_result_buffer(self->host_ctx, sid, NR_OK, lease.token, body.len);
    return NR_OK;
}

static NrStatus do_fail(instance *self, uint64_t sid, NrBytes body) {
    return jobs_answer_later(self, sid, NR_ERR, "ValueError: ", body);
}

static NrStatus do_status(instance *self, uint64_t sid, NrBytes body) {
    jobs_send(self, sid, (NrStatus)read_number(body), "as asked", 8);
    return NR_OK;
}

/* The first frames go out inside handle: a short stream is over before its receiver exists. */
static NrStatus count_up(instance *self, uint64_t sid, NrBytes body, NrStatus last, const char *text) {
    uint64_t at = 0, limit = read_number(body);
    while (at < limit && send_number(self, sid, at) == NR_OK) {
        at++;
    }
    return jobs_stream(self, sid, JOB_COUNT, at, limit, last, text);
}

static NrStatus do_count(instance *self, uint64_t sid, NrBytes body) {
    return count_up(self, sid, body, NR_STREAM_END, "");
}

static NrStatus do_count_fail(instance *self, uint64_t sid, NrBytes body) {
    return count_up(self, sid, body, NR_ERR, "RuntimeError: broken");
}

static NrStatus do_burst(instance *self, uint64_t sid, NrBytes body) {
    for (uint64_t at = 0, limit = read_number(body); at < limit; at++) {
        send_number(self, sid, at);
    }
    return jobs_stream(self, sid, JOB_COUNT, 0, 0, NR_STREAM_END, "");
}

static NrStatus do_endless(instance *self, uint64_t sid, NrBytes body) {
    (void)body;
    return jobs_stream(self, sid, JOB_ENDLESS, 0, UINT64_MAX, NR_STREAM_END, "");
}

static NrStatus do_chat(instance *self, uint64_t sid, NrBytes body) {
    return jobs_chat(self, sid, body);
}

static NrStatus do_held(instance *self, uint64_t sid, NrBytes body) {
    return jobs_hold(self, sid, body);
}

static NrStatus do_let_go(instance *self, uint64_t sid, NrBytes body) {
    (void)body;
    send_number(self, sid, jobs_let_go(self));
    return NR_OK;
}

static NrStatus do_ended(instance *self, uint64_t sid, NrBytes body) {
    (void)body;
    send_number(self, sid, atomic_load(&self->ended));
    return NR_OK;
}

static NrStatus do_undelivered(instance *self, uint64_t sid, NrBytes body) {
    (void)body;
    send_number(self, sid, atomic_load(&self->undelivered));
    return NR_OK;
}

static NrStatus do_shutdowns(instance *self, uint64_t sid, NrBytes body) {
    (void)body;
    send_number(self, sid, atomic_load(&shutdowns));
    return NR_OK;
}

static const struct {
    const char *name;
    NrStatus (*run)(instance *self, uint64_t sid, NrBytes body);
} entries[] = {
    {"echo_sync", do_echo_sync}, /* the first is the only one of a -DPLAIN plugin */
    {"echo", do_echo},
    {"raw_echo", do_echo},
    {"raw_sync", do_echo_sync},
    {"echo_owned", do_echo_owned},
    {"echo_lease", do_echo_lease},
    {"fail", do_fail},
    {"status", do_status},
    {"count", do_count},
    {"count_fail", do_count_fail},
    {"burst", do_burst},
    {"endless", do_endless},
    {"ended", do_ended},
    {"chat", do_chat},
    {"held", do_held},
    {"let_go", do_let_go},
    {"undelivered", do_undelivered},
    {"shutdowns", do_shutdowns},
};
#ifdef PLAIN
#define ENTRIES 1u
#else
#define ENTRIES (sizeof entries / sizeof *entries)
#endif

static uint32_t resolve_entry(NrStr name) {
    for (uint32_t id = 0; id < ENTRIES; id++) {
        if (strlen(entries[id].name) == name.len && memcmp(entries[id].name, name.ptr, name.len) == 0) {
            return id;
        }
    }
    return NR_ENTRY_UNKNOWN;
}

static NrStatus handle_by_id(instance *self, uint32_t id, uint64_t sid, NrBytes body) {
    return id < ENTRIES ? entries[id].run(self, sid, body) : NR_INVALID;
}

static NrStatus init(instance *self, void *host_ctx, const NrHostVTableV2 *host) {
#ifdef REFUSES
    (void)host_ctx;
    (void)host;
    atomic_store(&self->taken, false);
    return NR_ERR;
#else
    return jobs_start(self, host_ctx, host) ? NR_OK : NR_ERR;
#endif
}

static void shut_down(instance *self) {
    jobs_stop(self);
    atomic_fetch_add(&shutdowns, 1);
    atomic_store(&self->taken, false);
}

static NrStatus stream_data(instance *self, uint64_t sid, NrBytes data) {
    return ENTRIES == 1 ? NR_UNSUPPORTED : jobs_data(self, sid, data);
}

static NrStatus stream_close(instance *self, uint64_t sid) {
    return ENTRIES == 1 ? NR_UNSUPPORTED : jobs_close(self, sid);
}

/* ABI v2 passes no plugin_ctx: each instance has functions of its own. */
#define SLOTS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

static instance instances[16];

#define FUNCTIONS(n)                                                                                                   \
    static NrStatus init_##n(void *host_ctx, const NrHostVTableV2 *host) {                                             \
        return init(&instances[n], host_ctx, host);                                                                    \
    }                                                                                                                  \
    static NrStatus handle_##n(NrStr entry, uint64_t sid, NrBytes body) {                                              \
        return handle_by_id(&instances[n], resolve_entry(entry), sid, body);                                           \
    }                                                                                                                  \
    static void shutdown_##n(void) {                                                                                   \
        shut_down(&instances[n]);                                                                                      \
    }                                                                                                                  \
    static NrStatus stream_data_##n(uint64_t sid, NrBytes data) {                                                      \
        return stream_data(&instances[n], sid, data);                                                                  \
    }                                                                                                                  \
    static NrStatus stream_close_##n(uint64_t sid) {                                                                   \
        return stream_close(&instances[n], sid);                                                                       \
    }                                                                                                                  \
    static NrStatus handle_by_id_##n(uint32_t id, uint64_t sid, NrBytes body) {                                        \
        return handle_by_id(&instances[n], id, sid, body);                                                             \
    }
SLOTS(FUNCTIONS)

#define TABLE(n)                                                                                                       \
    {init_##n, handle_##n, shutdown_##n, stream_data_##n, stream_close_##n, resolve_entry, handle_by_id_##n},
static const NrPluginVTableV2 tables[] = {SLOTS(TABLE)};

#define NAME {.ptr = (const uint8_t *)"conformance", .len = 11}
#define VERSION {.ptr = (const uint8_t *)"1.0.0", .len = 5}
#define INFO(n)                                                                                                        \
    {.abi_version = NR_ABI_V2,                                                                                         \
     .struct_size = sizeof(NrPluginInfo),                                                                              \
     .name = NAME,                                                                                                     \
     .version = VERSION,                                                                                               \
     .vtable = &tables[n]},
static const NrPluginInfo infos[] = {SLOTS(INFO)};

EXPORT const NrPluginInfo *nylon_ring_get_plugin(void);
EXPORT const NrPluginInfo *nylon_ring_get_plugin(void) {
    for (size_t n = 0; n < sizeof infos / sizeof *infos; n++) {
        bool unused = false;
        if (atomic_compare_exchange_strong(&instances[n].taken, &unused, true)) {
            return &infos[n];
        }
    }
    return NULL;
}
