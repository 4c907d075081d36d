/*
 * Streams: generators, the input of low-level streams, and the ABI's two functions for them.
 */
#ifndef NRPY_STREAMS_H
#define NRPY_STREAMS_H

#include "exchange.h"
#include "instance.h"
#include "reply.h"

NrStatus nrpy_stream_data(nrpy_instance *instance, uint64_t sid, NrBytes data);
NrStatus nrpy_stream_close(nrpy_instance *instance, uint64_t sid);

/* Runs a generator handler to its end, one frame per yield. Takes `argument`; NULL: an exception is set. Needs the GIL. */
void nrpy_run_generator(nrpy_exchange *exchange, const nrpy_source *source, PyObject *handler, PyObject *argument);

/* Hands waiting input to the author's handlers, in order, and lets other work pass after a while. Needs the GIL. */
void nrpy_serve_inbox(nrpy_exchange *exchange);

#endif /* NRPY_STREAMS_H */
