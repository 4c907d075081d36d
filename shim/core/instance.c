#include "instance.h"

#include "clock.h"
#include "forked.h"
#include "threads.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- memory ---- */

/* So many ended instances rest before the oldest one's memory is used again. */
enum { RESTING = 16 };

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static nrpy_instance *open_instances; /* guarded by list_lock */
static nrpy_instance *resting_first;  /* oldest first; guarded by list_lock */
static nrpy_instance *resting_last;   /* likewise */
static unsigned resting_count;        /* likewise */

/* Frees what a rested instance holds. */
static void recycle(nrpy_instance *instance) {
    nrpy_entries_free(&instance->entries);
    nrpy_registry_destroy(&instance->registry);
    nrpy_state_destroy(&instance->state);
    if (instance->pool.limit != 0) {
        nrpy_pool_destroy(&instance->pool);
        nrpy_queue_destroy(&instance->queue);
    }
    if (instance->stream_limit != 0) {
        nrpy_pool_destroy(&instance->stream_pool);
        nrpy_queue_destroy(&instance->stream_queue);
    }
    for (unsigned i = 0; i < instance->loop_count; i++) {
        nrpy_loop_destroy(&instance->loops[i]);
    }
    free(instance->loops);
    free(instance->loop_lanes);
    free(instance->name);
    nrpy_closing_free(instance->closing);
}

static nrpy_instance *take_rested(void) {
    nrpy_instance *instance = NULL;
    pthread_mutex_lock(&list_lock);
    if (resting_count > RESTING) {
        instance = resting_first;
        resting_first = instance->next;
        resting_count--;
    }
    pthread_mutex_unlock(&list_lock);
    if (instance != NULL) {
        recycle(instance);
    }
    return instance;
}

nrpy_instance *nrpy_instance_new(const char *name) {
    char *copy = strdup(name);
    struct nrpy_closing *closing = nrpy_closing_new();
    nrpy_instance *instance = copy != NULL && closing != NULL ? take_rested() : NULL;
    if (instance == NULL && copy != NULL && closing != NULL) {
        instance = aligned_alloc(NRPY_CACHE_LINE, sizeof *instance);
    }
    if (instance == NULL) {
        free(copy);
        nrpy_closing_free(closing);
        return NULL;
    }
    memset(instance, 0, sizeof *instance);
    instance->name = copy;
    instance->closing = closing;
    atomic_init(&instance->refs, 1);
    nrpy_registry_init(&instance->registry);
    nrpy_state_init(&instance->state);
    return instance;
}

void nrpy_instance_retain(nrpy_instance *instance) {
    atomic_fetch_add_explicit(&instance->refs, 1, memory_order_relaxed);
}

void nrpy_instance_release(nrpy_instance *instance) {
    if (atomic_fetch_sub_explicit(&instance->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    pthread_mutex_lock(&list_lock);
    instance->next = NULL;
    if (resting_count == 0) {
        resting_first = instance;
    } else {
        resting_last->next = instance;
    }
    resting_last = instance;
    resting_count++;
    pthread_mutex_unlock(&list_lock);
}

void nrpy_instance_list(nrpy_instance *instance) {
    pthread_mutex_lock(&list_lock);
    instance->next = open_instances;
    open_instances = instance;
    pthread_mutex_unlock(&list_lock);
}

void nrpy_instance_unlist(nrpy_instance *instance) {
    pthread_mutex_lock(&list_lock);
    nrpy_instance **link = &open_instances;
    while (*link != NULL && *link != instance) {
        link = &(*link)->next;
    }
    if (*link == instance) {
        *link = instance->next;
    }
    pthread_mutex_unlock(&list_lock);
}

void nrpy_instance_abandon_all(void) {
    /* No lock: in a forked child its holder may be gone. Nobody else runs there, and at exit the worst is a phase that
     * was closed already. */
    for (nrpy_instance *instance = open_instances; instance != NULL; instance = instance->next) {
        atomic_store(&instance->phase, NRPY_CLOSING);
        if (nrpy_is_forked()) {
            atomic_store(&instance->host_gone, true);
        }
    }
}

void nrpy_instance_wake_loops(void) {
    pthread_mutex_lock(&list_lock);
    for (nrpy_instance *instance = open_instances; instance != NULL; instance = instance->next) {
        for (unsigned i = 0; i < instance->loop_count; i++) {
            nrpy_loop_wake(&instance->loops[i]);
        }
    }
    pthread_mutex_unlock(&list_lock);
}

void nrpy_instance_close_all(void) {
    for (;;) {
        pthread_mutex_lock(&list_lock);
        nrpy_instance *instance = open_instances;
        while (instance != NULL && !nrpy_is_open(instance)) {
            instance = instance->next;
        }
        if (instance != NULL) {
            nrpy_instance_retain(instance);
        }
        pthread_mutex_unlock(&list_lock);
        if (instance == NULL) {
            return;
        }
        nrpy_instance_close(instance);
        nrpy_instance_release(instance);
    }
}

nrpy_pools nrpy_instance_pools(nrpy_instance *instance) {
    nrpy_pools pools = {.of = {&instance->pool}};
    if (instance->stream_limit != 0) {
        pools.of[1] = &instance->stream_pool;
    }
    return pools;
}

unsigned nrpy_instance_stop_loops(nrpy_instance *instance, double seconds, const nrpy_thread *self) {
    unsigned left = 0;
    for (unsigned i = 0; i < instance->loop_count; i++) {
        nrpy_loop_stop(&instance->loops[i]);
    }
    int64_t until_ns = nrpy_time_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
    for (unsigned i = 0; i < instance->loop_count; i++) {
        nrpy_loop *loop = &instance->loops[i];
        bool own = self != NULL && atomic_load(&loop->thread) == self;
        double rest = (double)(until_ns - nrpy_time_ns(CLOCK_MONOTONIC)) / 1e9;
        if (own) {
            nrpy_loop_leave(loop);
        } else {
            left += !nrpy_loop_join(loop, rest > 0 ? rest : 0);
        }
    }
    return left;
}

void nrpy_instance_unload(nrpy_instance *instance) {
    PyObject *session = instance->session;
    instance->session = NULL;
    nrpy_entries_clear(&instance->entries);
    Py_CLEAR(instance->stream_data);
    Py_CLEAR(instance->stream_close);
    Py_CLEAR(instance->object);
    if (session != NULL) {
        PyObject *done = PyObject_CallMethod(session, "unload", NULL);
        if (done == NULL) {
            PyErr_WriteUnraisable(session);
        }
        Py_XDECREF(done);
        Py_DECREF(session);
    }
}
