#include "headers.h"

#include <string.h>

/* Of more than FEW headers names are found by a dict from the LOOKS-th on: a handler that reads each stays linear, and one
 * that reads some does not pay for the dict. */
enum { FEW = 32, LOOKS = 8 };

/* ---- made ---- */

nrpy_headers *nrpy_headers_new(Py_ssize_t count, size_t bytes) {
    size_t spans = (size_t)count * sizeof(nrpy_header_span);
    if (bytes > PTRDIFF_MAX - sizeof(nrpy_headers) - spans) {
        PyErr_NoMemory();
        return NULL;
    }
    nrpy_headers *self = PyObject_NewVar(nrpy_headers, &nrpy_headers_type, (Py_ssize_t)(spans + bytes));
    if (self != NULL) {
        self->raw = self->first = NULL;
        self->looks = 0;
        self->count = count;
    }
    return self;
}

size_t nrpy_headers_put(nrpy_headers *self, Py_ssize_t i, size_t at, const void *name, size_t name_length,
                        const void *value, size_t value_length) {
    self->spans[i] = (nrpy_header_span){.at = at, .name_length = name_length, .value_length = value_length};
    char *into = (char *)&self->spans[self->count] + at;
    if (name_length > 0) {
        memcpy(into, name, name_length);
    }
    if (value_length > 0) {
        memcpy(into + name_length, value, value_length);
    }
    return at + name_length + value_length;
}

PyObject *nrpy_headers_over(const NrHeader *given, uint32_t count) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += (size_t)given[i].key.len + given[i].value.len;
    }
    nrpy_headers *self = nrpy_headers_new((Py_ssize_t)count, bytes);
    size_t at = 0;
    for (uint32_t i = 0; self != NULL && i < count; i++) {
        at = nrpy_headers_put(self, (Py_ssize_t)i, at, given[i].key.ptr, given[i].key.len, given[i].value.ptr,
                              given[i].value.len);
    }
    return (PyObject *)self;
}

/* ---- found ---- */

static bool is_letter(unsigned char byte) {
    return (unsigned char)((byte | 0x20) - 'a') < 26;
}

bool nrpy_is_same_name(const char *one, const char *other, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char difference = (unsigned char)(one[i] ^ other[i]);
        if (difference != 0 && (difference != 0x20 || !is_letter((unsigned char)one[i]))) {
            return false;
        }
    }
    return true;
}

Py_ssize_t nrpy_headers_next(const nrpy_headers *self, Py_ssize_t from, const char *name, size_t length) {
    Py_ssize_t i = from;
    while (i < self->count &&
           (self->spans[i].name_length != length || !nrpy_is_same_name(nrpy_header_name(self, i), name, length))) {
        i++;
    }
    return i;
}

/* In lower case, as bytes; new reference or NULL. */
static PyObject *folded(const char *name, size_t length) {
    PyObject *bytes = PyBytes_FromStringAndSize(name, (Py_ssize_t)length);
    for (size_t i = 0; bytes != NULL && i < length; i++) {
        char *byte = &PyBytes_AS_STRING(bytes)[i];
        *byte = (char)(is_letter((unsigned char)*byte) ? *byte | 0x20 : *byte);
    }
    return bytes;
}

/* New reference or NULL. */
static PyObject *make_first(const nrpy_headers *self) {
    PyObject *first = PyDict_New();
    for (Py_ssize_t i = 0; first != NULL && i < self->count; i++) {
        PyObject *name = folded(nrpy_header_name(self, i), self->spans[i].name_length);
        PyObject *number = name != NULL ? PyLong_FromSsize_t(i) : NULL;
        if (number == NULL || PyDict_SetDefault(first, name, number) == NULL) {
            Py_CLEAR(first);
        }
        Py_XDECREF(name);
        Py_XDECREF(number);
    }
    return first;
}

/* Borrowed reference or NULL. */
static PyObject *first_of(nrpy_headers *self) {
    if (self->first == NULL) {
        PyObject *made = make_first(self);
        /* A thread switch inside an allocation may have let another reader come first: its dict stands. */
        if (self->first == NULL) {
            self->first = made;
        } else {
            Py_XDECREF(made);
        }
    }
    return self->first;
}

Py_ssize_t nrpy_headers_find(nrpy_headers *self, const char *name, size_t length) {
    if (self->count <= FEW || (self->first == NULL && self->looks++ < LOOKS)) {
        return nrpy_headers_next(self, 0, name, length);
    }
    PyObject *first = first_of(self);
    PyObject *key = first != NULL ? folded(name, length) : NULL;
    if (key == NULL) {
        return -1;
    }
    PyObject *number = PyDict_GetItemWithError(first, key); /* Borrowed reference */
    Py_DECREF(key);
    if (number == NULL) {
        return PyErr_Occurred() ? -1 : self->count;
    }
    return PyLong_AsSsize_t(number);
}

/* Returns false with an exception set. */
static bool append_number(PyObject *list, Py_ssize_t number) {
    PyObject *object = PyLong_FromSsize_t(number);
    bool done = object != NULL && PyList_Append(list, object) == 0;
    Py_XDECREF(object);
    return done;
}

PyObject *nrpy_headers_first_pairs(nrpy_headers *self) {
    if (self->count > FEW) {
        PyObject *first = first_of(self);
        return first != NULL ? PyDict_Values(first) : NULL;
    }
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < self->count; i++) {
        bool is_first = nrpy_headers_next(self, 0, nrpy_header_name(self, i), self->spans[i].name_length) == i;
        if (is_first && !append_number(list, i)) {
            Py_CLEAR(list);
        }
    }
    return list;
}
