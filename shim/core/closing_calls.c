#include "closing.h"

#include "burst.h"
#include "clock.h"
#include "exchange.h"
#include "generator.h"
#include "queued.h"
#include "reply.h"
#include "running.h"

#include <stdio.h>
#include <time.h>

static const char shutting_down[] = "the plugin is shutting down";

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

void nrpy_closing_close_parked(nrpy_instance *instance) {
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

bool nrpy_closing_is_loop_of_caller(const nrpy_closing *run, const nrpy_loop *loop) {
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
        if (lane != NULL && lane->loop != NULL && nrpy_closing_is_loop_of_caller(run, lane->loop)) {
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
        found |= atomic_load(&loop->runners) > 0 && !nrpy_closing_is_loop_of_caller(run, loop);
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

void nrpy_closing_end_calls(nrpy_closing *run) {
    refuse_queued(run->instance);
    for_each_exchange(run->instance, cancel_exchange);
    cancel_tasks(run->instance);
    end_exchanges_of_caller_s_loop(run);
    end_exchanges_of_caller(run);
    wait_for_handlers(run);
    end_running(run);
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

/* Whoever has claimed a reply sends it, and a worker shows what it has taken from its queue, so the host is not gone before. */
void nrpy_closing_wait_for_sends(const nrpy_closing *run) {
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

void nrpy_closing_wait_for_sends_until(const nrpy_closing *run, double seconds) {
    int64_t until_ns = after(seconds);
    long interval_ns = 20000;
    nrpy_fence_all_threads();
    while (any_send(run) && is_before(until_ns)) {
        rest(&interval_ns);
    }
}
