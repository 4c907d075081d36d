#include "dispatch.h"

#include "callback.h"
#include "clock.h"
#include "forked.h"
#include "host.h"
#include "module.h"
#include "request.h"
#include "runtime.h"
#include "stream_object.h"
#include "streams.h"
#include "views.h"

#include <stdlib.h>

/* ---- shared by both ways ---- */

NrStatus nrpy_refusal(nrpy_instance *instance) {
    bool ends = !nrpy_is_alive() || atomic_load(&instance->phase) == NRPY_CLOSING;
    return ends ? NR_ERR : NR_INVALID;
}

static void note_sid(nrpy_instance *instance, uint64_t sid) {
    if (sid > atomic_load_explicit(&instance->highest_sid, memory_order_relaxed)) {
        atomic_store_explicit(&instance->highest_sid, sid, memory_order_relaxed);
    }
}

nrpy_source nrpy_source_of(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid) {
    return (nrpy_source){
        .instance = instance,
        .kind = "entry",
        .name = entry->name,
        .name_length = (int)entry->length,
        .sid = sid,
    };
}

PyObject *nrpy_call_handler(PyObject *handler, PyObject *argument, PyObject *callback) {
    /* The instance may be unloaded while a handler that never ends runs on. */
    Py_INCREF(handler);
    PyObject *arguments[] = {argument, callback};
    PyObject *result = PyObject_Vectorcall(handler, arguments, callback != NULL ? 2 : 1, NULL);
    nrpy_author_returned(result);
    Py_DECREF(handler);
    return result;
}

static void begin_running(nrpy_thread *thread, nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    atomic_store_explicit(&thread->running.instance, instance, memory_order_relaxed);
    atomic_store_explicit(&thread->running.sid, sid, memory_order_relaxed);
    thread->running.entry = entry;
    atomic_store_explicit(&thread->running.word, word | NRPY_RUNNING, memory_order_release);
    note_sid(instance, sid);
}

/* A plain call has its reply. Needs the GIL. */
static void count_end(const nrpy_entry *entry, const nrpy_reply *reply, int64_t began_ns, unsigned weight) {
    nrpy_counters *counters = entry->counters;
    nrpy_count_with_gil(&counters->ended);
    if (weight != 0) {
        nrpy_count_latency(counters, nrpy_time_ns(CLOCK_MONOTONIC) - began_ns, weight);
    }
    if (reply->status != NR_OK && reply->status != NR_STREAM_END) {
        nrpy_count(&counters->errors, 1);
    }
}

/* Makes the reply of the call in this thread's slot ours. Returns false where somebody has answered for it. */
static bool claim_running(nrpy_thread *thread) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    uint64_t base = word & ~(uint64_t)NRPY_STATE_MASK;
    word = base | NRPY_RUNNING;
    return atomic_compare_exchange_strong(&thread->running.word, &word, base | NRPY_SENDING);
}

static void end_running(nrpy_thread *thread) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    word = (word & ~(uint64_t)NRPY_STATE_MASK) + NRPY_SEQUENCE_STEP;
    atomic_store_explicit(&thread->running.word, word, memory_order_release);
}

/*
 * Sends the reply of the call in this thread's slot, unless somebody has answered for it. Must not hold the GIL. Taking
 * the slot and looking for the host are in one total order with close, which says that the host is gone and then looks
 * at the slots: it waits for this send, or this send does not happen.
 */
static void send_running(nrpy_thread *thread, nrpy_instance *instance, uint64_t sid, nrpy_reply *reply) {
    if (!claim_running(thread)) {
        if (reply->length > 0 || reply->status != NR_OK) {
            atomic_fetch_add(&instance->late_replies, 1);
        }
    } else if (!atomic_load(&instance->host_gone)) {
        nrpy_host_answer_reply(instance, sid, reply);
    }
    end_running(thread);
}

