#include "fake_host.h"

#include "clock.h"
#include "dispatch.h"
#include "exchange.h"
#include "instance.h"
#include "mailbox.h"
#include "registry.h"
#include "streams.h"
#include "threads.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    PyObject_HEAD
    nrpy_mailbox *mailbox;   /* set by new; what the plugin sends, on any thread */
    nrpy_instance *instance; /* a reference; set by new. After its end it refuses everything, as any instance does */
    bool manual;             /* set by new: whose clock is held */
    bool closed;             /* guarded by the GIL */
} fake_host;

static fake_host *host_in(PyObject *object) {
    return (fake_host *)object;
}

/* ---- life ---- */

static void raise_refused(nrpy_local *local, const char *error) {
    if (local->exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(local->exception), local->exception);
        Py_CLEAR(local->exception);
    } else {
        PyErr_Format(PyExc_RuntimeError, "the plugin did not start: %s", error);
    }
}

/* Needs the GIL, which is free while the plugin starts. Returns 0, or -1 with an exception set. */
static int open_instance(fake_host *self, PyObject *plugin, const char *name, bool v2) {
    char error[1024] = "no reason given";
    PyObject *prefix = PySys_GetObject("prefix"); /* Borrowed reference */
    PyObject *prefix_bytes = prefix != NULL ? PyUnicode_EncodeFSDefault(prefix) : NULL;
    if (prefix_bytes == NULL) {
        return -1;
    }
    nrpy_open_args args = {
        .struct_size = sizeof args,
        .host = nrpy_mailbox_host(self->mailbox, v2),
        .name = name,
        .prefix = PyBytes_AS_STRING(prefix_bytes),
        .error = error,
        .error_size = sizeof error,
    };
    nrpy_local local = {.plugin = plugin};
    NrStatus status = nrpy_instance_open_local(&args, &local, &self->instance);
    Py_DECREF(prefix_bytes);
    if (status != NR_OK) {
        self->instance = NULL;
        raise_refused(&local, error);
        return -1;
    }
    nrpy_instance_retain(self->instance);
    return 0;
}

static PyObject *fake_host_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *words[] = {"plugin", "name", "v2", "capacity", "manual", NULL};
    PyObject *plugin;
    const char *name;
    int v2;
    unsigned int capacity;
    int manual;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OspIp:FakeHost", words, &plugin, &name, &v2, &capacity, &manual)) {
        return NULL;
    }
    if (!nrpy_clock_hold(manual)) {
        PyErr_SetString(PyExc_RuntimeError, manual ? "another FakeHost is open whose time runs by itself: all that are "
                                                     "open at once have one clock"
                                                   : "another FakeHost is open whose time stands: all that are open at "
                                                     "once have one clock");
        return NULL;
    }
    fake_host *self = (fake_host *)type->tp_alloc(type, 0);
    if (self == NULL) {
        nrpy_clock_release(manual);
        return NULL;
    }
    self->manual = manual;
    self->closed = true;
    self->mailbox = nrpy_mailbox_new(v2 ? capacity : 0);
    if (self->mailbox == NULL) {
        PyErr_NoMemory();
    }
    if (self->mailbox == NULL || open_instance(self, plugin, name, v2) != 0) {
        nrpy_clock_release(manual);
        Py_DECREF(self);
        return NULL;
    }
    self->closed = false;
    return (PyObject *)self;
}

static void close_host(fake_host *self) {
    if (self->closed) {
        return;
    }
    self->closed = true;
    PyThreadState *state = PyEval_SaveThread();
    /* What found no room must not wait for a reader that has gone. */
    nrpy_mailbox_lift_capacity(self->mailbox);
    (void)nrpy_instance_close(self->instance);
    nrpy_mailbox_end(self->mailbox);
    nrpy_clock_release(self->manual);
    PyEval_RestoreThread(state);
}

static void fake_host_dealloc(PyObject *object) {
    fake_host *self = host_in(object);
    close_host(self);
    if (self->instance != NULL) {
        nrpy_instance_release(self->instance);
    }
    if (self->mailbox != NULL) {
        nrpy_mailbox_free(self->mailbox);
    }
    Py_TYPE(object)->tp_free(object);
}

static PyObject *method_close(PyObject *object, PyObject *ignored) {
    (void)ignored;
    close_host(host_in(object));
    Py_RETURN_NONE;
}

