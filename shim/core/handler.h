/*
 * An author's handler: how it is called, and what becomes of its result where an exchange carries the call.
 */
#ifndef NRPY_HANDLER_H
#define NRPY_HANDLER_H

#include "exchange.h"
#include "forked.h"
#include "reply.h"
#include "threads.h"

/* Calls `handler(argument[, callback])`. Borrows all. New reference or NULL. Needs the GIL. */
static inline PyObject *nrpy_call_handler(PyObject *handler, PyObject *argument, PyObject *callback) {
    /* The instance may be unloaded while a handler that never ends runs on. */
    Py_INCREF(handler);
    PyObject *arguments[] = {argument, callback};
    size_t count = callback != NULL ? 2 : 1;
    PyObject *result;
    if (__builtin_expect(PyFunction_Check(handler),
                         1)) { /* what PyObject_Vectorcall does, less the checks of foreign code */
        result = ((PyFunctionObject *)handler)->vectorcall(handler, arguments, count, NULL);
    } else {
        result = PyObject_Vectorcall(handler, arguments, count, NULL);
    }
    nrpy_author_returned(result);
    Py_DECREF(handler);
    return result;
}

/* How messages name a call of this entry. */
static inline nrpy_source nrpy_source_of(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid) {
    return (nrpy_source){
        .instance = instance,
        .kind = "entry",
        .name = entry->name,
        .name_length = (int)entry->length,
        .sid = sid,
    };
}

/* A handler begins, or has ended, its work for an exchange. Need the GIL. */
void nrpy_handler_begins(nrpy_exchange *exchange);
void nrpy_handler_ended(nrpy_exchange *exchange);

/* Says for which exchange this thread's handler is at work; NULL: for none. Returns for which it was. */
static inline nrpy_exchange *nrpy_at_work_for(nrpy_thread *thread, nrpy_exchange *exchange) {
    nrpy_exchange *before = atomic_load_explicit(&thread->exchange, memory_order_relaxed);
    atomic_store_explicit(&thread->exchange, exchange, memory_order_relaxed);
    return before;
}

/* Runs the handler of a call that has an exchange. Takes `argument`; NULL: an exception is set. Needs the GIL. */
void nrpy_run_handler(nrpy_exchange *exchange, PyObject *argument, bool may_send);

/* The same for a plain duplex handler, which gets a Stream. */
void nrpy_run_duplex(nrpy_exchange *exchange, PyObject *argument);

/* For one that was told to end before it began: by its deadline, which has answered, or by the host, which closed the
 * stream and gets its end. Needs the GIL. */
void nrpy_skip_handler(nrpy_exchange *exchange);

/* Ends an exchange as its entry is declared, by what its handler returned. Takes `result`; NULL: what it raised is set. Needs
 * the GIL; leaves no exception set. */
void nrpy_exchange_finish(nrpy_exchange *exchange, PyObject *result, bool may_send);

/* The handler has returned: StreamEnd, or Err where the plugin is shutting down. Needs the GIL. */
void nrpy_stream_send_end(nrpy_exchange *exchange);

/* Sends a reply for an exchange with the GIL released meanwhile, and clears it. Returns whether it was taken. */
bool nrpy_exchange_reply(nrpy_exchange *exchange, nrpy_reply *reply, bool may_send);

/* The same for what a handler of a stream returned: None sends nothing. Takes `result`; NULL: an exception is set. */
void nrpy_exchange_result(nrpy_exchange *exchange, const nrpy_source *source, PyObject *result, bool may_send);

#endif /* NRPY_HANDLER_H */
