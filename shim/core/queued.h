/*
 * A call that goes through a queue: put there on the host's thread, run by a worker, or refused while closing.
 */
#ifndef NRPY_QUEUED_H
#define NRPY_QUEUED_H

#include "call.h"
#include "instance.h"
#include "threads.h"

/* Copies what `view` shows and has somebody run it. Returns what `handle` answers. */
NrStatus nrpy_submit(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, const nrpy_request_view *view);

/* Runs one item on a worker. Takes the item. Needs the GIL; leaves no exception set. */
void nrpy_run_item(nrpy_instance *instance, nrpy_thread *thread, nrpy_item *item);

/* Answers an item that will not be run. Takes the item. Must not hold the GIL. */
void nrpy_refuse_item(nrpy_instance *instance, nrpy_item *item, const char *text);

/* The handler's argument over the call's block, which it takes: a request, or bytes for a raw entry. New reference, or NULL with
 * an exception set. Needs the GIL. */
PyObject *nrpy_argument_over_call(nrpy_call *call);

/* Takes the GIL back after a send, on a worker. */
void nrpy_worker_reattach(nrpy_thread *thread, PyThreadState *state);

#endif /* NRPY_QUEUED_H */
