/*
 * Generator handlers: each yield is a frame of a stream.
 */
#ifndef NRPY_GENERATOR_H
#define NRPY_GENERATOR_H

#include "exchange.h"

/* Runs a generator handler, one frame per yield, to its end or until the host has enough frames for now. Takes `argument`;
 * NULL: an exception is set. Needs the GIL. */
void nrpy_run_generator(nrpy_exchange *exchange, PyObject *argument);

/* Goes on with one that waited for room. Returns whether there was one. Needs the GIL. */
bool nrpy_resume_generator(nrpy_exchange *exchange);

/* Closes the generator that waits for room, if one does. Needs the GIL. */
void nrpy_close_parked(nrpy_exchange *exchange);

#endif /* NRPY_GENERATOR_H */
