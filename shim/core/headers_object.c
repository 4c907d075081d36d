#include "headers.h"

#include "views.h"

#include <string.h>

/* ---- made by an author ---- */

static PyObject *as_bytes(PyObject *text) {
    if (PyBytes_Check(text)) {
        return Py_NewRef(text);
    }
    if (PyUnicode_Check(text)) {
        return PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
    }
    PyErr_Format(PyExc_TypeError, "a header is a pair of str or bytes, not of %.100s", Py_TYPE(text)->tp_name);
    return NULL;
}

/* A pair of bytes of any pair; new reference or NULL. */
static PyObject *as_pair(PyObject *given) {
    PyObject *both = PySequence_Fast(given, "a header is a pair: a name and a value");
    if (both == NULL) {
        return NULL;
    }
    PyObject *pair = NULL;
    if (PySequence_Fast_GET_SIZE(both) != 2) {
        PyErr_Format(PyExc_ValueError, "a header is a pair: a name and a value, not %zd items",
                     PySequence_Fast_GET_SIZE(both));
    } else {
        PyObject *name = as_bytes(PySequence_Fast_GET_ITEM(both, 0));
        PyObject *value = name != NULL ? as_bytes(PySequence_Fast_GET_ITEM(both, 1)) : NULL;
        pair = value != NULL ? PyTuple_Pack(2, name, value) : NULL;
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    Py_DECREF(both);
    return pair;
}

/* A new list of pairs of bytes, of any pairs; NULL with an exception set. */
static PyObject *as_list(PyObject *pairs) {
    PyObject *list = PySequence_List(pairs);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *pair = as_pair(PyList_GET_ITEM(list, i));
        if (pair == NULL || PyList_SetItem(list, i, pair) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *from_list(PyObject *list) {
    Py_ssize_t count = PyList_GET_SIZE(list);
    size_t bytes = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        bytes +=
            (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(pair, 0)) + (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(pair, 1));
    }
    nrpy_headers *self = nrpy_headers_new(count, bytes);
    size_t at = 0;
    for (Py_ssize_t i = 0; self != NULL && i < count; i++) {
        PyObject *name = PyTuple_GET_ITEM(PyList_GET_ITEM(list, i), 0);
        PyObject *value = PyTuple_GET_ITEM(PyList_GET_ITEM(list, i), 1);
        at = nrpy_headers_put(self, i, at, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name),
                              PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value));
    }
    return (PyObject *)self;
}

PyObject *nrpy_headers_from(PyObject *pairs) {
    PyObject *list = as_list(pairs);
    PyObject *self = list != NULL ? from_list(list) : NULL;
    Py_XDECREF(list);
    return self;
}

static PyObject *headers_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pairs", NULL};
    PyObject *pairs = NULL;
    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Headers", names, &pairs)) {
        return NULL;
    }
    return pairs != NULL ? nrpy_headers_from(pairs) : (PyObject *)nrpy_headers_new(0, 0);
}

static void headers_dealloc(PyObject *object) {
    Py_XDECREF(((nrpy_headers *)object)->raw);
    Py_XDECREF(((nrpy_headers *)object)->first);
    PyObject_Free(object);
}

/* ---- read ---- */

/* As nrpy_headers_find, by the name a handler gives. `at` gets its UTF-8: NULL for a name that no header has. */
static Py_ssize_t find(nrpy_headers *self, PyObject *name, const char **at, Py_ssize_t *length) {
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "the name of a header is a str, not %.100s", Py_TYPE(name)->tp_name);
        return -1;
    }
    *at = PyUnicode_AsUTF8AndSize(name, length);
    if (*at == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return -1;
        }
        PyErr_Clear(); /* a lone surrogate, which names in UTF-8 do not have */
        return self->count;
    }
    return nrpy_headers_find(self, *at, (size_t)*length);
}

static PyObject *text_of(const char *bytes, size_t length) {
    if (nrpy_is_ascii((const uint8_t *)bytes, length)) {
        PyObject *text = PyUnicode_New((Py_ssize_t)length, 127);
        if (text != NULL) {
            memcpy(PyUnicode_1BYTE_DATA(text), bytes, length);
        }
        return text;
    }
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)length, "surrogateescape");
}

