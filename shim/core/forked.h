/*
 * In a child that fork has made of this process there is no host, whatever thread it was made on: nothing is sent there,
 * and a child that comes back out of a handler is ended before it returns into a host's code.
 */
#ifndef NRPY_FORKED_H
#define NRPY_FORKED_H

#include "python.h"

#include <stdatomic.h>
#include <stdbool.h>

extern _Atomic bool nrpy_forked; /* set in the child, before fork returns there */

static inline bool nrpy_is_forked(void) {
    return __builtin_expect(atomic_load_explicit(&nrpy_forked, memory_order_relaxed), 0);
}

/* Ends the child with _exit: by the number of a SystemExit, 1 after another exception, else 0. `result` is borrowed; NULL:
 * an exception is set. Needs the GIL. */
_Noreturn void nrpy_end_child(PyObject *result);

/* Ends a child that would answer the host, or has come back out of its code on a thread that is not the host's. */
_Noreturn void nrpy_end_child_of_host(void);

/* After an author's code: what it returned, borrowed, or NULL. Needs the GIL. */
static inline void nrpy_author_returned(PyObject *result) {
    if (nrpy_is_forked()) {
        nrpy_end_child(result);
    }
}

/* Before an answer for which locks are taken: their holders may not be in the child. */
static inline void nrpy_before_host(void) {
    if (nrpy_is_forked()) {
        nrpy_end_child_of_host();
    }
}

/* Takes the GIL again after the host's code. */
static inline void nrpy_back_from_host(PyThreadState *state) {
    nrpy_before_host();
    PyEval_RestoreThread(state);
}

/* handler_left(): nrpy_author_returned for Python's code, which calls it in a `finally`. */
PyObject *nrpy_handler_left(PyObject *module, PyObject *ignored);

#endif /* NRPY_FORKED_H */
