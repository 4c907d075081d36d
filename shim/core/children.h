/*
 * The programs that handlers start. Our threads block signals, and a child begins with the mask of the thread that made
 * it: most programs never look, and then no SIGTERM ends them and no alarm rings.
 */
#ifndef NRPY_CHILDREN_H
#define NRPY_CHILDREN_H

#include "python.h"

/* fork_exec(*args): _posixsubprocess's. On a thread with our mask the child gets that of the program's main thread. */
PyObject *nrpy_fork_exec(PyObject *module, PyObject *args);

#endif /* NRPY_CHILDREN_H */