/* ---- into the plugin ---- */

static int text_from(PyObject *object, NrStr *text) {
    if (!PyBytes_Check(object) || PyBytes_GET_SIZE(object) > UINT32_MAX) {
        PyErr_SetString(PyExc_TypeError, "text of a request is bytes of less than 4 GiB");
        return -1;
    }
    *text = (NrStr){.ptr = (const uint8_t *)PyBytes_AS_STRING(object), .len = (uint32_t)PyBytes_GET_SIZE(object)};
    return 0;
}

/* A view over `pairs`, a tuple of tuples of two; `*headers` is the caller's to free. Returns 0, or -1 raising. */
static int headers_from(PyObject *pairs, NrHeader **headers) {
    Py_ssize_t count = PyTuple_GET_SIZE(pairs);
    *headers = count > 0 ? calloc((size_t)count, sizeof **headers) : NULL;
    if (count > 0 && *headers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key;
        PyObject *value;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(pairs, i), "OO;a header is a name and a value", &key, &value) ||
            text_from(key, &(*headers)[i].key) != 0 || text_from(value, &(*headers)[i].value) != 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *method_handle(PyObject *object, PyObject *args) {
    PyObject *entry_object;
    unsigned long long sid;
    PyObject *request;
    Py_buffer body;
    int is_stream;
    if (!PyArg_ParseTuple(args, "SKOy*p:handle", &entry_object, &sid, &request, &body, &is_stream)) {
        return NULL;
    }
    PyObject *result = NULL;
    PyObject *texts[3];
    PyObject *pairs;
    NrHeader *headers = NULL;
    NrRequest view = {.headers = NULL};
    NrStr entry;
    if (text_from(entry_object, &entry) != 0) {
        goto done;
    }
    if (request != Py_None) {
        if (!PyArg_ParseTuple(request, "OOOO!", &texts[0], &texts[1], &texts[2], &PyTuple_Type, &pairs) ||
            text_from(texts[0], &view.method) != 0 || text_from(texts[1], &view.path) != 0 ||
            text_from(texts[2], &view.query) != 0 || headers_from(pairs, &headers) != 0) {
            goto done;
        }
        view.headers = headers;
        view.headers_len = (uint32_t)PyTuple_GET_SIZE(pairs);
    }
    fake_host *self = host_in(object);
    if (!nrpy_mailbox_expect(self->mailbox, sid, is_stream)) {
        PyErr_NoMemory();
        goto done;
    }
    PyThreadState *state = PyEval_SaveThread();
    NrStatus status = nrpy_handle(self->instance, entry, sid, request != Py_None ? &view : NULL,
                                  (NrBytes){.ptr = body.buf, .len = (uint64_t)body.len});
    PyEval_RestoreThread(state);
    result = PyLong_FromUnsignedLong(status);
done:
    free(headers);
    PyBuffer_Release(&body);
    return result;
}

static PyObject *method_stream_data(PyObject *object, PyObject *args) {
    unsigned long long sid;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "Ky*:stream_data", &sid, &data)) {
        return NULL;
    }
    PyThreadState *state = PyEval_SaveThread();
    NrStatus status =
        nrpy_stream_data(host_in(object)->instance, sid, (NrBytes){.ptr = data.buf, .len = (uint64_t)data.len});
    PyEval_RestoreThread(state);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(status);
}

static PyObject *method_stream_close(PyObject *object, PyObject *args) {
    unsigned long long sid;
    if (!PyArg_ParseTuple(args, "K:stream_close", &sid)) {
        return NULL;
    }
    PyThreadState *state = PyEval_SaveThread();
    NrStatus status = nrpy_stream_close(host_in(object)->instance, sid);
    PyEval_RestoreThread(state);
    return PyLong_FromUnsignedLong(status);
}

/* ---- what the plugin sent ---- */

static PyObject *tuple_of(const nrpy_sent *sent) {
    return Py_BuildValue("(KIy#)", (unsigned long long)sent->sid, (unsigned)sent->status, (const char *)sent->bytes,
                         (Py_ssize_t)sent->length);
}

