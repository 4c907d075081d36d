#include "body.h"

static int check_lent(const nrpy_body *self) {
    if (self->is_lost) {
        PyErr_SetString(PyExc_MemoryError,
                        "the body was kept after its call ended, and there was no memory to copy it");
        return -1;
    }
    return 0;
}

/* Where its bytes are now. Returns 0, or -1 raising. */
static int find_bytes(const nrpy_body *self, NrBytes *found) {
    if (self->copy != NULL) {
        *found = (NrBytes){.ptr = (const uint8_t *)PyBytes_AS_STRING(self->copy),
                           .len = (uint64_t)PyBytes_GET_SIZE(self->copy)};
        return 0;
    }
    *found = self->view;
    return check_lent(self);
}

PyObject *nrpy_body_over_host(NrBytes view) {
    nrpy_body *self = PyObject_New(nrpy_body, &nrpy_body_type);
    if (self != NULL) {
        self->view = view;
        self->copy = NULL;
        self->is_lost = false;
    }
    return (PyObject *)self;
}

PyObject *nrpy_body_bytes(PyObject *object) {
    nrpy_body *self = (nrpy_body *)object;
    if (self->copy == NULL) {
        if (check_lent(self) != 0) {
            return NULL;
        }
        PyObject *copy = PyBytes_FromStringAndSize((const char *)self->view.ptr, (Py_ssize_t)self->view.len);
        if (self->copy == NULL) { /* else another thread came first, while memory was looked for */
            self->copy = copy;
        } else {
            Py_XDECREF(copy);
        }
    }
    return Py_XNewRef(self->copy);
}

void nrpy_body_keep(PyObject *object) {
    PyObject *copy = nrpy_body_bytes(object);
    if (copy == NULL) {
        PyErr_Clear();
        ((nrpy_body *)object)->is_lost = true;
    }
    Py_XDECREF(copy);
}

void nrpy_body_return(PyObject *object) {
    if (__builtin_expect(Py_REFCNT(object) > 1, 0)) {
        nrpy_body_keep(object);
    }
    Py_DECREF(object);
}

static void body_dealloc(PyObject *object) {
    Py_XDECREF(((nrpy_body *)object)->copy);
    PyObject_Free(object);
}

/* ---- as a sequence ---- */

static Py_ssize_t body_length(PyObject *object) {
    NrBytes bytes;
    return find_bytes((nrpy_body *)object, &bytes) == 0 ? (Py_ssize_t)bytes.len : -1;
}

static PyObject *item_at(NrBytes bytes, Py_ssize_t index) {
    if (index < 0 || index >= (Py_ssize_t)bytes.len) {
        PyErr_SetString(PyExc_IndexError, "body index out of range");
        return NULL;
    }
    return PyLong_FromLong(bytes.ptr[index]);
}

static PyObject *body_item(PyObject *object, Py_ssize_t index) {
    NrBytes bytes;
    return find_bytes((nrpy_body *)object, &bytes) == 0 ? item_at(bytes, index) : NULL;
}

/* A part is copied, and not the rest with it. No code of anybody's runs between the look for the bytes and their use:
 * it might let the call end. */
static PyObject *slice_of(const nrpy_body *self, PyObject *slice) {
    NrBytes bytes;
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) != 0 || find_bytes(self, &bytes) != 0) {
        return NULL;
    }
    Py_ssize_t count = PySlice_AdjustIndices((Py_ssize_t)bytes.len, &start, &stop, step);
    PyObject *part = PyBytes_FromStringAndSize(NULL, count);
    if (part == NULL || find_bytes(self, &bytes) != 0) {
        Py_XDECREF(part);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyBytes_AS_STRING(part)[i] = (char)bytes.ptr[start + i * step];
    }
    return part;
}

static PyObject *body_subscript(PyObject *object, PyObject *key) {
    const nrpy_body *self = (const nrpy_body *)object;
    if (PySlice_Check(key)) {
        return slice_of(self, key);
    }
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    NrBytes bytes;
    if ((index == -1 && PyErr_Occurred()) || find_bytes(self, &bytes) != 0) {
        return NULL;
    }
    return item_at(bytes, index < 0 ? index + (Py_ssize_t)bytes.len : index);
}

/* ---- as bytes ---- */

/* An exported buffer cannot be pointed elsewhere when the call ends: so it is the copy's from the beginning. */
static int body_getbuffer(PyObject *object, Py_buffer *view, int flags) {
    PyObject *copy = nrpy_body_bytes(object);
    if (copy == NULL) {
        view->obj = NULL;
        return -1;
    }
    int failed = PyObject_GetBuffer(copy, view, flags); /* which refers to it */
    Py_DECREF(copy);
    return failed;
}

static PyObject *body_richcompare(PyObject *object, PyObject *other, int operation) {
    PyObject *copy = nrpy_body_bytes(object);
    PyObject *second = nrpy_is_body(other) ? nrpy_body_bytes(other) : Py_NewRef(other);
    PyObject *result = copy != NULL && second != NULL ? PyObject_RichCompare(copy, second, operation) : NULL;
    Py_XDECREF(copy);
    Py_XDECREF(second);
    return result;
}

static Py_hash_t body_hash(PyObject *object) {
    PyObject *copy = nrpy_body_bytes(object);
    Py_hash_t hash = copy != NULL ? PyObject_Hash(copy) : -1;
    Py_XDECREF(copy);
    return hash;
}

/* What it has not itself is that of bytes. */
static PyObject *body_getattro(PyObject *object, PyObject *name) {
    PyObject *value = PyObject_GenericGetAttr(object, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return value;
    }
    PyErr_Clear();
    PyObject *copy = nrpy_body_bytes(object);
    value = copy != NULL ? PyObject_GetAttr(copy, name) : NULL;
    Py_XDECREF(copy);
    return value;
}

static PyObject *body_to_bytes(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return nrpy_body_bytes(object);
}

/* In another process it is bytes. */
static PyObject *body_reduce(PyObject *object, PyObject *ignored) {
    (void)ignored;
    PyObject *copy = nrpy_body_bytes(object);
    return copy != NULL ? Py_BuildValue("(O(N))", (PyObject *)&PyBytes_Type, copy) : NULL;
}

static PyObject *body_repr(PyObject *object) {
    Py_ssize_t length = body_length(object);
    return length >= 0 ? PyUnicode_FromFormat("<Body of %zd bytes>", length) : NULL;
}

static PySequenceMethods as_sequence = {.sq_length = body_length, .sq_item = body_item};
static PyMappingMethods as_mapping = {.mp_length = body_length, .mp_subscript = body_subscript};
static PyBufferProcs as_buffer = {.bf_getbuffer = body_getbuffer};

static PyMethodDef methods[] = {
    {"__bytes__", body_to_bytes, METH_NOARGS, "The bytes, copied."},
    {"__reduce__", body_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject nrpy_body_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.Body",
    .tp_doc = "The payload where it lies in the host's memory.",
    .tp_basicsize = sizeof(nrpy_body),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_SEQUENCE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = body_dealloc,
    .tp_repr = body_repr,
    .tp_hash = body_hash,
    .tp_richcompare = body_richcompare,
    .tp_getattro = body_getattro,
    .tp_as_sequence = &as_sequence,
    .tp_as_mapping = &as_mapping,
    .tp_as_buffer = &as_buffer,
    .tp_methods = methods,
};
