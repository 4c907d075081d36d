#include "loop_watch.h"

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

static int64_t began_ns(const nrpy_loop *loop, bool *is_step) {
    int64_t step = atomic_load(&loop->step_began_ns);
    *is_step = step != 0;
    return step != 0 ? step : atomic_load(&loop->wake_sent_ns);
}

/* Needs the GIL. */
static PyObject *say(const report *told) {
    nrpy_loop *loop = told->loop;
    const nrpy_thread *thread = atomic_load(&loop->thread);
    bool is_step;
    int64_t now = nrpy_time_ns(CLOCK_MONOTONIC_COARSE);
    bool goes_on = began_ns(loop, &is_step) == told->began_ns && thread != NULL && thread->state != NULL;
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

static void start_report(nrpy_loop *loop, int64_t began, bool is_step) {
    report *told = calloc(1, sizeof *told);
    if (told == NULL) {
        return; /* the next look tries again: nothing is marked as reported */
    }
    told->loop = loop;
    told->entry = is_step ? atomic_load(&loop->step_entry) : NULL;
    told->sid = is_step ? atomic_load(&loop->step_sid) : 0;
    told->began_ns = began;
    nrpy_instance_retain(loop->instance);
    pthread_t id;
    if (nrpy_spawn(&id, run_report, told) != 0) {
        nrpy_instance_release(loop->instance);
        free(told);
        return;
    }
    pthread_detach(id);
    loop->reported_ns = began;
}

static void look(nrpy_timer *timer) {
    nrpy_loop *loop = (nrpy_loop *)(void *)((char *)timer - offsetof(nrpy_loop, watch));
    bool is_step;
    int64_t began = began_ns(loop, &is_step);
    int64_t now = nrpy_time_ns(CLOCK_MONOTONIC_COARSE);
    if (began != 0 && now - began > loop->slow_ns && began != loop->reported_ns) {
        start_report(loop, began, is_step);
    }
    atomic_store(&loop->is_watched, false);
    if (atomic_load(&loop->runners) > 0 && !atomic_load(&loop->stopping)) {
        nrpy_loop_watch_begin(loop);
    }
    nrpy_instance_release(loop->instance);
}

void nrpy_loop_watch_init(nrpy_loop *loop) {
    loop->watch.fire = look;
}

void nrpy_loop_watch_arm(nrpy_loop *loop) {
    if (!atomic_exchange(&loop->is_watched, true)) {
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
