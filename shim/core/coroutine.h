/*
 * From a call to the author's coroutine.
 */
#ifndef NRPY_COROUTINE_H
#define NRPY_COROUTINE_H

#include "python.h"

#include "call.h"
#include "runner.h"

/* Calls the handler, whose callback or Stream the runner then has. Takes the call. In the runner's task. New reference, or
 * NULL with an exception set. */
PyObject *nrpy_coroutine_of(nrpy_runner *runner, nrpy_call *call);

#endif /* NRPY_COROUTINE_H */