bool nrpy_exchange_reply(nrpy_exchange *exchange, nrpy_reply *reply, bool may_send) {
    PyThreadState *state = PyEval_SaveThread();
    bool taken = nrpy_exchange_send(exchange, reply->status, reply->bytes, reply->length, may_send);
    nrpy_back_from_host(state);
    nrpy_reply_clear(reply);
    return taken;
}

void nrpy_exchange_result(nrpy_exchange *exchange, const nrpy_source *source, PyObject *result, bool may_send) {
    if (result == Py_None) {
        Py_DECREF(result);
        return;
    }
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, result);
    nrpy_exchange_reply(exchange, &reply, may_send);
}

/* ---- the handlers of exchanges ---- */

/* Returns whose handler it was at work for. */
static nrpy_exchange *at_work_for(nrpy_thread *thread, nrpy_exchange *exchange) {
    nrpy_exchange *before = atomic_load_explicit(&thread->exchange, memory_order_relaxed);
    atomic_store_explicit(&thread->exchange, exchange, memory_order_relaxed);
    return before;
}

void nrpy_handler_begins(nrpy_exchange *exchange) {
    atomic_fetch_add(&exchange->handlers, 1);
    nrpy_count_with_gil(&exchange->entry->counters->calls);
    note_sid(exchange->instance, exchange->sid);
}

void nrpy_skip_handler(nrpy_exchange *exchange) {
    if (exchange->is_stream && !nrpy_exchange_has_ended(exchange)) {
        nrpy_stream_send_end(exchange);
    }
    nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER);
}

void nrpy_handler_ended(nrpy_exchange *exchange) {
    nrpy_count_with_gil(&exchange->entry->counters->ended);
    nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER);
    atomic_fetch_sub(&exchange->handlers, 1);
}

/* Whether a handler that was told to end has done so in the way it was told. */
static bool has_obeyed(nrpy_exchange *exchange) {
    return nrpy_exchange_is_cancelled(exchange) &&
           (PyErr_ExceptionMatches(nrpy_names.call_ended_error) ||
            (nrpy_names.cancelled_error != NULL && PyErr_ExceptionMatches(nrpy_names.cancelled_error)));
}

static void finish_obeyed(nrpy_exchange *exchange) {
    static const char text[] = "the handler was cancelled";
    PyErr_Clear();
    if (nrpy_exchange_has_ended(exchange)) {
        return;
    }
    if (exchange->is_stream || !nrpy_is_open(exchange->instance)) {
        nrpy_stream_send_end(exchange);
    } else {
        nrpy_reply reply = {.status = NR_ERR, .bytes = text, .length = sizeof text - 1};
        nrpy_exchange_reply(exchange, &reply, true);
    }
}

static void finish_stream(nrpy_exchange *exchange, const nrpy_source *source, PyObject *result) {
    if (result == Py_None) {
        Py_DECREF(result);
        if (!nrpy_exchange_has_ended(exchange)) {
            nrpy_stream_send_end(exchange);
        }
        return;
    }
    if (result != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "a handler of a stream returned %.100s: send what the host is to have, and return None",
                     Py_TYPE(result)->tp_name);
        Py_DECREF(result);
    }
    nrpy_reply reply;
    nrpy_reply_make(&reply, source, NULL);
    nrpy_exchange_reply(exchange, &reply, true);
}

void nrpy_exchange_finish(nrpy_exchange *exchange, PyObject *result, bool may_send) {
    nrpy_exchange_part_done(exchange, NRPY_PART_HANDLER); /* the author's code has returned: the rest is sending */
    const nrpy_entry *entry = exchange->entry;
    nrpy_source source = nrpy_source_of(exchange->instance, entry, exchange->sid);
    if (result == NULL && has_obeyed(exchange)) {
        finish_obeyed(exchange);
    } else if ((entry->flags & (NRPY_STREAM | NRPY_CALLBACK)) != 0) {
        nrpy_exchange_result(exchange, &source, result, may_send);
    } else if (exchange->is_stream) {
        finish_stream(exchange, &source, result);
    } else {
        nrpy_reply reply;
        nrpy_reply_make(&reply, &source, result);
        nrpy_exchange_reply(exchange, &reply, may_send);
    }
}