static PyObject *method_take(PyObject *object, PyObject *ignored) {
    (void)ignored;
    nrpy_mailbox *mailbox = host_in(object)->mailbox;
    PyThreadState *state = PyEval_SaveThread();
    nrpy_sent *sent = nrpy_mailbox_take(mailbox);
    PyEval_RestoreThread(state);
    PyObject *list = PyList_New(0);
    while (sent != NULL) {
        nrpy_sent *next = sent->next;
        PyObject *item = list != NULL ? tuple_of(sent) : NULL;
        if (item == NULL || PyList_Append(list, item) != 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
        free(sent);
        sent = next;
    }
    return list;
}

/*
 * A frame that found no room is in the plugin's outbox, and goes out when its timer looks again. A test must not wait
 * for that, least of all where time stands: so the reader has it sent. Its sender may still be on its way out of the
 * refusal; hence the loop, which ends when the frame has come or its stream has ended.
 */
static void fetch_refused(fake_host *self, uint64_t sid) {
    while (nrpy_mailbox_has_refused(self->mailbox, sid)) {
        nrpy_exchange *exchange = nrpy_registry_find(&self->instance->registry, sid);
        if (exchange == NULL) {
            return;
        }
        nrpy_exchange_drain(exchange);
        nrpy_exchange_release(exchange);
        sched_yield();
    }
}

static PyObject *method_read(PyObject *object, PyObject *args) {
    unsigned long long sid;
    if (!PyArg_ParseTuple(args, "K:read", &sid)) {
        return NULL;
    }
    fake_host *self = host_in(object);
    PyThreadState *state = PyEval_SaveThread();
    nrpy_mailbox_read(self->mailbox, sid);
    fetch_refused(self, sid);
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *method_drop(PyObject *object, PyObject *args) {
    unsigned long long sid;
    if (!PyArg_ParseTuple(args, "K:drop", &sid)) {
        return NULL;
    }
    fake_host *self = host_in(object);
    PyThreadState *state = PyEval_SaveThread();
    nrpy_mailbox_drop(self->mailbox, sid);
    fetch_refused(self, sid);
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *method_advance(PyObject *object, PyObject *args) {
    double seconds;
    if (!PyArg_ParseTuple(args, "d:advance", &seconds)) {
        return NULL;
    }
    const fake_host *self = host_in(object);
    if (!(seconds >= 0 && seconds <= 1e9)) {
        PyErr_Format(PyExc_ValueError, "time can be moved by 0 to 1e9 seconds");
        return NULL;
    }
    if (!self->manual || self->closed) {
        PyErr_SetString(PyExc_RuntimeError,
                        "time runs by itself here: only an open FakeHost(clock=\"manual\") moves it");
        return NULL;
    }
    PyThreadState *state = PyEval_SaveThread();
    (void)nrpy_clock_advance((int64_t)(seconds * 1e9));
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *method_event_loops(PyObject *object, PyObject *ignored) {
    (void)ignored;
    const nrpy_instance *instance = host_in(object)->instance;
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; list != NULL && i < instance->loop_count; i++) {
        PyObject *event_loop = instance->loops[i].event_loop; /* Borrowed reference */
        if (event_loop != NULL && PyList_Append(list, event_loop) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *get_refused_frames(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(nrpy_mailbox_refusals(host_in(object)->mailbox));
}

static PyMethodDef methods[] = {
    {"handle", method_handle, METH_VARARGS, "handle(entry, sid, request, body, is_stream) -> int"},
    {"stream_data", method_stream_data, METH_VARARGS, "stream_data(sid, data) -> int"},
    {"stream_close", method_stream_close, METH_VARARGS, "stream_close(sid) -> int"},
    {"take", method_take, METH_NOARGS, "take() -> list[tuple[int, int, bytes]]"},
    {"read", method_read, METH_VARARGS, "read(sid)"},
    {"drop", method_drop, METH_VARARGS, "drop(sid)"},
    {"advance", method_advance, METH_VARARGS, "advance(seconds)"},
    {"event_loops", method_event_loops, METH_NOARGS, "event_loops() -> list[asyncio.AbstractEventLoop]"},
    {"close", method_close, METH_NOARGS, "close()"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"refused_frames", get_refused_frames, NULL, "How often a frame was answered Backpressure.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject nrpy_fake_host_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py._core.FakeHost",
    .tp_doc = "A host in this Python; see nylon_ring_py.testing.",
    .tp_basicsize = sizeof(fake_host),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = fake_host_new,
    .tp_dealloc = fake_host_dealloc,
    .tp_methods = methods,
    .tp_getset = fields,
};
