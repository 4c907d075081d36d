/*
 * The type of a call's task: asyncio's own, which knows whether anybody has looked at it.
 *
 * A task that nobody has looked at and nobody keeps can serve the next call, and nobody is able to tell (runner.h). It gets
 * its name, "entry#sid", when it is first looked at.
 */
#ifndef NRPY_TASK_TYPE_H
#define NRPY_TASK_TYPE_H

#include "python.h"

#include <stdbool.h>

/* GIL. */
typedef struct nrpy_task_marks {
    bool is_seen;    /* an attribute of it was asked for, or set, since its call began */
    bool is_resting; /* its call is over, and the next one has not begun */
} nrpy_task_marks;

/* New reference, or NULL with an exception set. */
PyObject *nrpy_task_type_new(PyObject *asyncio_task);

/* Of a task that nrpy_task_new has made. */
nrpy_task_marks *nrpy_task_marks_of(PyObject *task);

/* A task that is not begun yet, and counts as seen. New reference, or NULL with an exception set. */
PyObject *nrpy_task_new(void);

/* What asyncio.Task(...) does to it. Returns 0, or -1 with an exception set. */
int nrpy_task_init(PyObject *task, PyObject *arguments, PyObject *keywords);

/* Somebody looks at it: it gets its name. Returns 0, or -1 with an exception set: then it is as if nobody had looked. */
int nrpy_task_look(PyObject *task);

/* How many weak references to it there are, as far as 2. */
int nrpy_task_weakrefs(PyObject *task);

#endif /* NRPY_TASK_TYPE_H */