static PyObject *value_text(const nrpy_headers *self, Py_ssize_t i) {
    return text_of(nrpy_header_value(self, i), self->spans[i].value_length);
}

static PyObject *name_text(const nrpy_headers *self, Py_ssize_t i) {
    return text_of(nrpy_header_name(self, i), self->spans[i].name_length);
}

static PyObject *subscript(PyObject *object, PyObject *name) {
    nrpy_headers *self = (nrpy_headers *)object;
    const char *at;
    Py_ssize_t length;
    Py_ssize_t found = find(self, name, &at, &length);
    if (found == self->count) {
        PyErr_SetObject(PyExc_KeyError, name);
    }
    return found < 0 || found == self->count ? NULL : value_text(self, found);
}

static int contains(PyObject *object, PyObject *name) {
    nrpy_headers *self = (nrpy_headers *)object;
    const char *at;
    Py_ssize_t length;
    if (!PyUnicode_Check(name)) {
        return 0;
    }
    Py_ssize_t found = find(self, name, &at, &length);
    return found < 0 ? -1 : found < self->count;
}

/* The arguments of `get`, by position or keyword. Returns 0, or -1 with an exception set. */
static int read_get(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject *given[2]) {
    Py_ssize_t named = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "get() takes a name and a default, not %zd arguments", count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        int place = PyUnicode_CompareWithASCIIString(keyword, "name") == 0      ? 0
                    : PyUnicode_CompareWithASCIIString(keyword, "default") == 0 ? 1
                                                                                : -1;
        if (place < 0 || place < count) {
            PyErr_Format(PyExc_TypeError, place < 0 ? "get() has no argument %R" : "get() was given %R twice", keyword);
            return -1;
        }
        given[place] = args[count + i];
    }
    if (given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "get() takes the name of a header");
        return -1;
    }
    return 0;
}

static PyObject *get(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    nrpy_headers *self = (nrpy_headers *)object;
    PyObject *given[2] = {NULL, Py_None};
    const char *at;
    Py_ssize_t length;
    if (read_get(args, count, keywords, given) != 0) {
        return NULL;
    }
    Py_ssize_t found = find(self, given[0], &at, &length);
    if (found == self->count) {
        return Py_NewRef(given[1]);
    }
    return found < 0 ? NULL : value_text(self, found);
}

/* Takes `item`. Returns false with an exception set. */
static bool append(PyObject *list, PyObject *item) {
    bool done = item != NULL && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return done;
}

static PyObject *get_all(PyObject *object, PyObject *name) {
    nrpy_headers *self = (nrpy_headers *)object;
    const char *at;
    Py_ssize_t length;
    Py_ssize_t found = find(self, name, &at, &length);
    PyObject *list = found >= 0 ? PyList_New(0) : NULL;
    while (list != NULL && found < self->count) {
        if (!append(list, value_text(self, found))) {
            Py_CLEAR(list);
        }
        found = nrpy_headers_next(self, found + 1, at, (size_t)length);
    }
    return list;
}

/* ---- all of them ---- */