/* Runs the handler of a call that has an exchange. Takes `argument`; NULL: an exception is set. Needs the GIL. */
static void run_exchange(nrpy_exchange *exchange, const nrpy_entry *entry, PyObject *argument, bool may_send) {
    PyObject *callback = NULL;
    PyObject *result = NULL;
    if (argument != NULL && (entry->flags & NRPY_CALLBACK) != 0) {
        callback = nrpy_callback_new(exchange);
    }
    if (argument != NULL && (callback != NULL || (entry->flags & NRPY_CALLBACK) == 0)) {
        result = nrpy_call_handler(entry->handler, argument, callback);
    }
    nrpy_exchange_finish(exchange, result, may_send);
    Py_XDECREF(argument);
    Py_XDECREF(callback); /* unanswered and kept by nobody: it answers Err now */
}

/* A plain duplex handler. Takes `argument`; NULL: an exception is set. */
static void run_duplex(nrpy_exchange *exchange, PyObject *argument) {
    PyObject *stream = argument != NULL ? nrpy_stream_new(exchange, argument, NULL) : NULL;
    PyObject *result = stream != NULL ? nrpy_call_handler(exchange->entry->handler, stream, NULL) : NULL;
    nrpy_exchange_finish(exchange, result, true);
    Py_XDECREF(stream);
    Py_XDECREF(argument);
}

/* ---- on the host's thread ---- */

static PyObject *argument_over_host(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                                    const nrpy_request_view *view) {
    if ((entry->flags & NRPY_RAW) != 0) {
        return PyBytes_FromStringAndSize((const char *)view->body.ptr, (Py_ssize_t)view->body.len);
    }
    return nrpy_request_over_host(instance, entry, sid, view);
}

static void end_argument(const nrpy_entry *entry, PyObject *argument) {
    if (argument == NULL) {
        return;
    }
    if ((entry->flags & NRPY_RAW) != 0) {
        Py_DECREF(argument);
    } else {
        nrpy_request_return(argument);
    }
}

/* An exchange that is registered, or the status `handle` answers. */
static nrpy_exchange *open_exchange(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, nrpy_waiter *waiter,
                                    NrStatus *status) {
    uint64_t limit = entry->limits->max_pending;
    *status = NR_ERR;
    if (limit != 0 && atomic_fetch_add(&entry->counters->pending, 1) >= limit) {
        *status = nrpy_host_full(&instance->host);
        goto refused;
    }
    nrpy_exchange *exchange = nrpy_exchange_new(instance, entry, sid);
    if (exchange == NULL) {
        goto refused;
    }
    exchange->waiter = waiter;
    nrpy_add_result added = nrpy_registry_add(&instance->registry, exchange);
    if (added == NRPY_ADDED && nrpy_deadlines_start(exchange) == 0) {
        *status = NR_OK;
        return exchange;
    }
    *status = added == NRPY_STREAM_IS_OPEN ? NR_INVALID : NR_ERR;
    if (!nrpy_exchange_abandon(exchange)) {
        *status = NR_OK; /* close was faster, and has replied */
    }
    nrpy_exchange_release(exchange);
    return NULL;
refused:
    if (limit != 0) {
        atomic_fetch_sub(&entry->counters->pending, 1);
    }
    return NULL;
}

/* A synchronous call whose reply cannot live in the thread's slot: its handler takes a callback, or the slot is in use
 * by the call below on this stack. */
