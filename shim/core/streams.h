/*
 * Input of low-level streams, and the ABI's two functions for all streams.
 */
#ifndef NRPY_STREAMS_H
#define NRPY_STREAMS_H

#include "exchange.h"
#include "instance.h"
#include "reply.h"

NrStatus nrpy_stream_data(nrpy_instance *instance, uint64_t sid, NrBytes data);
NrStatus nrpy_stream_close(nrpy_instance *instance, uint64_t sid);

/* Goes on with the generator that waited for room; or hands waiting input to the author's handlers, in order, and lets
 * other work pass after a while. Needs the GIL. */
void nrpy_serve_inbox(nrpy_exchange *exchange);

#endif /* NRPY_STREAMS_H */
