#include "closing.h"

#include "clock.h"
#include "forked.h"
#include "instance.h"
#include "monitor.h"
#include "reply.h"
#include "runtime.h"
#include "threads.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

/* How long event loops have to end once their calls have, an author's own tasks may still run there; and how long all has
 * until the plugin's modules are gone. */
enum { LOOP_END_S = 2, UNLOAD_S = 5 };

/* How long an unmapping waits for sends in progress: the dynamic loader's lock is held meanwhile. */
enum { ABANDON_S = 1 };

static void release_closing(nrpy_closing *run) {
    if (atomic_fetch_sub(&run->refs, 1) == 1) {
        sem_destroy(&run->host_done);
        sem_destroy(&run->hooks_done);
        sem_destroy(&run->sends_done);
        sem_destroy(&run->python_done);
        nrpy_instance_release(run->instance);
        free(run);
    }
}

/* ---- Python's part ---- */

static void run_shutdown_hooks(const nrpy_closing *run) {
    const nrpy_instance *instance = run->instance;
    bool first_loop_stands = instance->loop_count > 0 && nrpy_closing_is_loop_of_caller(run, &instance->loops[0]);
    PyObject *done =
        PyObject_CallMethod(instance->session, "run_shutdown", "O", first_loop_stands ? Py_True : Py_False);
    nrpy_author_returned(done);
    if (done == NULL) {
        PyErr_WriteUnraisable(instance->session);
    }
    Py_XDECREF(done);
}

/* Returns false where the process is ending. */
static bool attach_for_hooks(nrpy_attachment *attachment) {
    nrpy_thread *thread = nrpy_thread_insist();
    bool attached;
    while (!(attached = nrpy_attach(attachment, thread)) && nrpy_is_alive()) {
        nrpy_rest_for_memory();
    }
    return attached;
}

/* Returns how many threads are left in handlers that do not end. */
static unsigned stop_threads(const nrpy_closing *run) {
    nrpy_pools pools = nrpy_instance_pools(run->instance);
    unsigned left = nrpy_instance_stop_loops(run->instance, LOOP_END_S, run->caller);
    for (nrpy_pool **pool = pools.of; *pool != NULL; pool++) {
        left += nrpy_pool_stop(*pool, run->caller);
    }
    return left;
}

/* On a thread of ours: the host's thread must not send for calls, and may have little stack. */
static void *run_closer(void *argument) {
    nrpy_closing *run = argument;
    nrpy_instance *instance = run->instance;
    nrpy_thread_adopt(run->reserved);
    (void)nrpy_thread_insist(); /* the replies it sends need one */
    nrpy_fence_all_threads();
    nrpy_registry_close(&instance->registry);
    nrpy_closing_end_calls(run);
    sem_post(&run->host_done);

    nrpy_attachment attachment;
    if (attach_for_hooks(&attachment)) {
        nrpy_closing_close_parked(instance);
        run_shutdown_hooks(run);
        nrpy_detach(&attachment);
    }
    sem_post(&run->hooks_done);
    nrpy_closing_wait_for_sends(run);
    sem_post(&run->sends_done);
    unsigned left = stop_threads(run);
    if (attach_for_hooks(&attachment)) {
        nrpy_closing_close_parked(instance); /* parked since by a handler that ended late */
        nrpy_instance_unload(instance);
        nrpy_detach(&attachment);
    }
    if (left > 0) {
        fprintf(stderr,
                "nylon-ring: plugin '%s': %u thread(s) did not end within shutdown_timeout_s=%g; their calls were "
                "answered Err, their threads end when their handlers do\n",
                instance->name, left, instance->shutdown_timeout_s);
    }
    sem_post(&run->python_done);
    release_closing(run);
    return NULL;
}

static unsigned count_visits(const nrpy_thread *thread, const nrpy_instance *instance) {
    unsigned count = 0;
    for (const nrpy_visit *visit = thread != NULL ? thread->visits : NULL; visit != NULL; visit = visit->outer) {
        count += visit->instance == instance;
    }
    return count;
}

nrpy_closing *nrpy_closing_new(void) {
    nrpy_closing *run = calloc(1, sizeof *run);
    if (run != NULL) {
        run->reserved = nrpy_thread_reserve();
    }
    if (run != NULL && run->reserved == NULL) {
        free(run);
        run = NULL;
    }
    return run;
}

void nrpy_closing_free(nrpy_closing *unused) {
    if (unused != NULL) {
        nrpy_thread_unreserve(unused->reserved);
        free(unused);
    }
}

