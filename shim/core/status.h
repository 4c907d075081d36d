/*
 * The statuses that an author gives: which can be sent is said in Python, in status.py, and the words for those that
 * cannot.
 */
#ifndef NRPY_STATUS_H
#define NRPY_STATUS_H

#include "python.h"

/* The number of a status that can be sent, or -1 raising what nylon_ring_py.status.sendable_status does. */
int nrpy_status_from(PyObject *status);

#endif /* NRPY_STATUS_H */
