/*
 * The times by which an exchange must have ended: the answer to a call, the next frame of a stream, its end after the host
 * has closed it. One timer per exchange, at the earliest of them.
 */
#ifndef NRPY_DEADLINE_H
#define NRPY_DEADLINE_H

#include "timer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nrpy_exchange;

/* Part of an exchange, whose lock guards it, but for the atomic. */
typedef struct nrpy_deadlines {
    _Atomic int64_t frame_ns; /* of the last frame, in or out; 0: nobody asks */
    nrpy_timer timer;         /* holds a reference to the exchange while it is armed */
    int64_t close_ns;         /* 0: none */
    int64_t armed_ns;         /* what the timer is armed for; 0: it is not */
} nrpy_deadlines;

void nrpy_deadlines_init(nrpy_deadlines *deadlines);

/* Begins to count, by the limits of the exchange's entry: before the exchange is shared. Returns 0, or an errno. */
int nrpy_deadlines_start(struct nrpy_exchange *exchange);

/* The host has closed its end. */
void nrpy_deadlines_note_close(struct nrpy_exchange *exchange);

/* A frame came, or went. */
void nrpy_deadlines_note_frame(struct nrpy_exchange *exchange);

/* Nothing is to be waited for any more. */
void nrpy_deadlines_end(struct nrpy_exchange *exchange);

#endif /* NRPY_DEADLINE_H */
