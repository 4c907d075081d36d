/*
 * The end of an instance: every accepted call gets its terminal reply, then nothing touches the host any more.
 */
#include "burst.h"
#include "clock.h"
#include "exchange.h"
#include "forked.h"
#include "generator.h"
#include "instance.h"
#include "monitor.h"
#include "queued.h"
#include "reply.h"
#include "running.h"
#include "runtime.h"
#include "streams.h"
#include "threads.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* How long event loops have to end once their calls have, an author's own tasks may still run there; and how long all has
 * until the plugin's modules are gone. */
enum { LOOP_END_S = 2, UNLOAD_S = 5 };

/* How long an unmapping waits for sends in progress: the dynamic loader's lock is held meanwhile. */
enum { ABANDON_S = 1 };

static const char shutting_down[] = "the plugin is shutting down";

/* One run of close. Lives on the heap, from open on, so that an end needs no memory: a Python part that does not come
 * back keeps it. */
typedef struct nrpy_closing {
    nrpy_errand errand;      /* where there is no thread for it */
    nrpy_instance *instance; /* a reference */
    nrpy_thread *reserved;   /* for the thread that closes */
    nrpy_thread *caller;     /* the thread that shutdown was called on */
    unsigned caller_visits;  /* sends of the instance below shutdown on the caller's stack */
    bool host_thread_left;   /* a host's thread is in a handler that did not end in time */
    _Atomic int refs;        /* the caller and the closer */
    sem_t host_done;         /* posted when the host may go: all replies sent */
    sem_t hooks_done;        /* posted when the author's hooks have run */
    sem_t sends_done;        /* posted when nobody is inside the host any more */
    sem_t python_done;       /* posted when Python's part has ended */
} nrpy_closing;

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

/* When `seconds` from now are over, of nrpy_time_ns(CLOCK_MONOTONIC). */
static int64_t after(double seconds) {
    return nrpy_time_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
}

static bool is_before(int64_t until_ns) {
    return nrpy_time_ns(CLOCK_MONOTONIC) < until_ns;
}

/* Handlers' ends are not announced: that would put a branch on every call. So close looks, less and less often. */
static void rest(long *interval_ns) {
    struct timespec interval = {.tv_nsec = *interval_ns};
    nanosleep(&interval, NULL);
    if (*interval_ns < 2000000) {
        *interval_ns *= 2;
    }
}

/* ---- refusing, and waiting for handlers ---- */

static void refuse_queue(nrpy_instance *instance, nrpy_queue *queue) {
    nrpy_item *item = nrpy_queue_close(queue);
    while (item != NULL) {
        nrpy_item *next = item->next;
        nrpy_refuse_item(instance, item, shutting_down);
        item = next;
    }
}

static void refuse_queued(nrpy_instance *instance) {
    nrpy_pools pools = nrpy_instance_pools(instance);
    for (nrpy_pool **pool = pools.of; *pool != NULL; pool++) {
        refuse_queue(instance, (*pool)->queue);
    }
    for (unsigned i = 0; i < instance->loop_count; i++) {
        refuse_queue(instance, &instance->loops[i].queue);
    }
}

static void send_late_posts(nrpy_instance *instance) {
    nrpy_item *item = atomic_exchange(&instance->late_posts, NULL);
    while (item != NULL) {
        nrpy_item *next = item->next;
        nrpy_refuse_item(instance, item, shutting_down);
        item = next;
    }
}

typedef void (*exchange_action)(nrpy_exchange *exchange);

static void for_each_exchange(nrpy_instance *instance, exchange_action action) {
    nrpy_registry_walk walk = {.bucket = 0};
    nrpy_exchange *exchange;
    while ((exchange = nrpy_registry_next(&instance->registry, &walk)) != NULL) {
        action(exchange);
        nrpy_exchange_release(exchange);
    }
}

