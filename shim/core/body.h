/*
 * Body: what a borrowing handler gets instead of bytes. It lies over the host's memory until its call ends; then, or when
 * somebody wants a buffer of it, it becomes a copy.
 */
#ifndef NRPY_BODY_H
#define NRPY_BODY_H

#include "python.h"

#include "abi/nylon_ring_v1.h"

#include <stdbool.h>

typedef struct nrpy_body {
    PyObject_HEAD
    NrBytes view;   /* the host's memory; of no use once there is a copy, or it is lost */
    PyObject *copy; /* bytes, owned; NULL: none was needed yet */
    bool is_lost;   /* its call has ended, and there was no memory for the copy */
} nrpy_body;

extern PyTypeObject nrpy_body_type;

static inline bool nrpy_is_body(PyObject *object) {
    return Py_IS_TYPE(object, &nrpy_body_type);
}

/* Whether it is one that nothing has copied yet, over that memory. */
static inline bool nrpy_body_lies_at(PyObject *object, const uint8_t *at) {
    return nrpy_is_body(object) && ((nrpy_body *)object)->copy == NULL && ((nrpy_body *)object)->view.ptr == at;
}

/* Over the host's memory, for as long as the host waits. New reference or NULL. Needs the GIL. */
PyObject *nrpy_body_over_host(NrBytes view);

/* Ends the loan: what somebody else refers to becomes a copy. Takes the reference. Needs the GIL. */
void nrpy_body_return(PyObject *body);

/* The same where more than this one reference is known to be kept. */
void nrpy_body_keep(PyObject *body);

/* Its bytes, copied if they were not yet: a new reference, or NULL raising. */
PyObject *nrpy_body_bytes(PyObject *body);

#endif /* NRPY_BODY_H */
