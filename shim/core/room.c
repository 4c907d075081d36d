/*
 * Producers that the host is too slow for: those that wait for room, and those that are set aside until there is some.
 */
#include "exchange.h"
#include "instance.h"

/* The lock is held. */
static bool is_full(nrpy_exchange *exchange) {
    return exchange->outbox.count + exchange->offered >= nrpy_exchange_max_buffered(exchange) &&
           !nrpy_exchange_has_ended(exchange) && atomic_load(&exchange->cancelled) == 0;
}

bool nrpy_exchange_has_room(nrpy_exchange *exchange) {
    if ((atomic_load_explicit(&exchange->turn, memory_order_acquire) & (NRPY_TURN_MORE | NRPY_TURN_BUSY)) == 0) {
        return true;
    }
    pthread_mutex_lock(&exchange->lock);
    bool full = is_full(exchange);
    pthread_mutex_unlock(&exchange->lock);
    return !full;
}

void nrpy_exchange_sleep(nrpy_exchange *exchange) {
    nrpy_sleeper self = {.next = exchange->sleepers};
    sem_init(&self.changed, 0, 0);
    exchange->sleepers = &self;
    pthread_mutex_unlock(&exchange->lock);
    while (sem_wait(&self.changed) != 0) {
    }
    pthread_mutex_lock(&exchange->lock); /* who posts holds it: it is done with the semaphore */
    sem_destroy(&self.changed);
}

void nrpy_exchange_wait_for_room(nrpy_exchange *exchange) {
    if (nrpy_exchange_has_room(exchange)) {
        return;
    }
    pthread_mutex_lock(&exchange->lock);
    while (is_full(exchange)) {
        nrpy_exchange_sleep(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
}

bool nrpy_exchange_park(nrpy_exchange *exchange, PyObject *generator) {
    if (nrpy_exchange_has_room(exchange)) {
        return false;
    }
    pthread_mutex_lock(&exchange->lock);
    bool full = is_full(exchange);
    if (full) {
        exchange->wants_room = true;
        exchange->generator = Py_XNewRef(generator);
        exchange->context = generator != NULL ? nrpy_context_take(PyThreadState_Get()) : NULL;
    }
    pthread_mutex_unlock(&exchange->lock);
    return full;
}

PyObject *nrpy_exchange_unpark(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    PyObject *generator = exchange->generator;
    PyObject *context = exchange->context;
    exchange->generator = NULL;
    exchange->context = NULL;
    pthread_mutex_unlock(&exchange->lock);
    if (context != NULL) {
        nrpy_context_put(PyThreadState_Get(), context);
    }
    return generator;
}

void nrpy_exchange_leave_parked(nrpy_exchange *exchange) {
    nrpy_instance *instance = exchange->instance;
    pthread_mutex_lock(&exchange->lock);
    bool parked = exchange->generator != NULL && !exchange->is_left;
    exchange->is_left |= parked;
    exchange->wants_room = false;
    pthread_mutex_unlock(&exchange->lock);
    if (parked) {
        nrpy_exchange_retain(exchange);
        exchange->parked_next = atomic_load(&instance->parked);
        while (!atomic_compare_exchange_weak(&instance->parked, &exchange->parked_next, exchange)) {
        }
    }
}

void nrpy_exchange_wake(nrpy_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool call_back = exchange->wants_room;
    exchange->wants_room = false;
    if (exchange->lane != NULL && exchange->lane->loop != NULL && !exchange->inbox_served) {
        exchange->inbox_served = true;
        call_back = true;
    }
    nrpy_exchange_rouse(exchange);
    pthread_mutex_unlock(&exchange->lock);
    if (call_back) {
        nrpy_exchange_queue(exchange, exchange->lane, &exchange->inbox_item);
    }
}

void nrpy_exchange_cancel(nrpy_exchange *exchange) {
    atomic_fetch_add(&exchange->cancelled, 1);
    pthread_mutex_lock(&exchange->lock);
    bool queue = exchange->task_lane != NULL && !exchange->cancel_queued;
    exchange->cancel_queued |= queue;
    pthread_mutex_unlock(&exchange->lock);
    if (queue) {
        nrpy_exchange_queue(exchange, exchange->task_lane, &exchange->cancel_item);
    }
    nrpy_exchange_wake(exchange);
}