static PyObject *keys(PyObject *object, PyObject *ignored) {
    nrpy_headers *self = (nrpy_headers *)object;
    (void)ignored;
    PyObject *list = nrpy_headers_first_pairs(self);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *name = name_text(self, PyLong_AsSsize_t(PyList_GET_ITEM(list, i)));
        if (name == NULL || PyList_SetItem(list, i, name) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* A list with what `make` gives for each pair. */
static PyObject *each(const nrpy_headers *self, PyObject *(*make)(const nrpy_headers *self, Py_ssize_t i)) {
    PyObject *list = PyList_New(self->count);
    for (Py_ssize_t i = 0; list != NULL && i < self->count; i++) {
        PyObject *item = make(self, i);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    return list;
}

/* Takes both. New reference or NULL. */
static PyObject *pair_of(PyObject *name, PyObject *value) {
    PyObject *pair = name != NULL && value != NULL ? PyTuple_Pack(2, name, value) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(value);
    return pair;
}

static PyObject *text_pair(const nrpy_headers *self, Py_ssize_t i) {
    return pair_of(name_text(self, i), value_text(self, i));
}

static PyObject *bytes_pair(const nrpy_headers *self, Py_ssize_t i) {
    return pair_of(PyBytes_FromStringAndSize(nrpy_header_name(self, i), (Py_ssize_t)self->spans[i].name_length),
                   PyBytes_FromStringAndSize(nrpy_header_value(self, i), (Py_ssize_t)self->spans[i].value_length));
}

static PyObject *values(PyObject *self, PyObject *ignored) {
    (void)ignored;
    return each((nrpy_headers *)self, value_text);
}

static PyObject *items(PyObject *self, PyObject *ignored) {
    (void)ignored;
    return each((nrpy_headers *)self, text_pair);
}

PyObject *nrpy_headers_raw(PyObject *object) {
    nrpy_headers *self = (nrpy_headers *)object;
    if (self->raw == NULL) {
        PyObject *made = each(self, bytes_pair);
        /* A thread switch inside an allocation may have let another reader come first: its list stands. */
        if (self->raw == NULL) {
            self->raw = made;
        } else {
            Py_XDECREF(made);
        }
    }
    return Py_XNewRef(self->raw);
}

static PyObject *get_raw(PyObject *self, void *closure) {
    (void)closure;
    return nrpy_headers_raw(self);
}

static PyObject *iterate(PyObject *self) {
    PyObject *list = keys(self, NULL);
    PyObject *iterator = list != NULL ? PyObject_GetIter(list) : NULL;
    Py_XDECREF(list);
    return iterator;
}

static Py_ssize_t length(PyObject *self) {
    return ((nrpy_headers *)self)->count;
}

static bool is_equal(const nrpy_headers *one, const nrpy_headers *other) {
    bool same = one->count == other->count;
    for (Py_ssize_t i = 0; same && i < one->count; i++) {
        const nrpy_header_span *mine = &one->spans[i];
        const nrpy_header_span *its = &other->spans[i];
        same = mine->name_length == its->name_length && mine->value_length == its->value_length &&
               nrpy_is_same_name(nrpy_header_name(one, i), nrpy_header_name(other, i), mine->name_length) &&
               memcmp(nrpy_header_value(one, i), nrpy_header_value(other, i), mine->value_length) == 0;
    }
    return same;
}

static PyObject *compare(PyObject *self, PyObject *other, int operation) {
    if (Py_TYPE(other) != &nrpy_headers_type || (operation != Py_EQ && operation != Py_NE)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return PyBool_FromLong(is_equal((nrpy_headers *)self, (nrpy_headers *)other) == (operation == Py_EQ));
}

static PyObject *show(PyObject *self) {
    PyObject *list = items(self, NULL);
    PyObject *text = list != NULL ? PyUnicode_FromFormat("Headers(%R)", list) : NULL;
    Py_XDECREF(list);
    return text;
}

static PyObject *reduce(PyObject *self, PyObject *ignored) {
    (void)ignored;
    PyObject *raw = nrpy_headers_raw(self);
    return raw != NULL ? Py_BuildValue("O(N)", (PyObject *)&nrpy_headers_type, raw) : NULL;
}

static PyMethodDef methods[] = {
    {"get", (PyCFunction)(void (*)(void))get, METH_FASTCALL | METH_KEYWORDS,
     "get($self, name, default=None)\n--\n\nThe first value of a header, or default where there is none."},
    {"get_all", get_all, METH_O, "Every value of a header in order; an empty list where there is none."},
    {"keys", keys, METH_NOARGS, "Each name once, in the order and the spelling of its first appearance."},
    {"values", values, METH_NOARGS, "The value of every pair, in order."},
    {"items", items, METH_NOARGS, "Every pair in order, repeats included."},
    {"__reduce__", reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"raw", get_raw, NULL, "The pairs as the host passed them: a list of (name, value) in bytes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMappingMethods as_mapping = {.mp_length = length, .mp_subscript = subscript};
static PySequenceMethods as_sequence = {.sq_contains = contains};

PyTypeObject nrpy_headers_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.request.Headers",
    .tp_doc = "The headers of a request: a read-only multi-mapping that takes names in any case.",
    .tp_basicsize = sizeof(nrpy_headers),
    .tp_itemsize = 1,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = headers_new,
    .tp_dealloc = headers_dealloc,
    .tp_repr = show,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_richcompare = compare,
    .tp_iter = iterate,
    .tp_as_mapping = &as_mapping,
    .tp_as_sequence = &as_sequence,
    .tp_methods = methods,
    .tp_getset = fields,
};
