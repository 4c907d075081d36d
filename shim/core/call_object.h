/*
 * Call: what current_call() gives, whatever the call runs on.
 */
#ifndef NRPY_CALL_OBJECT_H
#define NRPY_CALL_OBJECT_H

#include "python.h"

extern PyTypeObject nrpy_call_type;

/* current_call(): a new reference, or NULL with LookupError set. */
PyObject *nrpy_current_call(PyObject *self, PyObject *ignored);

#endif /* NRPY_CALL_OBJECT_H */
