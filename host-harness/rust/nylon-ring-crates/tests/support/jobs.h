/*
 * What an instance answers after `handle` has returned: one thread, which gives every job a turn and sends at most one
 * frame in it. A frame the host has no room for is tried again, so each stream's frames stay in order.
 */
#ifndef JOBS_H
#define JOBS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "nylon_ring_v2.h"

typedef enum job_kind { JOB_REPLY, JOB_COUNT, JOB_ENDLESS, JOB_CHAT } job_kind;

typedef struct job job;

typedef struct instance {
    atomic_bool taken; /* handed out by get_plugin, not shut down since */
    void *host_ctx;    /* set by init */
    /* A copy: the released host frees its table while calls that outlive the host may still be answered. */
    NrHostVTableV2 host;
    atomic_uint_fast64_t ended;       /* `endless` streams that are over */
    atomic_uint_fast64_t undelivered; /* sends answered Invalid */
    pthread_t worker;
    pthread_mutex_t lock; /* guards what follows; not held across a call into the host */
    pthread_cond_t changed;
    bool news, stopping;
    job *active; /* only the worker takes jobs out */
    job *held;
} instance;

/* False: no thread, nothing to stop. */
bool jobs_start(instance *self, void *host_ctx, const NrHostVTableV2 *host);
/* Answers what is left with Err, and joins the thread. */
void jobs_stop(instance *self);

NrStatus jobs_send(instance *self, uint64_t sid, NrStatus status, const void *data, size_t len);

/* These copy what they are given, and return what `handle` has to. */
NrStatus jobs_answer_later(instance *self, uint64_t sid, NrStatus status, const char *before, NrBytes body);
NrStatus jobs_hold(instance *self, uint64_t sid, NrBytes body);
NrStatus jobs_chat(instance *self, uint64_t sid, NrBytes body);
/* Numbers from `at` up to `limit`, then `last` with `text`, which must be static. */
NrStatus jobs_stream(instance *self, uint64_t sid, job_kind kind, uint64_t at, uint64_t limit, NrStatus last,
                     const char *text);

/* How many held calls will be answered now. */
uint64_t jobs_let_go(instance *self);

NrStatus jobs_data(instance *self, uint64_t sid, NrBytes data);
NrStatus jobs_close(instance *self, uint64_t sid);

#endif /* JOBS_H */
