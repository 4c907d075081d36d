/*
 * What a host has sent into a stream, until its handler takes it.
 */
#ifndef NRPY_INBOX_H
#define NRPY_INBOX_H

#include "exchange.h"

/* How many frames of input wait before stream_data refuses: 1,024 hold a burst of a busy socket, and bound a stuck
 * handler's memory. */
enum { NRPY_INBOX_LIMIT = 1024 };

/* Takes a frame of the host's; returns what the host is answered. */
NrStatus nrpy_inbox_add(nrpy_exchange *exchange, NrBytes data);

/* The host has closed its end; likewise. */
NrStatus nrpy_inbox_close(nrpy_exchange *exchange);

/* For the hooks: the next frame, the caller's; NULL: there is none, and the inbox is nobody's again. */
nrpy_frame *nrpy_inbox_next(nrpy_exchange *exchange);

/* For the hooks: the inbox is served by somebody else later. */
void nrpy_inbox_queue(nrpy_exchange *exchange);

/* For a Stream: the next frame, the caller's, or NULL. `*is_over`: no more will come. Where neither is so, the loop looks at
 * the exchange again once one of the two is, if `note_reader`. */
nrpy_frame *nrpy_inbox_take(nrpy_exchange *exchange, bool note_reader, bool *is_over);

/* For a Stream: whether nrpy_inbox_take would find something now. */
bool nrpy_inbox_has_news(nrpy_exchange *exchange);

/* Waits until there is a frame, or the input is over, or the stream is to end. Must not hold the GIL. */
void nrpy_inbox_wait(nrpy_exchange *exchange);

#endif /* NRPY_INBOX_H */
