#include "direct.h"

#include "admission.h"
#include "body.h"
#include "dispatch.h"
#include "handler.h"
#include "request.h"
#include "running.h"

#include <stdlib.h>

/* Out of the way of the calls that are usual. */
#define COLD __attribute__((cold, noinline))

static inline PyObject *payload_over_host(const nrpy_entry *entry, const nrpy_request_view *view) {
    if ((entry->flags & NRPY_BORROW) != 0) {
        return nrpy_body_over_host(view->body);
    }
    return PyBytes_FromStringAndSize((const char *)view->body.ptr, (Py_ssize_t)view->body.len);
}

static inline void return_payload(const nrpy_entry *entry, PyObject *payload) {
    if ((entry->flags & NRPY_BORROW) != 0) {
        nrpy_body_return(payload);
    } else {
        Py_DECREF(payload);
    }
}

static PyObject *argument_over_host(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                                    const nrpy_request_view *view) {
    return (entry->flags & NRPY_RAW) != 0 ? payload_over_host(entry, view)
                                          : nrpy_request_over_host(instance, entry, sid, view);
}

static void end_argument(const nrpy_entry *entry, PyObject *argument) {
    if (argument == NULL) {
        return;
    }
    if ((entry->flags & NRPY_RAW) != 0) {
        return_payload(entry, argument);
    } else {
        nrpy_request_return(argument);
    }
}

/* Whether no handler is below on this stack. */
static inline bool has_free_slot(const nrpy_thread *thread) {
    return nrpy_running_is_free(thread) && atomic_load_explicit(&thread->exchange, memory_order_relaxed) == NULL;
}

/* A synchronous call whose reply cannot live in the thread's slot: its handler takes a callback, or another handler is
 * below on this stack. */
static COLD NrStatus run_with_exchange(nrpy_thread *thread, nrpy_instance *instance, const nrpy_entry *entry,
                                       uint64_t sid, const nrpy_request_view *view) {
    NrStatus status;
    nrpy_exchange *exchange = nrpy_admit(instance, entry, sid, NULL, &status);
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
        nrpy_detach(&attachment);
    } else {
        nrpy_host_frame frame = {.outer = thread->frames, .instance = instance, .sid = sid, .has_call = true};
        thread->frames = &frame;
        atomic_fetch_add(&instance->host_calls, 1);
        nrpy_handler_begins(exchange);
        nrpy_exchange *outer = nrpy_at_work_for(thread, exchange);
        PyObject *argument = argument_over_host(instance, entry, sid, view);
        Py_XINCREF(argument);
        nrpy_run_handler(exchange, argument, true);
        end_argument(entry, argument);
        (void)nrpy_at_work_for(thread, outer);
        nrpy_handler_ended(exchange);
        atomic_fetch_sub(&instance->host_calls, 1);
        nrpy_detach(&attachment); /* finalizers run */
        thread->frames = frame.outer;
    }
    nrpy_exchange_release(exchange);
    return status;
}

