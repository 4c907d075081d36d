/*
 * The headers of a request, copied in one piece when a handler asks for them. Text is decoded as it is read. headers.c
 * holds and finds pairs; headers_object.c is what Python sees.
 */
#ifndef NRPY_HEADERS_H
#define NRPY_HEADERS_H

#include "python.h"

#include "abi/nylon_ring_v1.h"

#include <stdbool.h>

/* Where a pair lies in the bytes of all: the value follows the name. */
typedef struct nrpy_header_span {
    size_t at;
    size_t name_length;
    size_t value_length;
} nrpy_header_span;

typedef struct nrpy_headers {
    PyObject_VAR_HEAD PyObject *raw; /* the list of pairs, once it was asked for; owned or NULL */
    PyObject *first; /* of many: from a name in lower case to the number of its first pair; owned or NULL */
    unsigned looks;  /* how often a name was looked for without it */
    Py_ssize_t count;
    nrpy_header_span spans[]; /* then the bytes */
} nrpy_headers;

extern PyTypeObject nrpy_headers_type;

/* Of what a host passed, and has been checked. New reference or NULL. */
PyObject *nrpy_headers_over(const NrHeader *given, uint32_t count);

/* Of an iterable of pairs, each of bytes or str. New reference or NULL. */
PyObject *nrpy_headers_from(PyObject *pairs);

/* The list of (name, value) in bytes. New reference or NULL. */
PyObject *nrpy_headers_raw(PyObject *headers);

/* ---- for headers_object.c ---- */

/* With room for `bytes`; NULL with an exception set. */
nrpy_headers *nrpy_headers_new(Py_ssize_t count, size_t bytes);

/* Puts pair `i` behind those before it, which end at `at`. Returns where it ends. */
size_t nrpy_headers_put(nrpy_headers *self, Py_ssize_t i, size_t at, const void *name, size_t name_length,
                        const void *value, size_t value_length);

/* The number of the first pair with that name; the count of all where there is none; -1 with an exception set. */
Py_ssize_t nrpy_headers_find(nrpy_headers *self, const char *name, size_t length);

/* The same from pair `from` on; never -1. */
Py_ssize_t nrpy_headers_next(const nrpy_headers *self, Py_ssize_t from, const char *name, size_t length);

/* The number of each name's first pair, in their order: a new list, or NULL. */
PyObject *nrpy_headers_first_pairs(nrpy_headers *self);

/* Whether two names of one length are the same but for the case of ASCII letters. */
bool nrpy_is_same_name(const char *one, const char *other, size_t length);

static inline const char *nrpy_header_name(const nrpy_headers *self, Py_ssize_t i) {
    return (const char *)&self->spans[self->count] + self->spans[i].at;
}

static inline const char *nrpy_header_value(const nrpy_headers *self, Py_ssize_t i) {
    return nrpy_header_name(self, i) + self->spans[i].name_length;
}

#endif /* NRPY_HEADERS_H */
