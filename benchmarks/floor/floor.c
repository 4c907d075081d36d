/*
 * The floor: the least that a Python echo behind the ABI can cost, to hold the plugin's figures against.
 *
 * A bare embedding of CPython in one file: no gate, no checks, no promise to the host, no unload. One thread state per
 * host thread, made once; entries `sync` (a request object whose fields become Python objects when they are read) and
 * `raw` (bytes in, bytes out). The reply is sent with the GIL held. Never ship such a thing.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "nylon_ring_v1.h"

#include <stdio.h>
#include <string.h>

static const char source[] = "def sync(req):\n"
                             "    return req.body\n"
                             "def raw(payload):\n"
                             "    return payload\n";

static PyObject *sync_handler, *raw_handler; /* set by init */
static const NrHostVTable *host;             /* set by init */
static void *host_context;                   /* set by init */
static __thread PyThreadState *own_state __attribute__((tls_model("initial-exec")));

/* ---- the request: a window onto the host's memory while the host waits ---- */

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

/* ---- the ABI's functions ---- */

static NrStatus start_python(void) {
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.install_signal_handlers = 0;
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, PEER_PYTHON);
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "floor: Python does not start: %s\n", status.err_msg != NULL ? status.err_msg : "?");
        return NR_ERR;
    }
    PyObject *globals = PyDict_New();
    PyObject *done = globals != NULL ? PyRun_String(source, Py_file_input, globals, globals) : NULL;
    if (done == NULL || PyType_Ready(&request_type) != 0) {
        PyErr_Print();
        return NR_ERR;
    }
    sync_handler = PyDict_GetItemString(globals, "sync");
    raw_handler = PyDict_GetItemString(globals, "raw");
    own_state = PyEval_SaveThread();
    return NR_OK;
}

static NrStatus floor_init(void *context, void *host_ctx, const NrHostVTable *host_vtable) {
    (void)context;
    host = host_vtable;
    host_context = host_ctx;
    return start_python();
}

static void attach(void) {
    if (__builtin_expect(own_state == NULL, 0)) {
        own_state = PyThreadState_New(PyInterpreterState_Main());
    }
    PyEval_RestoreThread(own_state);
}

static PyObject *make_request(const NrRequest *meta, NrBytes body) {
    request *made = PyObject_New(request, &request_type);
    if (made != NULL) {
        made->meta = meta;
        made->body = body;
    }
    return (PyObject *)made;
}

static NrStatus floor_handle(void *context, NrStr entry, uint64_t sid, const NrRequest *meta, NrBytes payload) {
    (void)context;
    int is_sync = entry.len == 4 && memcmp(entry.ptr, "sync", 4) == 0;
    if (!is_sync && (entry.len != 3 || memcmp(entry.ptr, "raw", 3) != 0)) {
        return NR_INVALID;
    }
    attach();
    PyObject *argument = is_sync ? make_request(meta, payload)
                                 : PyBytes_FromStringAndSize((const char *)payload.ptr, (Py_ssize_t)payload.len);
    PyObject *result = PyObject_Vectorcall(is_sync ? sync_handler : raw_handler, &argument, 1, NULL);
    NrStatus status = result != NULL && PyBytes_CheckExact(result) ? NR_OK : NR_ERR;
    if (status == NR_OK) {
        NrBytes reply = {.ptr = (const uint8_t *)PyBytes_AS_STRING(result), .len = (uint64_t)PyBytes_GET_SIZE(result)};
        host->send_result(host_context, sid, NR_OK, reply);
    }
    Py_XDECREF(result);
    Py_XDECREF(argument);
    PyEval_SaveThread();
    return status;
}

static void floor_shutdown(void *context) {
    (void)context;
}

static NrStatus floor_stream_data(void *context, uint64_t sid, NrBytes data) {
    (void)context;
    (void)sid;
    (void)data;
    return NR_UNSUPPORTED;
}

static NrStatus floor_stream_close(void *context, uint64_t sid) {
    (void)context;
    (void)sid;
    return NR_UNSUPPORTED;
}

static const NrPluginVTable functions = {
    .init = floor_init,
    .handle = floor_handle,
    .shutdown = floor_shutdown,
    .stream_data = floor_stream_data,
    .stream_close = floor_stream_close,
};

static const NrPluginInfo info = {
    .abi_version = NR_ABI_V1,
    .struct_size = sizeof info,
    .name = {.ptr = (const uint8_t *)"floor", .len = 5},
    .version = {.ptr = (const uint8_t *)"1", .len = 1},
    .plugin_ctx = (void *)(uintptr_t)&functions,
    .vtable = &functions,
};

__attribute__((visibility("default"))) const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    return &info;
}