static NrStatus run_here_with_exchange(nrpy_thread *thread, nrpy_instance *instance, const nrpy_entry *entry,
                                       uint64_t sid, const nrpy_request_view *view) {
    NrStatus status;
    nrpy_exchange *exchange = open_exchange(instance, entry, sid, NULL, &status);
    if (exchange == NULL) {
        return status;
    }
    nrpy_attachment attachment;
    if (!nrpy_attach(&attachment, thread)) {
        status = nrpy_exchange_abandon(exchange) ? NR_ERR : NR_OK;
        nrpy_exchange_release(exchange);
        return status;
    }
    if (!nrpy_is_open(instance)) {
        status = nrpy_exchange_abandon(exchange) ? nrpy_refusal(instance) : NR_OK;
    } else {
        nrpy_host_frame frame = {.outer = thread->frames, .instance = instance, .sid = sid, .has_call = true};
        thread->frames = &frame;
        atomic_fetch_add(&instance->host_calls, 1);
        nrpy_handler_begins(exchange);
        nrpy_exchange *outer = at_work_for(thread, exchange);
        PyObject *argument = argument_over_host(instance, entry, sid, view);
        Py_XINCREF(argument);
        run_exchange(exchange, entry, argument, true);
        end_argument(entry, argument);
        (void)at_work_for(thread, outer);
        nrpy_handler_ended(exchange);
        atomic_fetch_sub(&instance->host_calls, 1);
        thread->frames = frame.outer;
    }
    nrpy_detach(&attachment);
    nrpy_exchange_release(exchange);
    return status;
}

/* This thread's stack is too small for Python: a worker runs the handler, and this thread waits and sends. */
static NrStatus run_by_worker(nrpy_thread *thread, nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                              const nrpy_request_view *view) {
    NrStatus status;
    nrpy_waiter waiter = {.reply = NULL};
    nrpy_call *call = nrpy_call_new(instance, entry, sid, view);
    if (call == NULL) {
        return NR_ERR;
    }
    sem_init(&waiter.answered, 0, 0);
    /* From here on, so that close waits for the reply this thread sends; close answers for a handler that does not end. */
    nrpy_visit visit;
    if (!nrpy_visit_begin(&visit, instance)) {
        nrpy_call_free(call);
        sem_destroy(&waiter.answered);
        return NR_ERR;
    }
    nrpy_exchange *exchange = open_exchange(instance, entry, sid, &waiter, &status);
    if (exchange == NULL) {
        nrpy_call_free(call);
        goto done;
    }
    call->exchange = exchange;
    if (nrpy_lane_push(&instance->workers, &call->item, false) != NRPY_PUSHED) {
        bool unanswered = nrpy_exchange_abandon(exchange);
        nrpy_exchange_release(exchange);
        nrpy_call_free(call);
        if (unanswered) {
            status = NR_ERR;
            goto done;
        }
    }
    PyThreadState *state = nrpy_is_attached(thread) ? PyEval_SaveThread() : NULL;
    while (sem_wait(&waiter.answered) != 0) {
    }
    if (waiter.reply != NULL) {
        nrpy_host_answer(instance, sid, waiter.reply->status, waiter.reply->bytes, waiter.reply->length);
    } else {
        static const char text[] = "no memory to keep the reply";
        nrpy_host_answer(instance, sid, NR_ERR, text, sizeof text - 1);
    }
    free(waiter.reply);
    if (state != NULL) {
        nrpy_back_from_host(state);
    }
done:
    nrpy_visit_end(&visit);
    sem_destroy(&waiter.answered);
    return status;
}

