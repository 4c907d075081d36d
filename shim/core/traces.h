/*
 * What a call may have left at its task, by which the next one, or a child of this one, could tell that they share it.
 */
#ifndef NRPY_TRACES_H
#define NRPY_TRACES_H

#include "python.h"

#include "runner.h"

#include <stdbool.h>

/* What is set in a context, as one object: it is another one after each change, and a copy of the context refers to it
 * too. New reference, or NULL where this Python keeps it otherwise. */
PyObject *nrpy_context_variables(PyObject *context);

/* Whether the runner's last call has left nothing. In a step of its task, with one reference of the caller's. */
bool nrpy_is_as_new(const nrpy_runner *runner);

#endif /* NRPY_TRACES_H */
