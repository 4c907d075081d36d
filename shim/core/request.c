#include "request.h"

#include "body.h"
#include "headers.h"
#include "instance.h"
#include "module.h"

#include <structmember.h>

/* What a small object of Python's allocator holds (512 bytes). To copy so much costs less than to find out at each
 * read whether it was: a plain slot is what the interpreter reads at once. */
enum { SHORT_BODY = 512 - sizeof(PyBytesObject) };

/* A request whose body becomes an object when it is read: a long one, or one that is borrowed. */
static PyTypeObject long_request_type;

typedef struct {
    PyObject_HEAD
    const nrpy_request_view *view; /* of the block, or of the host's memory while the host waits, or of nothing */
    nrpy_call *block;              /* owned, or NULL */
    nrpy_instance *lender;         /* while the host waits: whose the next three are; else NULL */
    const nrpy_entry *lent_entry;
    PyObject *instance; /* owned: the _core.Instance; NULL: lent, made by the author, or after the unload */
    PyObject *entry;    /* owned; NULL: lent */
    uint64_t sid;
    bool lost;      /* there was no memory to copy what the author kept */
    bool travelled; /* a copy, of a pickle most often: there is no host to keep its state */
    /* Python objects made so far; owned or NULL. */
    PyObject *method, *path, *query, *body, *headers, *args, *state;
} request;

/* Requests come and go one at a time: a few are kept. Guarded by the GIL. */
enum { SPARE_MAX = 16 };
static request *spares[SPARE_MAX];
static int spare_count;

/* What the author made has its values in the fields. */
static const NrRequest empty_metadata;
static const nrpy_request_view nothing = {.meta = &nrpy_no_metadata}, nothing_with_metadata = {.meta = &empty_metadata};

static request *new_request(PyTypeObject *type) {
    if (__builtin_expect(spare_count > 0, 1)) {
        request *self = spares[--spare_count];
        Py_SET_TYPE(self, type);
        _Py_NewReference((PyObject *)self);
        return self;
    }
    request *self = PyObject_New(request, type);
    if (self != NULL) {
        self->instance = self->entry = self->method = self->path = self->query = self->body = NULL;
        self->headers = self->args = self->state = NULL;
        self->block = NULL;
        self->lender = NULL;
        self->lost = self->travelled = false;
    }
    return self;
}

static PyObject *copy_body(const nrpy_request_view *view) {
    return PyBytes_FromStringAndSize((const char *)view->body.ptr, (Py_ssize_t)view->body.len);
}

static request *new_request_over(const nrpy_request_view *view, bool borrows) {
    bool is_short = view->body.len <= SHORT_BODY && !borrows;
    request *self = new_request(__builtin_expect(is_short, 1) ? &nrpy_request_type : &long_request_type);
    if (self != NULL && is_short) {
        self->body = copy_body(view);
        if (self->body == NULL) {
            Py_CLEAR(self);
        }
    }
    return self;
}

/* Makes its own what it was lent, for which it must be there. Returns 0, or -1 raising. */
static int own_names(request *self, nrpy_instance *instance, const nrpy_entry *entry) {
    /* A stream's request may be made after the unload, which has cleared both objects. */
    self->entry = entry->name_object != NULL ? Py_NewRef(entry->name_object)
                                             : PyUnicode_DecodeUTF8(entry->name, (Py_ssize_t)entry->length, NULL);
    self->instance = Py_XNewRef(instance->object);
    self->lender = NULL;
    return self->entry != NULL ? 0 : -1;
}