static void end_exchange(nrpy_exchange *exchange) {
    nrpy_burst_flush(exchange);
    nrpy_exchange_drain(exchange);
    if (!nrpy_exchange_has_ended(exchange)) {
        nrpy_exchange_send(exchange, NR_ERR, shutting_down, sizeof shutting_down - 1, true);
    }
}

/* Once the host has its replies: what a finally does may take its time. Needs the GIL. */
static void close_parked_generators(nrpy_instance *instance) {
    nrpy_exchange *exchange;
    while ((exchange = atomic_exchange(&instance->parked, NULL)) != NULL) {
        while (exchange != NULL) {
            nrpy_exchange *next = exchange->parked_next;
            nrpy_close_parked(exchange);
            nrpy_exchange_release(exchange);
            exchange = next;
        }
    }
}

/* A stream that no handler is at work for has nothing to wait for. */
static void cancel_exchange(nrpy_exchange *exchange) {
    unsigned never = 0;
    atomic_compare_exchange_strong(&exchange->cancelled, &never, 1);
    nrpy_exchange_leave_parked(exchange);
    nrpy_exchange_wake(exchange);
    nrpy_exchange_drain(exchange); /* the queue is closed: what was left for a worker to send is for us */
    if (exchange->is_stream && atomic_load(&exchange->handlers) == 0) {
        end_exchange(exchange);
    }
}

/* Streams from whose own frame shutdown was called: their sender stands below us, and cannot go on before we return. The
 * host has that frame, so the terminal may follow. */
static void end_exchanges_of_caller(const nrpy_closing *run) {
    const nrpy_visit *visit = run->caller != NULL ? run->caller->visits : NULL;
    for (; visit != NULL; visit = visit->outer) {
        if (visit->instance == run->instance && visit->exchange != NULL) {
            end_exchange(visit->exchange);
            nrpy_exchange_send_outbox(visit->exchange);
        }
    }
}

static bool is_loop_of_caller(const nrpy_closing *run, const nrpy_loop *loop) {
    return run->caller != NULL && atomic_load(&loop->thread) == run->caller;
}

/* Calls whose event loop stands below us: their tasks cannot go on before we return either. */
static void end_exchanges_of_caller_s_loop(const nrpy_closing *run) {
    if (run->caller == NULL || !run->caller->runs_loop) {
        return;
    }
    nrpy_registry_walk walk = {.bucket = 0};
    nrpy_exchange *exchange;
    while ((exchange = nrpy_registry_next(&run->instance->registry, &walk)) != NULL) {
        const nrpy_lane *lane = exchange->task_lane != NULL ? exchange->task_lane : exchange->lane;
        if (lane != NULL && lane->loop != NULL && is_loop_of_caller(run, lane->loop)) {
            end_exchange(exchange);
        }
        nrpy_exchange_release(exchange);
    }
}

static bool is_running_for(nrpy_thread *thread, const nrpy_instance *instance) {
    return (atomic_load(&thread->running.word) & NRPY_STATE_MASK) != NRPY_IDLE &&
           atomic_load(&thread->running.instance) == instance;
}

typedef bool (*worker_question)(nrpy_worker *worker);

/* A worker shows that it is at work before it takes its first item, so no item is ever out of sight. */
static bool is_at_work(nrpy_worker *worker) {
    return atomic_load(&worker->in_handler);
}

static bool takes_item(nrpy_worker *worker) {
    nrpy_thread *thread = atomic_load(&worker->thread);
    return thread != NULL && atomic_load(&thread->takes_item);
}