static NrStatus run_here(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                         const nrpy_request_view *view) {
    nrpy_thread *thread = nrpy_thread_self();
    if (thread == NULL) {
        return NR_ERR;
    }
    if (!nrpy_has_python_stack(thread)) {
        return run_by_worker(thread, instance, entry, sid, view);
    }
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    if ((entry->flags & NRPY_CALLBACK) != 0 || (word & NRPY_STATE_MASK) != NRPY_IDLE) {
        return run_here_with_exchange(thread, instance, entry, sid, view);
    }
    nrpy_attachment attachment;
    if (!nrpy_attach(&attachment, thread)) {
        return NR_ERR;
    }
    /* First show the call, then look at the gate: close shuts the gate, fences all threads, and then looks at the slots. */
    begin_running(thread, instance, entry, sid);
    atomic_signal_fence(memory_order_seq_cst);
    if (!nrpy_is_open(instance)) {
        bool unanswered = claim_running(thread);
        end_running(thread);
        nrpy_detach(&attachment);
        return unanswered ? nrpy_refusal(instance) : NR_OK; /* close may have answered what it saw running */
    }
    nrpy_host_frame frame = {.outer = thread->frames, .instance = instance, .sid = sid, .has_call = true};
    thread->frames = &frame;
    unsigned weight = nrpy_sample_weight(nrpy_count_with_gil(&entry->counters->calls));
    int64_t began_ns = weight != 0 ? nrpy_time_ns(CLOCK_MONOTONIC) : 0;
    nrpy_source source = nrpy_source_of(instance, entry, sid);
    nrpy_exchange *outer = atomic_load_explicit(&thread->exchange, memory_order_relaxed);
    atomic_store_explicit(&thread->exchange, NULL, memory_order_relaxed); /* a task's below on this stack */
    PyObject *argument = argument_over_host(instance, entry, sid, view);
    PyObject *result = argument != NULL ? nrpy_call_handler(entry->handler, argument, NULL) : NULL;
    atomic_store_explicit(&thread->exchange, outer, memory_order_relaxed);
    nrpy_reply reply;
    nrpy_reply_make(&reply, &source, result);
    end_argument(entry, argument);
    count_end(entry, &reply, began_ns, weight);
    thread->frames = frame.outer;
    bool was_attached = attachment.was_attached;
    nrpy_detach(&attachment);
    PyThreadState *state = was_attached ? PyEval_SaveThread() : NULL;
    send_running(thread, instance, sid, &reply);
    if (state != NULL) {
        nrpy_back_from_host(state);
        nrpy_reply_clear(&reply);
    } else if (reply.view.obj != NULL) {
        if (nrpy_attach(&attachment, thread)) {
            nrpy_reply_clear(&reply);
            nrpy_detach(&attachment);
        }
    } else if (reply.owner != NULL) {
        nrpy_drop_later(thread, reply.owner, reply.length);
    }
    return NR_OK;
}

/* ---- through the queue ---- */

/* A thread for a plain duplex handler, if there is one left. */
static bool claim_stream_thread(nrpy_instance *instance) {
    if (atomic_fetch_add(&instance->sync_streams, 1) < instance->stream_limit) {
        return true;
    }
    atomic_fetch_sub(&instance->sync_streams, 1);
    return false;
}

static bool needs_stream_thread(const nrpy_entry *entry) {
    return (entry->flags & (NRPY_DUPLEX | NRPY_ASYNC)) == NRPY_DUPLEX;
}

static void give_stream_thread_back(nrpy_instance *instance, const nrpy_entry *entry) {
    if (needs_stream_thread(entry)) {
        atomic_fetch_sub(&instance->sync_streams, 1);
    }
}

/* Puts a call into its lane. Takes it when it answers Ok. */
static NrStatus enqueue(nrpy_instance *instance, const nrpy_entry *entry, nrpy_call *call) {
    if (needs_stream_thread(entry) && !claim_stream_thread(instance)) {
        return nrpy_host_full(&instance->host);
    }
    nrpy_push_result pushed = nrpy_lane_push(nrpy_instance_lane(instance, entry->flags, call->sid), &call->item, true);
    if (pushed == NRPY_PUSHED) {
        return NR_OK;
    }
    give_stream_thread_back(instance, entry);
    return pushed == NRPY_QUEUE_FULL ? nrpy_host_full(&instance->host) : NR_ERR;
}