PyObject *nrpy_request_over_call(nrpy_call *call) {
    request *self = new_request_over(&call->request, false);
    if (self == NULL) {
        return NULL;
    }
    self->sid = call->sid;
    if (own_names(self, call->instance, call->entry) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->view = &call->request;
    self->block = call;
    return (PyObject *)self;
}

PyObject *nrpy_request_over_host(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                                 const nrpy_request_view *view) {
    request *self = new_request_over(view, (entry->flags & NRPY_BORROW) != 0);
    if (self != NULL) {
        self->sid = sid;
        self->view = view;
        self->lender = instance;
        self->lent_entry = entry;
    }
    return (PyObject *)self;
}

/* The author has kept it beyond its call. */
static void keep(request *self) {
    self->block = nrpy_call_new(NULL, NULL, self->sid, self->view);
    if (self->block != NULL) {
        self->view = &self->block->request;
    } else {
        self->lost = true;
        self->view = &nothing;
    }
    if (self->lender != NULL && own_names(self, self->lender, self->lent_entry) != 0) {
        PyErr_Clear();
        self->lost = true;
    }
}

void nrpy_request_return(PyObject *object) {
    PyObject *body = ((request *)object)->body;
    bool is_kept = Py_REFCNT(object) > 1;
    if (body != NULL && nrpy_is_body(body) && (is_kept || Py_REFCNT(body) > 1)) {
        nrpy_body_keep(body);
    }
    if (__builtin_expect(is_kept, 0)) {
        keep((request *)object);
    }
    Py_DECREF(object);
}

static bool has_fields_but_body(const request *self) {
    return ((uintptr_t)self->method | (uintptr_t)self->path | (uintptr_t)self->query | (uintptr_t)self->headers |
            (uintptr_t)self->args | (uintptr_t)self->state | (uintptr_t)self->entry | (uintptr_t)self->instance) != 0;
}

static void drop_fields(request *self) {
    Py_CLEAR(self->method);
    Py_CLEAR(self->path);
    Py_CLEAR(self->query);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->args);
    Py_CLEAR(self->state);
    Py_CLEAR(self->entry);
    Py_CLEAR(self->instance);
}

static void request_dealloc(PyObject *object) {
    request *self = (request *)object;
    Py_CLEAR(self->body);
    if (has_fields_but_body(self)) {
        drop_fields(self);
    }
    if (self->block != NULL) {
        nrpy_call_free(self->block);
        self->block = NULL;
    }
    self->lender = NULL;
    self->lost = self->travelled = false;
    if (spare_count < SPARE_MAX) {
        spares[spare_count++] = self;
    } else {
        PyObject_Free(self);
    }
}

/* ---- fields ---- */

static int check_kept(const request *self) {
    if (self->lost) {
        PyErr_SetString(PyExc_MemoryError,
                        "the request was kept after its call ended, and there was no memory to copy it");
        return -1;
    }
    return 0;
}

/* surrogateescape only matters for header values: the rest was checked when the call came in. */
static PyObject *decode_text(NrStr text) {
    return PyUnicode_DecodeUTF8((const char *)text.ptr, (Py_ssize_t)text.len, "surrogateescape");
}

static PyObject *text_field(request *self, PyObject **field, NrStr text) {
    if (*field == NULL) {
        if (check_kept(self) != 0) {
            return NULL;
        }
        *field = decode_text(text);
    }
    return Py_XNewRef(*field);
}

static PyObject *get_method(PyObject *self, void *closure) {
    (void)closure;
    return text_field((request *)self, &((request *)self)->method, ((request *)self)->view->meta->method);
}

static PyObject *get_path(PyObject *self, void *closure) {
    (void)closure;
    return text_field((request *)self, &((request *)self)->path, ((request *)self)->view->meta->path);
}

static PyObject *get_query(PyObject *self, void *closure) {
    (void)closure;
    return text_field((request *)self, &((request *)self)->query, ((request *)self)->view->meta->query);
}

static PyObject *get_body(PyObject *object, void *closure) {
    (void)closure;
    request *self = (request *)object;
    if (self->body == NULL) {
        if (check_kept(self) != 0) {
            return NULL;
        }
        bool borrows = self->lender != NULL && (self->lent_entry->flags & NRPY_BORROW) != 0;
        self->body = borrows ? nrpy_body_over_host(self->view->body) : copy_body(self->view);
    }
    return Py_XNewRef(self->body);
}

/* The body as bytes, whatever a handler gets. */
static PyObject *get_bytes(PyObject *object, void *closure) {
    PyObject *body = get_body(object, closure);
    if (body != NULL && nrpy_is_body(body)) {
        PyObject *bytes = nrpy_body_bytes(body);
        Py_DECREF(body);
        return bytes;
    }
    return body;
}

