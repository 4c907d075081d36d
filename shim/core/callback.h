/*
 * Callback: what a handler answers through when it answers later, or more than once.
 */
#ifndef NRPY_CALLBACK_H
#define NRPY_CALLBACK_H

#include "python.h"

#include "exchange.h"

extern PyTypeObject nrpy_callback_type;

/* New reference or NULL. Shares the exchange. */
PyObject *nrpy_callback_new(nrpy_exchange *exchange);

/*
 * Sends `data` for an exchange from Python code that holds the GIL, which is released meanwhile. `status` -1: the one of
 * a Response, else Ok. Returns 1 taken, 0 too late, -1 with an exception set.
 */
int nrpy_exchange_answer(nrpy_exchange *exchange, PyObject *data, int status);

/* The exchange that a callback answers; the callback keeps it. */
nrpy_exchange *nrpy_callback_exchange(PyObject *callback);

#endif /* NRPY_CALLBACK_H */