static bool any_worker_of(nrpy_pool *pool, const nrpy_closing *run, worker_question is_so) {
    bool found = false;
    pthread_mutex_lock(&pool->lock);
    for (nrpy_worker *worker = pool->workers; worker != NULL && !found; worker = worker->next) {
        found = is_so(worker) && atomic_load(&worker->thread) != run->caller;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

static bool any_worker(const nrpy_closing *run, worker_question is_so) {
    nrpy_pools pools = nrpy_instance_pools(run->instance);
    bool found = false;
    for (nrpy_pool **pool = pools.of; *pool != NULL && !found; pool++) {
        found = any_worker_of(*pool, run, is_so);
    }
    return found;
}

static bool any_task(const nrpy_closing *run) {
    bool found = false;
    for (unsigned i = 0; i < run->instance->loop_count; i++) {
        nrpy_loop *loop = &run->instance->loops[i];
        found |= atomic_load(&loop->runners) > 0 && !is_loop_of_caller(run, loop);
    }
    return found;
}

/* The queues are closed: this is how tasks learn that they are to end. */
static void cancel_tasks(nrpy_instance *instance) {
    for (unsigned i = 0; i < instance->loop_count; i++) {
        nrpy_loop_cancel_all(&instance->loops[i]);
    }
}

static bool any_handler(const nrpy_closing *run) {
    if (atomic_load(&run->instance->registry.count) > 0 || any_worker(run, is_at_work) || any_task(run)) {
        return true;
    }
    for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL; thread = thread->next) {
        if (thread != run->caller && is_running_for(thread, run->instance)) {
            return true;
        }
    }
    return false;
}

static void wait_for_handlers(const nrpy_closing *run) {
    int64_t until_ns = after(run->instance->shutdown_timeout_s);
    long interval_ns = 50000;
    while (any_handler(run) && is_before(until_ns)) {
        rest(&interval_ns);
        for_each_exchange(run->instance, cancel_exchange); /* a stream's handler may have ended meanwhile */
        cancel_tasks(run->instance);
        send_late_posts(run->instance);
    }
}

static bool is_worker(nrpy_instance *instance, const nrpy_thread *thread) {
    nrpy_pools pools = nrpy_instance_pools(instance);
    bool found = false;
    for (nrpy_pool **pool = pools.of; *pool != NULL && !found; pool++) {
        pthread_mutex_lock(&(*pool)->lock);
        for (nrpy_worker *worker = (*pool)->workers; worker != NULL && !found; worker = worker->next) {
            found = atomic_load(&worker->thread) == thread;
        }
        pthread_mutex_unlock(&(*pool)->lock);
    }
    return found;
}

/* Makes the reply of the call that runs on a thread ours, without the GIL, which its handler may hold for good. Returns
 * false where none of the instance's runs, or somebody answers for it. */
static bool take_running(nrpy_thread *thread, const nrpy_instance *instance, uint64_t *sid) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* one close at a time: a slot has room for one */
    pthread_mutex_lock(&lock);
    uint64_t word = atomic_load(&thread->running.word);
    *sid = atomic_load(&thread->running.sid);
    bool taken = nrpy_running_is_open(thread, instance, *sid);
    if (taken) {
        uint64_t settled = word;
        atomic_store(&thread->running.contest, word);
        nrpy_fence_all_threads();
        taken = atomic_load(&thread->running.word) == word &&
                atomic_compare_exchange_strong(&thread->running.contest, &settled, word ^ NRPY_RUNNING ^ NRPY_TAKEN);
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

static void answer_running(nrpy_instance *instance) {
    for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL; thread = thread->next) {
        uint64_t sid;
        nrpy_visit visit;
        if (take_running(thread, instance, &sid) && nrpy_visit_begin(&visit, instance)) {
            nrpy_host_answer(instance, sid, NR_ERR, shutting_down, sizeof shutting_down - 1);
            nrpy_visit_end(&visit);
        }
    }
}

/* Answers Err for all that still runs. */
static void end_running(nrpy_closing *run) {
    nrpy_instance *instance = run->instance;
    for_each_exchange(instance, end_exchange);
    send_late_posts(instance);
    answer_running(instance);
    for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL; thread = thread->next) {
        if (thread != run->caller && is_running_for(thread, instance)) {
            run->host_thread_left |= !is_worker(instance, thread);
        }
    }
    run->host_thread_left |= atomic_load(&instance->host_calls) > 0;
}