static NrStatus submit(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, const nrpy_request_view *view) {
    nrpy_call *call = nrpy_call_new(instance, entry, sid, view);
    if (call == NULL) {
        return NR_ERR;
    }
    NrStatus status = NR_OK;
    if (entry->needs_exchange) {
        call->exchange = open_exchange(instance, entry, sid, NULL, &status);
        if (call->exchange == NULL) {
            goto refused; /* or answered already */
        }
    }
    status = enqueue(instance, entry, call);
    if (status == NR_OK) {
        return NR_OK;
    }
    if (call->exchange != NULL) {
        status = nrpy_exchange_abandon(call->exchange) ? status : NR_OK;
        nrpy_exchange_release(call->exchange);
    }
refused:
    if (status == nrpy_host_full(&instance->host) && nrpy_is_open(instance)) {
        nrpy_count(&entry->counters->refused, 1);
    }
    nrpy_call_free(call);
    return status;
}

static const nrpy_entry *find_entry(nrpy_instance *instance, NrStr name) {
    bool is_name = name.len > 0 && nrpy_can_hold(name.ptr, name.len);
    return is_name ? nrpy_entries_find(&instance->entries, name) : NULL;
}

/* `entry` is NULL where the host asked for none of ours. */
static inline NrStatus handle_entry(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                                    const NrRequest *req, NrBytes payload) {
    if (entry == NULL || !nrpy_can_hold(payload.ptr, payload.len) || (req != NULL && !nrpy_is_valid_request(req)) ||
        nrpy_registry_has_stream(&instance->registry, sid)) {
        return NR_INVALID;
    }
    nrpy_request_view view = nrpy_view_request(req, payload);
    if ((entry->flags & NRPY_SYNC) != 0) {
        return run_here(instance, entry, sid, &view);
    }
    return submit(instance, entry, sid, &view);
}

NrStatus nrpy_handle(nrpy_instance *instance, NrStr name, uint64_t sid, const NrRequest *req, NrBytes payload) {
    if (!nrpy_is_open(instance) || !nrpy_is_alive()) {
        return nrpy_refusal(instance);
    }
    return handle_entry(instance, find_entry(instance, name), sid, req, payload);
}

NrStatus nrpy_handle_by_id(nrpy_instance *instance, uint32_t id, uint64_t sid, NrBytes payload) {
    if (!nrpy_is_open(instance) || !nrpy_is_alive()) {
        return nrpy_refusal(instance);
    }
    return handle_entry(instance, nrpy_entry_by_id(&instance->entries, id), sid, NULL, payload);
}

uint32_t nrpy_resolve_entry(nrpy_instance *instance, NrStr name) {
    const nrpy_entry *entry = nrpy_is_open(instance) ? find_entry(instance, name) : NULL;
    return entry != NULL ? nrpy_entry_id(&instance->entries, entry) : NR_ENTRY_UNKNOWN;
}

/* ---- on a worker ---- */

PyObject *nrpy_argument_over_call(nrpy_call *call) {
    PyObject *argument;
    if ((call->entry->flags & NRPY_RAW) != 0) {
        argument = PyBytes_FromStringAndSize((const char *)call->request.body.ptr, (Py_ssize_t)call->request.body.len);
        nrpy_call_free(call);
    } else {
        argument = nrpy_request_over_call(call);
        if (argument == NULL) {
            nrpy_call_free(call);
        }
    }
    return argument;
}

static void run_plain_call(nrpy_instance *instance, nrpy_thread *thread, nrpy_call *call) {
    const nrpy_entry *entry = call->entry;
    uint64_t sid = call->sid;
    int64_t began_ns = call->began_ns;
    unsigned weight = call->weight;
    nrpy_source source = nrpy_source_of(instance, entry, sid);
    nrpy_count_with_gil(&entry->counters->calls);
    begin_running(thread, instance, entry, sid);
    PyObject *argument = nrpy_argument_over_call(call);
    PyObject *result = argument != NULL ? nrpy_call_handler(entry->handler, argument, NULL) : NULL;
    nrpy_reply reply;
    nrpy_reply_make(&reply, &source, result);
    Py_XDECREF(argument);
    count_end(entry, &reply, began_ns, weight);
    PyThreadState *state = PyEval_SaveThread();
    send_running(thread, instance, sid, &reply);
    nrpy_worker_reattach(thread, state);
    nrpy_reply_clear(&reply);
}

