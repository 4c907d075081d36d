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

/* Runs a generator handler, one frame per yield, to its end or until the host has enough frames for now. Takes `argument`;
 * NULL: an exception is set. Needs the GIL. */
void nrpy_run_generator(nrpy_exchange *exchange, PyObject *argument);

/* Closes the generator that waits for room, if one does. Needs the GIL. */
void nrpy_close_parked(nrpy_exchange *exchange);

/* Goes on with the generator that waited for room; or hands waiting input to the author's handlers, in order, and lets
 * other work pass after a while. Needs the GIL. */
void nrpy_serve_inbox(nrpy_exchange *exchange);

/* The handler has returned: StreamEnd, or Err where the plugin is shutting down. Needs the GIL. */
void nrpy_stream_send_end(nrpy_exchange *exchange);

#endif /* NRPY_STREAMS_H */