/* This thread's stack is too small for Python: a worker runs the handler, and this thread waits and sends. */
static COLD NrStatus run_by_worker(nrpy_thread *thread, nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
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
    nrpy_exchange *exchange = nrpy_admit(instance, entry, sid, &waiter, &status);
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

/* The call's own body, sent back as it lies there: the host waits until this reply has left. Takes `result` where it
 * returns true. */
static bool take_own_body(nrpy_reply *reply, const nrpy_request_view *view, PyObject *result) {
    if (result == NULL || !nrpy_body_lies_at(result, view->body.ptr)) {
        return false;
    }
    *reply = (nrpy_reply){.status = NR_OK, .bytes = view->body.ptr, .length = view->body.len};
    Py_DECREF(result);
    return true;
}

/* What the handler makes of its argument, as a reply. Borrows `argument`; NULL: an exception is set. */
static inline void make_reply(nrpy_reply *reply, nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                              const nrpy_request_view *view, PyObject *argument) {
    PyObject *result = argument != NULL ? nrpy_call_handler(entry->handler, argument, NULL) : NULL;
    if (!nrpy_reply_take_bytes(reply, result) && !take_own_body(reply, view, result)) {
        nrpy_source source = nrpy_source_of(instance, entry, sid);
        nrpy_reply_make(reply, &source, result);
    }
}

/* Drops what the sent reply held, from a thread that has given the GIL back. */
static inline void drop_reply(nrpy_thread *thread, nrpy_reply *reply) {
    if (__builtin_expect(reply->view.obj != NULL, 0)) {
        nrpy_attachment attachment;
        if (nrpy_attach(&attachment, thread)) {
            nrpy_reply_clear(reply);
            nrpy_detach(&attachment);
        }
    } else if (reply->owner != NULL) {
        nrpy_drop_later(thread, reply->owner, reply->length);
    }
}

static COLD NrStatus leave_closed(nrpy_thread *thread, nrpy_instance *instance, nrpy_attachment *attachment) {
    bool unanswered = nrpy_running_claim(thread, NRPY_SENDING);
    nrpy_running_end(thread);
    nrpy_detach(attachment);
    return unanswered ? nrpy_refusal(instance) : NR_OK; /* close may have answered what it saw running */
}

NrStatus nrpy_run_directly(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                           const nrpy_request_view *view) {
    nrpy_thread *thread = nrpy_thread_self();
    if (__builtin_expect(thread == NULL, 0)) {
        return NR_ERR;
    }
    if (__builtin_expect(!nrpy_has_python_stack(thread), 0)) {
        return run_by_worker(thread, instance, entry, sid, view);
    }
    if ((entry->flags & NRPY_CALLBACK) != 0 || !has_free_slot(thread)) {
        return run_with_exchange(thread, instance, entry, sid, view);
    }
    nrpy_attachment attachment;
    if (__builtin_expect(!nrpy_attach(&attachment, thread), 0)) {
        return NR_ERR;
    }
    /* First show the call, then look at the gate: close shuts the gate, fences all threads, and then looks at the slots. */
    nrpy_running_begin(thread, instance, entry, sid);
    atomic_signal_fence(memory_order_seq_cst);
    if (__builtin_expect(!nrpy_is_open(instance), 0)) {
        return leave_closed(thread, instance, &attachment);
    }
    nrpy_host_frame frame = {.outer = thread->frames, .instance = instance, .sid = sid, .has_call = true};
    thread->frames = &frame;
    unsigned weight = nrpy_sample_weight(nrpy_count_with_gil(&entry->counters->calls));
    int64_t began_ns = __builtin_expect(weight != 0, 0) ? nrpy_time_ns(CLOCK_MONOTONIC) : 0;
    nrpy_reply reply;
    if ((entry->flags & NRPY_RAW) != 0) {
        PyObject *payload = payload_over_host(entry, view);
        make_reply(&reply, instance, entry, sid, view, payload);
        if (payload != NULL) {
            return_payload(entry, payload);
        }
    } else {
        PyObject *request = nrpy_request_over_host(instance, entry, sid, view);
        make_reply(&reply, instance, entry, sid, view, request);
        if (request != NULL) {
            nrpy_request_return(request);
        }
    }
    nrpy_running_count(entry, reply.status, began_ns, weight);
    nrpy_close_attachment(&attachment);
    bool is_claimed = nrpy_running_claim(thread, NRPY_SENDING);
    PyThreadState *state = PyEval_SaveThread();
    nrpy_running_send(thread, instance, sid, is_claimed, &reply);
    if (__builtin_expect(attachment.was_attached, 0)) {
        nrpy_back_from_host(state);
        nrpy_reply_clear(&reply);
    } else {
        drop_reply(thread, &reply);
    }
    thread->frames = frame.outer; /* last: finalizers have run until here, and the host waits for this call alone */
    return NR_OK;
}
