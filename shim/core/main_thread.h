/*
 * Calls on Python's main thread: for what takes the thread it runs on for the one that outlives all others.
 */
#ifndef NRPY_MAIN_THREAD_H
#define NRPY_MAIN_THREAD_H

#include "python.h"

/* call_on_main_thread(function): what function() returns or raises. It runs on this very thread where Python is somebody
 * else's, and where this is the main thread or a child of fork. None where the main thread does not come within a second:
 * then it runs later, and what comes of it is dropped. */
PyObject *nrpy_call_on_main_thread(PyObject *module, PyObject *function);

#endif /* NRPY_MAIN_THREAD_H */
