/*
 * Stream: what a duplex handler gets. In a plain function reading and sending wait; in a coroutine they give awaitables.
 */
#ifndef NRPY_STREAM_OBJECT_H
#define NRPY_STREAM_OBJECT_H

#include "python.h"

#include "exchange.h"
#include "loop.h"

extern PyTypeObject nrpy_stream_type;
extern PyTypeObject nrpy_stream_wait_type;

/* `loop` is NULL for a plain function. Borrows `request`. New reference or NULL. */
PyObject *nrpy_stream_new(nrpy_exchange *exchange, nrpy_loop *loop, PyObject *request);

/* Its handler is over: lets go of what refers back to it. */
void nrpy_stream_retire(PyObject *stream);

/* Wakes the tasks that wait for what is there now. On the loop's thread, outside of any task. New reference to None, or NULL
 * with an exception set. */
PyObject *nrpy_stream_look(PyObject *stream);

#endif /* NRPY_STREAM_OBJECT_H */
