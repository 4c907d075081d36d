/*
 * From a call to its handler: the gate and the two ways in (on the host's thread, or through the queue), and what a worker
 * does with an item.
 */
#ifndef NRPY_DISPATCH_H
#define NRPY_DISPATCH_H

#include "call.h"
#include "exchange.h"
#include "instance.h"
#include "reply.h"
#include "threads.h"

/* The ABI's handle; `req` is NULL for a raw call. */
NrStatus nrpy_handle(nrpy_instance *instance, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload);

/* The ABI's resolve_entry and handle_by_id. */
uint32_t nrpy_resolve_entry(nrpy_instance *instance, NrStr name);
NrStatus nrpy_handle_by_id(nrpy_instance *instance, uint32_t id, uint64_t sid, NrBytes payload);

/* Runs one item on a worker. Takes the item. Needs the GIL; leaves no exception set. */
void nrpy_run_item(nrpy_instance *instance, nrpy_thread *thread, nrpy_item *item);

/* Answers an item that will not be run. Takes the item. Must not hold the GIL. */
void nrpy_refuse_item(nrpy_instance *instance, nrpy_item *item, const char *text);

/* What a call is answered while the instance is not open. */
NrStatus nrpy_refusal(nrpy_instance *instance);

/* Calls `handler(argument[, callback])`. Borrows all. New reference or NULL. Needs the GIL. */
PyObject *nrpy_call_handler(PyObject *handler, PyObject *argument, PyObject *callback);

/* How messages name a call of this entry. */
nrpy_source nrpy_source_of(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid);

/* The handler's argument over the call's block, which it takes: a request, or bytes for a raw entry. New reference, or NULL with
 * an exception set. Needs the GIL. */
PyObject *nrpy_argument_over_call(nrpy_call *call);

/* A handler begins, or has ended, its work for an exchange. Need the GIL. */
void nrpy_handler_begins(nrpy_exchange *exchange);
void nrpy_handler_ended(nrpy_exchange *exchange);

/* For one that was told to end before it began: by its deadline, which has answered, or by the host, which closed the
 * stream and gets its end. Needs the GIL. */
void nrpy_skip_handler(nrpy_exchange *exchange);

/* Ends an exchange as its entry is declared, by what its handler returned. Takes `result`; NULL: what it raised is set. Needs
 * the GIL; leaves no exception set. */
void nrpy_exchange_finish(nrpy_exchange *exchange, PyObject *result, bool may_send);

/* Sends a reply for an exchange with the GIL released meanwhile, and clears it. Returns whether it was taken. */
bool nrpy_exchange_reply(nrpy_exchange *exchange, nrpy_reply *reply, bool may_send);

/* The same for what a handler of a stream returned: None sends nothing. Takes `result`; NULL: an exception is set. */
void nrpy_exchange_result(nrpy_exchange *exchange, const nrpy_source *source, PyObject *result, bool may_send);

/* Takes the GIL back after a send, on a worker. */
void nrpy_worker_reattach(nrpy_thread *thread, PyThreadState *state);

#endif /* NRPY_DISPATCH_H */