static PyObject *get_headers(PyObject *object, void *closure) {
    (void)closure;
    request *self = (request *)object;
    if (self->headers == NULL) {
        if (check_kept(self) != 0) {
            return NULL;
        }
        self->headers = nrpy_headers_over(self->view->meta->headers, self->view->meta->headers_len);
    }
    return Py_XNewRef(self->headers);
}

static PyObject *get_headers_raw(PyObject *object, void *closure) {
    PyObject *headers = get_headers(object, closure);
    PyObject *raw = headers != NULL ? nrpy_headers_raw(headers) : NULL;
    Py_XDECREF(headers);
    return raw;
}

static PyObject *get_args(PyObject *object, void *closure) {
    request *self = (request *)object;
    if (self->args == NULL) {
        PyObject *query = get_query(object, closure);
        PyObject *made = query != NULL ? nrpy_call_helper("parse_args", query) : NULL;
        Py_XDECREF(query);
        /* A thread switch meanwhile may have let another reader come first: its arguments stand. */
        if (self->args == NULL) {
            self->args = made;
        } else {
            Py_XDECREF(made);
        }
    }
    return Py_XNewRef(self->args);
}

static PyObject *decode_body(PyObject *object, const char *helper) {
    PyObject *body = get_bytes(object, NULL);
    PyObject *value = body != NULL ? nrpy_call_helper(helper, body) : NULL;
    Py_XDECREF(body);
    return value;
}

static PyObject *request_json(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return decode_body(object, "decode_json");
}

static PyObject *request_msgpack(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return decode_body(object, "decode_msgpack");
}

static PyObject *get_entry(PyObject *object, void *closure) {
    (void)closure;
    request *self = (request *)object;
    if (self->lender != NULL && own_names(self, self->lender, self->lent_entry) != 0) {
        return NULL;
    }
    if (self->entry == NULL) {
        check_kept(self);
        return NULL;
    }
    return Py_NewRef(self->entry);
}

static PyObject *get_state(PyObject *object, void *closure) {
    (void)closure;
    request *self = (request *)object;
    PyObject *entry = get_entry(object, NULL); /* which owns its instance from then on */
    if (entry == NULL) {
        return NULL;
    }
    if (self->travelled) {
        PyObject *refused = nrpy_call_helper("refuse_state", entry);
        Py_DECREF(entry);
        return refused;
    }
    Py_DECREF(entry);
    if (self->state == NULL) {
        PyObject *made = nrpy_make_state(self->instance != NULL ? self->instance : Py_None, self->sid);
        if (made == NULL || self->state != NULL) {
            Py_XDECREF(made);
        } else {
            self->state = made;
        }
    }
    return Py_XNewRef(self->state);
}

static PyObject *get_sid(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(((request *)self)->sid);
}

static PyObject *get_has_metadata(PyObject *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(nrpy_has_metadata(((request *)self)->view));
}

static PyObject *request_repr(PyObject *object) {
    request *self = (request *)object;
    PyObject *method = get_method(object, NULL);
    PyObject *path = get_path(object, NULL);
    PyObject *entry = get_entry(object, NULL);
    PyObject *text = NULL;
    if (method != NULL && path != NULL && entry != NULL) {
        text = PyUnicode_FromFormat("<Request entry=%R sid=%llu method=%R path=%R body=%zd bytes>", entry,
                                    (unsigned long long)self->sid, method, path,
                                    self->body != NULL ? PyObject_Size(self->body) : (Py_ssize_t)self->view->body.len);
    }
    Py_XDECREF(method);
    Py_XDECREF(path);
    Py_XDECREF(entry);
    return text;
}

/* ---- made by an author, for a test ---- */

