/*
 * Instance: the Python side's handle on one loaded plugin.
 */
#ifndef NRPY_INSTANCE_OBJECT_H
#define NRPY_INSTANCE_OBJECT_H

#include "python.h"

#include "core_table.h"

extern PyTypeObject nrpy_instance_type;

/* New reference or NULL. Shares the instance. */
PyObject *nrpy_instance_object_new(nrpy_instance *instance);

#endif /* NRPY_INSTANCE_OBJECT_H */