/* `self` may be NULL. */
static nrpy_closing *begin_closing(nrpy_instance *instance, nrpy_thread *self) {
    nrpy_closing *run = instance->closing;
    instance->closing = NULL;
    run->instance = instance;
    nrpy_instance_retain(instance);
    run->caller = self;
    run->caller_visits = count_visits(self, instance);
    atomic_init(&run->refs, 2);
    sem_init(&run->host_done, 0, 0);
    sem_init(&run->hooks_done, 0, 0);
    sem_init(&run->sends_done, 0, 0);
    sem_init(&run->python_done, 0, 0);
    return run;
}

static void run_closer_as_errand(nrpy_errand *errand) {
    run_closer((char *)errand - offsetof(nrpy_closing, errand));
}

/* Without the GIL. Returns whether the caller's code must stay mapped. */
static int close_detached(nrpy_instance *instance, nrpy_thread *self) {
    nrpy_closing *run = begin_closing(instance, self);
    pthread_t id;
    bool spawned = nrpy_spawn(&id, run_closer, run) == 0;
    if (!spawned) {
        /* Not on the host's thread: it may have little stack, and would wait for what never ends. */
        run->errand.run = run_closer_as_errand;
        nrpy_monitor_do(&run->errand);
    }
    while (sem_wait(&run->host_done) != 0) {
    }
    /* The author's on_shutdown gets as long as the handlers had. */
    bool finished = nrpy_sem_wait_for(&run->hooks_done, instance->shutdown_timeout_s + 1);
    if (!finished) {
        fprintf(stderr,
                "nylon-ring: plugin '%s': on_shutdown did not end within shutdown_timeout_s=%g, or Python could not be "
                "entered; the instance is left behind\n",
                instance->name, instance->shutdown_timeout_s);
        nrpy_closing_wait_for_sends(run);
    } else {
        while (sem_wait(&run->sends_done) != 0) {
        }
        finished = nrpy_sem_wait_for(&run->python_done, UNLOAD_S);
        if (!finished) {
            fprintf(stderr,
                    "nylon-ring: plugin '%s': its threads and modules were not gone within %d s; the instance is left "
                    "behind\n",
                    instance->name, UNLOAD_S);
        }
    }
    if (spawned && !(finished && nrpy_join(id))) {
        pthread_detach(id);
    }
    if (run->host_thread_left) {
        fprintf(stderr,
                "nylon-ring: plugin '%s': a thread of the host is still inside a handler that did not end within "
                "shutdown_timeout_s=%g; the plugin's file stays mapped for it\n",
                instance->name, instance->shutdown_timeout_s);
    }
    int must_stay = run->host_thread_left || !finished;
    release_closing(run);
    return must_stay;
}

int nrpy_instance_close(nrpy_instance *instance) {
    if (!nrpy_is_alive()) {
        /* A forked child, or a process that is exiting: Python is not to be entered. */
        atomic_store(&instance->host_gone, true);
        atomic_store(&instance->phase, NRPY_CLOSED);
        return 1;
    }
    nrpy_thread *thread = nrpy_thread_self(); /* not in a child: whoever held its lock may not be there */
    bool attached = nrpy_is_attached(thread);
    int open = NRPY_OPEN;
    if (!atomic_compare_exchange_strong(&instance->phase, &open, NRPY_CLOSING)) {
        return 0;
    }
    PyThreadState *state = attached ? PyEval_SaveThread() : NULL;
    int must_stay = close_detached(instance, thread);
    nrpy_instance_unlist(instance);
    atomic_store(&instance->phase, NRPY_CLOSED);
    nrpy_instance_release(instance);
    if (state != NULL) {
        PyEval_RestoreThread(state);
    }
    return must_stay;
}

/* ---- without a shutdown ---- */

static void *run_abandoned(void *argument) {
    nrpy_instance *instance = argument;
    (void)nrpy_instance_close(instance); /* nobody is left whose code would have to stay */
    nrpy_instance_release(instance);
    return NULL;
}

void nrpy_instance_abandon(nrpy_instance *instance) {
    if (!nrpy_is_alive() || !nrpy_is_open(instance)) {
        return;
    }
    fprintf(
        stderr,
        "nylon-ring: plugin '%s': this host has let the plugin's file go without shutdown: nothing is sent to it any "
        "more. Call shutdown before dlclose\n",
        instance->name);
    atomic_store(&instance->host_gone, true);
    nrpy_thread *self = nrpy_thread_self();
    nrpy_closing sends = {.instance = instance, .caller = self, .caller_visits = count_visits(self, instance)};
    nrpy_closing_wait_for_sends_until(&sends, ABANDON_S);
    pthread_t id;
    nrpy_instance_retain(instance);
    if (nrpy_spawn(&id, run_abandoned, instance) != 0) {
        nrpy_instance_release(instance); /* it stays as it is, and harms nobody */
        return;
    }
    pthread_detach(id);
}
