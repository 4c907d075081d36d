/*
 * Stream: what a duplex handler gets. In a plain function reading and sending wait; in a coroutine they give awaitables.
 */
#ifndef NRPY_STREAM_OBJECT_H
#define NRPY_STREAM_OBJECT_H

#include "python.h"

#include "call.h"
#include "exchange.h"

extern PyTypeObject nrpy_stream_type;
extern PyTypeObject nrpy_stream_wait_type;

/* Borrows `request`, or takes `call`: the other one is NULL. New reference, or NULL: then the call is still the caller's. */
PyObject *nrpy_stream_new(nrpy_exchange *exchange, PyObject *request, nrpy_call *call);

/* Its handler is over: lets go of what refers back to it. */
void nrpy_stream_retire(PyObject *stream);

/* Wakes the tasks that wait for what is there now. On the loop's thread, outside of any task. New reference to None, or NULL
 * with an exception set. */
PyObject *nrpy_stream_look(PyObject *stream);

#endif /* NRPY_STREAM_OBJECT_H */