/* ---- the host goes ---- */

static bool any_send(const nrpy_closing *run) {
    if (atomic_load(&run->instance->visitors) > run->caller_visits) {
        return true;
    }
    for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL; thread = thread->next) {
        if (thread != run->caller && is_running_for(thread, run->instance) &&
            (atomic_load(&thread->running.word) & NRPY_STATE_MASK) == NRPY_SENDING) {
            return true;
        }
    }
    return false;
}

/* Whether a thread has the turn of a stream, inside the host or on its way there. */
static bool any_held_up(const nrpy_closing *run) {
    bool found = false;
    nrpy_registry_walk walk = {.bucket = 0};
    nrpy_exchange *exchange;
    while ((exchange = nrpy_registry_next(&run->instance->registry, &walk)) != NULL) {
        nrpy_exchange_drain(exchange);
        if (nrpy_exchange_give_up(exchange)) {
            fprintf(stderr,
                    "nylon-ring: plugin '%s': the host had no room for the last frames of sid %llu within "
                    "shutdown_timeout_s=%g; they are lost\n",
                    run->instance->name, (unsigned long long)exchange->sid, run->instance->shutdown_timeout_s);
        }
        found |= nrpy_exchange_is_sending(exchange);
        nrpy_exchange_release(exchange);
    }
    return found || atomic_load(&run->instance->held_back) > 0;
}

/* Without a deadline: the host frees its context when we return. Whoever has claimed a reply sends it, and a worker shows
 * what it has taken from its queue, so the host is not gone before. */
static void wait_for_sends(const nrpy_closing *run) {
    nrpy_instance *instance = run->instance;
    long interval_ns = 20000;
    for (;;) {
        bool is_at_it = any_worker(run, takes_item);
        answer_running(instance);
        send_late_posts(instance);
        is_at_it |= any_held_up(run);
        is_at_it |= any_send(run);
        if (!is_at_it && atomic_load(&instance->late_posts) == NULL) {
            break;
        }
        rest(&interval_ns);
    }
    interval_ns = 20000;
    atomic_store(&run->instance->host_gone, true);
    nrpy_fence_all_threads();
    while (any_send(run)) {
        rest(&interval_ns);
    }
}

/* ---- Python's part ---- */

static void run_shutdown_hooks(const nrpy_closing *run) {
    const nrpy_instance *instance = run->instance;
    bool first_loop_stands = instance->loop_count > 0 && is_loop_of_caller(run, &instance->loops[0]);
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
    refuse_queued(instance);
    for_each_exchange(instance, cancel_exchange);
    cancel_tasks(instance);
    end_exchanges_of_caller_s_loop(run);
    end_exchanges_of_caller(run);
    wait_for_handlers(run);
    end_running(run);
    sem_post(&run->host_done);

    nrpy_attachment attachment;
    if (attach_for_hooks(&attachment)) {
        close_parked_generators(instance);
        run_shutdown_hooks(run);
        nrpy_detach(&attachment);
    }
    sem_post(&run->hooks_done);
    wait_for_sends(run);
    sem_post(&run->sends_done);
    unsigned left = stop_threads(run);
    if (attach_for_hooks(&attachment)) {
        close_parked_generators(instance); /* parked since by a handler that ended late */
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
        wait_for_sends(run);
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
    int64_t until_ns = after(ABANDON_S);
    long interval_ns = 20000;
    nrpy_fence_all_threads();
    while (any_send(&sends) && is_before(until_ns)) {
        rest(&interval_ns);
    }
    pthread_t id;
    nrpy_instance_retain(instance);
    if (nrpy_spawn(&id, run_abandoned, instance) != 0) {
        nrpy_instance_release(instance); /* it stays as it is, and harms nobody */
        return;
    }
    pthread_detach(id);
}
