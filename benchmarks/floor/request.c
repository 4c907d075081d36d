/* Fields become Python objects when they are read, and each time they are. */
#include "request.h"

typedef struct {
    PyObject_HEAD
    const NrRequest *meta;
    NrBytes body;
} request;

static PyObject *decode(NrStr text) {
    return PyUnicode_DecodeUTF8((const char *)text.ptr, (Py_ssize_t)text.len, NULL);
}

static PyObject *get_method(PyObject *self, void *unused) {
    (void)unused;
    return decode(((request *)self)->meta->method);
}

static PyObject *get_path(PyObject *self, void *unused) {
    (void)unused;
    return decode(((request *)self)->meta->path);
}

static PyObject *get_query(PyObject *self, void *unused) {
    (void)unused;
    return decode(((request *)self)->meta->query);
}

static PyObject *get_body(PyObject *self, void *unused) {
    (void)unused;
    NrBytes body = ((request *)self)->body;
    return PyBytes_FromStringAndSize((const char *)body.ptr, (Py_ssize_t)body.len);
}

static PyObject *get_headers(PyObject *self, void *unused) {
    (void)unused;
    const NrRequest *meta = ((request *)self)->meta;
    PyObject *headers = PyDict_New();
    for (uint32_t i = 0; headers != NULL && i < meta->headers_len; i++) {
        PyObject *key = decode(meta->headers[i].key);
        PyObject *value = decode(meta->headers[i].value);
        if (key == NULL || value == NULL || PyDict_SetItem(headers, key, value) != 0) {
            Py_CLEAR(headers);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return headers;
}

static PyGetSetDef request_fields[] = {
    {"method", get_method, NULL, NULL, NULL}, {"path", get_path, NULL, NULL, NULL},
    {"query", get_query, NULL, NULL, NULL},   {"headers", get_headers, NULL, NULL, NULL},
    {"body", get_body, NULL, NULL, NULL},     {NULL, NULL, NULL, NULL, NULL},
};

static void request_dealloc(PyObject *self) {
    PyObject_Free(self);
}

static PyTypeObject request_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Request",
    .tp_basicsize = sizeof(request),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = request_dealloc,
    .tp_getset = request_fields,
};

bool request_type_ready(void) {
    return PyType_Ready(&request_type) == 0;
}

PyObject *request_make(const NrRequest *meta, NrBytes body) {
    request *made = PyObject_New(request, &request_type);
    if (made != NULL) {
        made->meta = meta;
        made->body = body;
    }
    return (PyObject *)made;
}
