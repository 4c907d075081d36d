/*
 * The turn of an exchange: whoever has it is the only one who enters the host for its sid. All but take, take_held,
 * queue_drain and retry are for the one who has it.
 */
#ifndef NRPY_TURN_H
#define NRPY_TURN_H

#include "python.h"

#include "exchange.h"
#include "host.h"
#include "reply.h"

/* Takes it if it is free. The lock is held: nobody else sets MORE or takes a turn that has it. */
bool nrpy_turn_take(nrpy_exchange *exchange);

/* Takes it from the timer. */
bool nrpy_turn_take_held(nrpy_exchange *exchange);

/* Offers the host a frame. `may_linger`: a host without room is asked again for some microseconds. */
nrpy_delivery nrpy_turn_deliver(nrpy_exchange *exchange, NrStatus status, const void *bytes, uint64_t length,
                                bool may_linger);

/* The same within a visit that the caller began and ends. */
nrpy_delivery nrpy_turn_enter_host(nrpy_exchange *exchange, nrpy_visit *visit, NrStatus status, NrBytes payload,
                                   bool may_linger);

/* Whether the host has no room. While it is offered a terminal the exchange is in no registry: close goes by the count. */
void nrpy_turn_note_held_back(nrpy_exchange *exchange, bool held_back);

/* Nobody wants the rest: the exchange ends without another word. */
void nrpy_turn_end_gone(nrpy_exchange *exchange);

/* Sends what others left in the outbox meanwhile, and gives the turn back, or to the timer. */
void nrpy_turn_finish(nrpy_exchange *exchange, bool may_linger);

/* Gives it to the timer, which tries again. */
void nrpy_turn_hand_to_timer(nrpy_exchange *exchange);
void nrpy_turn_retry(nrpy_timer *timer);

/* Has a worker send what is in the outbox, whoever the handler belongs to: that one may be busy for long. */
void nrpy_turn_queue_drain(nrpy_exchange *exchange);

#endif /* NRPY_TURN_H */