static void run_exchange_call(nrpy_instance *instance, nrpy_thread *thread, nrpy_call *call) {
    const nrpy_entry *entry = call->entry;
    nrpy_exchange *exchange = call->exchange;
    if (nrpy_exchange_is_cancelled(exchange)) {
        nrpy_call_free(call);
        nrpy_skip_handler(exchange);
    } else {
        nrpy_handler_begins(exchange);
        (void)at_work_for(thread, exchange);
        PyObject *argument = nrpy_argument_over_call(call);
        if ((entry->flags & NRPY_GENERATOR) != 0) {
            nrpy_run_generator(exchange, argument);
        } else {
            if ((entry->flags & NRPY_DUPLEX) != 0) {
                run_duplex(exchange, argument);
            } else {
                run_exchange(exchange, entry, argument, true);
            }
            nrpy_handler_ended(exchange);
        }
        (void)at_work_for(thread, NULL);
    }
    give_stream_thread_back(instance, entry);
    if (exchange->has_hooks) {
        nrpy_serve_inbox(exchange);
    }
    nrpy_exchange_release(exchange);
}

static nrpy_exchange *exchange_of_drain(nrpy_item *item) {
    return (nrpy_exchange *)(void *)((char *)item - offsetof(nrpy_exchange, drain_item));
}

void nrpy_run_item(nrpy_instance *instance, nrpy_thread *thread, nrpy_item *item) {
    switch (item->kind) {
    case NRPY_ITEM_CALL: {
        nrpy_call *call = (nrpy_call *)(void *)item;
        if (call->exchange == NULL) {
            run_plain_call(instance, thread, call);
        } else {
            run_exchange_call(instance, thread, call);
        }
        break;
    }
    case NRPY_ITEM_INBOX: {
        nrpy_exchange *exchange = nrpy_exchange_of_inbox(item);
        (void)at_work_for(thread, exchange);
        nrpy_serve_inbox(exchange);
        (void)at_work_for(thread, NULL);
        nrpy_exchange_release(exchange);
        break;
    }
    case NRPY_ITEM_DRAIN:
    case NRPY_ITEM_CANCEL: /* never on a worker */
    case NRPY_ITEM_POST: {
        PyThreadState *state = PyEval_SaveThread();
        nrpy_refuse_item(instance, item, NULL); /* neither runs Python: both are delivered the same way when closing */
        nrpy_worker_reattach(thread, state);
        break;
    }
    }
}

void nrpy_refuse_item(nrpy_instance *instance, nrpy_item *item, const char *text) {
    switch (item->kind) {
    case NRPY_ITEM_CALL: {
        nrpy_call *call = (nrpy_call *)(void *)item;
        if (call->exchange == NULL) {
            nrpy_refuse_late(instance, call->sid, text);
        } else {
            nrpy_exchange_send(call->exchange, NR_ERR, text, strlen(text), true);
            nrpy_exchange_part_done(call->exchange, NRPY_PART_HANDLER);
            nrpy_exchange_release(call->exchange);
            give_stream_thread_back(instance, call->entry);
        }
        nrpy_call_free(call);
        break;
    }
    case NRPY_ITEM_INBOX:
        nrpy_exchange_release(nrpy_exchange_of_inbox(item)); /* its input goes with the exchange, which close ends */
        break;
    case NRPY_ITEM_CANCEL:
        nrpy_exchange_release(nrpy_exchange_of_cancel(item)); /* close cancels all tasks */
        break;
    case NRPY_ITEM_DRAIN: {
        nrpy_exchange *exchange = exchange_of_drain(item);
        nrpy_exchange_drain(exchange);
        nrpy_exchange_release(exchange);
        break;
    }
    case NRPY_ITEM_POST:
        nrpy_post_deliver(instance, (nrpy_post *)(void *)item);
        break;
    }
}