static PyObject *request_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"method", "path", "query", "headers", "body", "entry", "sid", "has_metadata", NULL};
    PyObject *method = NULL, *path = NULL, *query = NULL, *headers = NULL, *entry = NULL, *body = NULL;
    unsigned long long sid = 0;
    int has_metadata = 1;
    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$UUUOSUKp:Request", names, &method, &path, &query, &headers, &body,
                                     &entry, &sid, &has_metadata)) {
        return NULL;
    }
    PyObject *copied = headers != NULL ? nrpy_headers_from(headers) : nrpy_headers_over(NULL, 0);
    if (copied == NULL) {
        return NULL;
    }
    request *self = new_request(&nrpy_request_type);
    if (self == NULL) {
        Py_DECREF(copied);
        return NULL;
    }
    self->view = has_metadata != 0 ? &nothing_with_metadata : &nothing;
    self->sid = sid;
    self->entry = entry != NULL ? Py_NewRef(entry) : PyUnicode_FromString("");
    self->method = method != NULL ? Py_NewRef(method) : PyUnicode_FromString("");
    self->path = path != NULL ? Py_NewRef(path) : PyUnicode_FromString("");
    self->query = query != NULL ? Py_NewRef(query) : PyUnicode_FromString("");
    self->body = body != NULL ? Py_NewRef(body) : PyBytes_FromStringAndSize("", 0);
    self->headers = copied;
    if (self->entry == NULL || self->method == NULL || self->path == NULL || self->query == NULL ||
        self->body == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* ---- taken to another process ---- */

/* As the class that authors know, whichever it is of. */
static PyObject *request_reduce(PyObject *object, PyObject *ignored) {
    (void)ignored;
    static const char *const names[] = {"method", "path", "query", "headers", "body", "entry", "sid", "has_metadata"};
    static PyObject *(*const getters[])(PyObject *, void *) = {get_method, get_path,  get_query, get_headers_raw,
                                                               get_bytes,  get_entry, get_sid,   get_has_metadata};
    PyObject *kwargs = PyDict_New();
    for (size_t i = 0; kwargs != NULL && i < sizeof names / sizeof names[0]; i++) {
        PyObject *value = getters[i](object, NULL);
        if (value == NULL || PyDict_SetItemString(kwargs, names[i], value) != 0) {
            Py_CLEAR(kwargs);
        }
        Py_XDECREF(value);
    }
    PyObject *reduced = kwargs != NULL ? nrpy_call_helper("reduce_request", kwargs) : NULL;
    Py_XDECREF(kwargs);
    return reduced;
}

static PyObject *request_setstate(PyObject *object, PyObject *state) {
    (void)state;
    ((request *)object)->travelled = true;
    return Py_NewRef(Py_None);
}

static const char body_doc[] = "The payload, as bytes.";

static PyGetSetDef fields[] = {
    {"method", get_method, NULL, "The request's method, '' without metadata.", NULL},
    {"path", get_path, NULL, "The request's path, '' without metadata.", NULL},
    {"query", get_query, NULL, "The query string as the host passed it.", NULL},
    {"args", get_args, NULL, "The query string, parsed.", NULL},
    {"headers", get_headers, NULL, "The headers: case-insensitive, in order, with repeats.", NULL},
    {"headers_raw", get_headers_raw, NULL, "The headers as a list of (name, value) in bytes.", NULL},
    {"entry", get_entry, NULL, "The name of the entry that was called.", NULL},
    {"sid", get_sid, NULL, "The host's number for this call.", NULL},
    {"has_metadata", get_has_metadata, NULL, "Whether the host passed a request and not only a payload.", NULL},
    {"state", get_state, NULL, "What is kept for this sid until its terminal reply.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"json", request_json, METH_NOARGS, "The body decoded as JSON."},
    {"msgpack", request_msgpack, METH_NOARGS, "The body decoded as MessagePack."},
    {"__reduce__", request_reduce, METH_NOARGS, NULL},
    {"__setstate__", request_setstate, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef slots[] = {
    {"body", T_OBJECT_EX, offsetof(request, body), READONLY, body_doc},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject nrpy_request_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.Request",
    .tp_doc = "One call, as the host made it.",
    .tp_basicsize = sizeof(request),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = request_new,
    .tp_dealloc = request_dealloc,
    .tp_repr = request_repr,
    .tp_getset = fields,
    .tp_members = slots,
    .tp_methods = methods,
};

static PyGetSetDef long_fields[] = {
    {"body", get_body, NULL, body_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject long_request_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.Request",
    .tp_base = &nrpy_request_type,
    .tp_basicsize = sizeof(request),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = request_dealloc,
    .tp_getset = long_fields,
};

int nrpy_request_types_ready(void) {
    return PyType_Ready(&nrpy_request_type) == 0 && PyType_Ready(&long_request_type) == 0 ? 0 : -1;
}
