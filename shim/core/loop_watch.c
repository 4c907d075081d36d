#include "loop_watch.h"

#include "clock.h"
#include "counters.h"
#include "instance.h"
#include "threads.h"

#include <stddef.h>
#include <stdlib.h>

/* What a thread of its own tells the log: the timer's must not wait for the GIL. */
typedef struct report {
    nrpy_loop *loop;         /* with a reference to its instance */
    const nrpy_entry *entry; /* NULL: something else than a handler's own step */
    uint64_t sid;
    int64_t began_ns;
} report;

static int64_t began_ns(const nrpy_loop *loop) {
    int64_t step = atomic_load(&loop->step_began_ns);
    return step != 0 ? step : atomic_load(&loop->wake_sent_ns);
}

/* Fills in what the loop is at. Returns false where it has gone on meanwhile. */
static bool observe(nrpy_loop *loop, report *seen) {
    int64_t step = atomic_load(&loop->step_began_ns);
    seen->loop = loop;
    seen->entry = step != 0 ? atomic_load(&loop->step_entry) : NULL;
    seen->sid = step != 0 ? atomic_load(&loop->step_sid) : 0;
    seen->began_ns = step != 0 ? step : atomic_load(&loop->wake_sent_ns);
    return began_ns(loop) == seen->began_ns;
}

/* Needs the GIL. */
static PyObject *say(const report *told) {
    nrpy_loop *loop = told->loop;
    const nrpy_thread *thread = atomic_load(&loop->thread);
    int64_t now = nrpy_time_ns(CLOCK_MONOTONIC_COARSE);
    bool goes_on = began_ns(loop) == told->began_ns && thread != NULL && thread->state != NULL;
    PyObject *session = loop->instance->session;
    if (session == NULL) {
        Py_RETURN_NONE;
    }
    Py_INCREF(session);
    PyObject *entry = told->entry != NULL
                          ? PyUnicode_DecodeUTF8(told->entry->name, (Py_ssize_t)told->entry->length, "replace")
                          : Py_NewRef(Py_None);
    PyObject *done = NULL;
    if (entry != NULL) {
        done = PyObject_CallMethod(session, "log_slow", "OKdk", entry, (unsigned long long)told->sid,
                                   (double)(now - told->began_ns) / 1e9, goes_on ? thread->state->thread_id : 0ul);
        Py_DECREF(entry);
    }
    Py_DECREF(session);
    return done;
}

static void *run_report(void *argument) {
    report *told = argument;
    nrpy_attachment attachment;
    nrpy_thread *thread = nrpy_thread_self();
    if (thread != NULL && nrpy_attach(&attachment, thread)) {
        PyObject *done = say(told);
        if (done == NULL) {
            PyErr_WriteUnraisable(NULL);
        }
        Py_XDECREF(done);
        nrpy_detach(&attachment);
    }
    nrpy_instance_release(told->loop->instance);
    free(told);
    return NULL;
}

static void start_report(nrpy_loop *loop, const report *seen) {
    report *told = malloc(sizeof *told);
    if (told == NULL) {
        return; /* the next look tries again: nothing is marked as reported */
    }
    *told = *seen;
    nrpy_instance_retain(loop->instance);
    pthread_t id;
    if (nrpy_spawn(&id, run_report, told) != 0) {
        nrpy_instance_release(loop->instance);
        free(told);
        return;
    }
    pthread_detach(id);
    loop->reported_ns = seen->began_ns;
}

static void go_on_watching(nrpy_loop *loop) {
    bool is_awaited = atomic_load(&loop->wake_sent_ns) != 0;
    if (is_awaited) {
        nrpy_loop_watch_begin(loop);
    } else if (atomic_load(&loop->runners) > 0) {
        nrpy_loop_wake(loop);
    }
}

static void look(nrpy_timer *timer) {
    nrpy_loop *loop = (nrpy_loop *)(void *)((char *)timer - offsetof(nrpy_loop, watch));
    report seen;
    int64_t now = nrpy_time_ns(CLOCK_MONOTONIC_COARSE);
    if (observe(loop, &seen) && seen.began_ns != 0 && now - seen.began_ns > loop->slow_ns &&
        seen.began_ns != loop->reported_ns) {
        start_report(loop, &seen);
    }
    atomic_store(&loop->is_watched, false);
    go_on_watching(loop);
    nrpy_instance_release(loop->instance);
}

void nrpy_loop_watch_init(nrpy_loop *loop) {
    loop->watch.fire = look;
}

void nrpy_loop_watch_arm(nrpy_loop *loop) {
    if (!atomic_load(&loop->stopping) && !atomic_exchange(&loop->is_watched, true)) {
        nrpy_instance_retain(loop->instance);
        if (nrpy_timer_arm(&loop->watch, loop->slow_ns / 2) != 0) {
            atomic_store(&loop->is_watched, false);
            nrpy_instance_release(loop->instance);
        }
    }
}

void nrpy_loop_watch_stop(nrpy_loop *loop) {
    if (nrpy_timer_disarm(&loop->watch)) {
        nrpy_instance_release(loop->instance);
    }
}
