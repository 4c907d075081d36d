/* The floor's request object: a window onto memory that stays as it is while the handler runs. */
#ifndef FLOOR_REQUEST_H
#define FLOOR_REQUEST_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "nylon_ring_v1.h"

/* Once, with the GIL. */
bool request_type_ready(void);

/* Needs the GIL. Both must outlive the object. NULL with an exception. */
PyObject *request_make(const NrRequest *meta, NrBytes body);

#endif /* FLOOR_REQUEST_H */
