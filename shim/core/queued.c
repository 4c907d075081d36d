#include "queued.h"

#include "admission.h"
#include "generator.h"
#include "handler.h"
#include "host.h"
#include "request.h"
#include "running.h"
#include "streams.h"

#include <string.h>

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

NrStatus nrpy_submit(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, const nrpy_request_view *view) {
    nrpy_call *call = nrpy_call_new(instance, entry, sid, view);
    if (call == NULL) {
        return NR_ERR;
    }
    NrStatus status = NR_OK;
    if ((entry->flags & NRPY_EXCHANGE) != 0) {
        call->exchange = nrpy_admit(instance, entry, sid, NULL, &status);
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

/* With the GIL given up meanwhile. Counted by its name (scripts/budget.py). */
__attribute__((noinline)) static void send_reply(nrpy_thread *thread, nrpy_instance *instance, uint64_t sid,
                                                 nrpy_reply *reply) {
    bool is_claimed = nrpy_running_claim(thread, NRPY_SENDING);
    PyThreadState *state = PyEval_SaveThread();
    nrpy_running_send(thread, instance, sid, is_claimed, reply);
    nrpy_worker_reattach(thread, state);
    nrpy_reply_clear(reply);
}

static void run_plain_call(nrpy_instance *instance, nrpy_thread *thread, nrpy_call *call) {
    const nrpy_entry *entry = call->entry;
    uint64_t sid = call->sid;
    int64_t began_ns = call->began_ns;
    unsigned weight = call->weight;
    nrpy_count_with_gil(&entry->counters->calls);
    nrpy_running_begin(thread, instance, entry, sid);
    nrpy_item_is_shown(thread);
    PyObject *argument = nrpy_argument_over_call(call);
    PyObject *result = argument != NULL ? nrpy_call_handler(entry->handler, argument, NULL) : NULL;
    nrpy_reply reply;
    if (!nrpy_reply_take_bytes(&reply, result)) {
        nrpy_source source = nrpy_source_of(instance, entry, sid);
        nrpy_reply_make(&reply, &source, result);
    }
    Py_XDECREF(argument);
    nrpy_running_count(entry, reply.status, began_ns, weight);
    send_reply(thread, instance, sid, &reply);
}

static void run_exchange_call(nrpy_instance *instance, nrpy_thread *thread, nrpy_call *call) {
    const nrpy_entry *entry = call->entry;
    nrpy_exchange *exchange = call->exchange;
    nrpy_item_is_shown(thread);
    if (nrpy_exchange_is_cancelled(exchange)) {
        nrpy_call_free(call);
        nrpy_skip_handler(exchange);
    } else {
        nrpy_handler_begins(exchange);
        (void)nrpy_at_work_for(thread, exchange);
        PyObject *argument = nrpy_argument_over_call(call);
        if ((entry->flags & NRPY_GENERATOR) != 0) {
            nrpy_run_generator(exchange, argument);
        } else {
            if ((entry->flags & NRPY_DUPLEX) != 0) {
                nrpy_run_duplex(exchange, argument);
            } else {
                nrpy_run_handler(exchange, argument, true);
            }
            nrpy_handler_ended(exchange);
        }
        (void)nrpy_at_work_for(thread, NULL);
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
        nrpy_item_is_shown(thread);
        (void)nrpy_at_work_for(thread, exchange);
        nrpy_serve_inbox(exchange);
        (void)nrpy_at_work_for(thread, NULL);
        nrpy_exchange_release(exchange);
        break;
    }
    case NRPY_ITEM_DRAIN:
    case NRPY_ITEM_CANCEL: /* never on a worker */
    case NRPY_ITEM_POST: {
        PyThreadState *state = PyEval_SaveThread();
        nrpy_refuse_item(instance, item, NULL); /* neither runs Python: both are delivered the same way when closing */
        nrpy_item_is_shown(thread);
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
    case NRPY_ITEM_INBOX: {
        nrpy_exchange *exchange = nrpy_exchange_of_inbox(item); /* its input goes with it */
        nrpy_exchange_leave_parked(exchange);
        nrpy_exchange_release(exchange);
        break;
    }
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
