/*
 * The floor: a plain embedding of CPython in C, to hold the plugin's figures against.
 *
 * Nothing is checked: no gate, no promise to the host, no unload. One thread state per thread, made once and kept. The
 * reply is sent with the GIL held. Python is as it comes: a thread that computes is asked for the GIL after 5 ms. Never
 * ship such a thing.
 *
 *   sync   a request object whose fields become Python objects when they are read
 *   raw    bytes in, bytes out
 *   pool   as sync, of a copy of the call, on one worker (queue.h), which holds the GIL until its queue is empty
 *   echo   frames in, the same frames out, inside stream_data
 *   busy   on the worker: sends a frame, and computes until a call of busy_end, which is answered as sync is
 *   owned  v2: as raw; the bytes object itself is given away by send_result_owned
 */
#include "copy.h"
#include "request.h"

#include <stdio.h>
#include <stdlib.h>

enum { SYNC, RAW, POOL, ECHO, BUSY, BUSY_END, OWNED, PEER_ENTRIES };

#define PEER_NAME "floor"
static const char *const peer_entries[PEER_ENTRIES] = {"sync", "raw", "pool", "echo", "busy", "busy_end", "owned"};

#include "exports.h"

static const char source[] = "def echo_request(req):\n"
                             "    return req.body\n"
                             "def echo_bytes(payload):\n"
                             "    return payload\n"
                             "def busy():\n"
                             "    global is_busy\n"
                             "    is_busy = True\n"
                             "    yield b'computing'\n"
                             "    number = 1\n"
                             "    while is_busy:\n"
                             "        number = number * 48271 % 2147483647\n"
                             "def busy_end(req):\n"
                             "    global is_busy\n"
                             "    is_busy = False\n"
                             "    return b''\n";

static PyObject *echo_request, *echo_bytes, *busy, *busy_end; /* set by init */
static const NrHostVTable *host_v1;                           /* set by init; NULL in v2 */
static const NrHostVTableV2 *host_v2;                         /* set by init; NULL in v1 */
static void *host_context;                                    /* set by init */
static queue pool = QUEUE_INITIALIZER;

#define OF_THREAD __thread __attribute__((tls_model("initial-exec")))
static OF_THREAD PyThreadState *own_state;
static OF_THREAD bool has_gil;

static void attach(void) {
    if (__builtin_expect(own_state == NULL, 0)) {
        own_state = PyThreadState_New(PyInterpreterState_Main());
    }
    PyEval_RestoreThread(own_state);
    has_gil = true;
}

static void detach(void) {
    has_gil = false;
    PyEval_SaveThread();
}

/* ---- replies; what touches Python needs the GIL ---- */

static void send_result(uint64_t sid, NrStatus status, uint8_t *data, size_t size) {
    if (host_v1 != NULL) {
        host_v1->send_result(host_context, sid, status, (NrBytes){.ptr = data, .len = size});
    } else {
        (void)host_v2->send_result(host_context, sid, status, (NrVecU8){.ptr = data, .len = size, .cap = size});
    }
}

static void send_bytes(uint64_t sid, PyObject *bytes) {
    send_result(sid, NR_OK, (uint8_t *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* From any thread, inside the send or long after. */
static void release(void *owner, const uint8_t *data, uint64_t size) {
    (void)data;
    (void)size;
    bool is_inside = has_gil;
    if (!is_inside) {
        attach();
    }
    Py_DECREF((PyObject *)owner);
    if (!is_inside) {
        detach();
    }
}

static void send_owned(uint64_t sid, PyObject *bytes) {
    NrOwnedBytes payload = {.ptr = (const uint8_t *)PyBytes_AS_STRING(bytes),
                            .len = (uint64_t)PyBytes_GET_SIZE(bytes),
                            .owner_ctx = Py_NewRef(bytes),
                            .release = release};
    (void)host_v2->send_result_owned(host_context, sid, NR_OK, payload);
}

/* Takes the argument. */
static NrStatus answer(uint64_t sid, PyObject *handler, PyObject *argument, void (*send)(uint64_t, PyObject *)) {
    PyObject *result = argument != NULL ? PyObject_Vectorcall(handler, &argument, 1, NULL) : NULL;
    NrStatus status = result != NULL && PyBytes_CheckExact(result) ? NR_OK : NR_ERR;
    if (status == NR_OK) {
        send(sid, result);
    } else {
        PyErr_Print();
    }
    Py_XDECREF(result);
    Py_XDECREF(argument);
    return status;
}

/* All that a generator yields is bytes. */
static void send_frames(uint64_t sid, PyObject *function) {
    PyObject *frames = PyObject_CallNoArgs(function);
    for (PyObject *frame; frames != NULL && (frame = PyIter_Next(frames)) != NULL; Py_DECREF(frame)) {
        send_bytes(sid, frame);
    }
    bool has_failed = PyErr_Occurred() != NULL;
    if (has_failed) {
        PyErr_Print();
    }
    Py_XDECREF(frames);
    send_result(sid, has_failed ? NR_ERR : NR_STREAM_END, NULL, 0);
}

/* ---- calls ---- */

static void *work(void *unused) {
    (void)unused;
    for (queued *next; (next = queue_take(&pool)) != NULL;) {
        attach();
        while (next != NULL) {
            copied_call *call = (copied_call *)next;
            next = next->next;
            if (call->id == BUSY) {
                send_frames(call->sid, busy);
            } else {
                (void)answer(call->sid, echo_request, request_make(&call->meta, call->body), send_bytes);
            }
            free(call);
        }
        detach();
    }
    return NULL;
}

static NrStatus submit(uint32_t id, uint64_t sid, const NrRequest *meta, NrBytes body) {
    copied_call *call = copy_call(sid, meta, body);
    if (call == NULL) {
        return NR_ERR;
    }
    call->id = id;
    queue_put(&pool, &call->link);
    return NR_OK;
}

static PyObject *bytes_of(NrBytes body) {
    return PyBytes_FromStringAndSize((const char *)body.ptr, (Py_ssize_t)body.len);
}

static NrStatus answer_inside(uint32_t id, uint64_t sid, const NrRequest *meta, NrBytes body) {
    static const NrRequest nothing;
    meta = meta != NULL ? meta : &nothing;
    attach();
    NrStatus status;
    if (id == SYNC || id == BUSY_END) {
        status = answer(sid, id == SYNC ? echo_request : busy_end, request_make(meta, body), send_bytes);
    } else {
        status = answer(sid, echo_bytes, bytes_of(body), id == OWNED ? send_owned : send_bytes);
    }
    detach();
    return status;
}

static NrStatus peer_handle(uint32_t id, uint64_t sid, const NrRequest *meta, NrBytes body) {
    if (id == POOL || id == BUSY) {
        return submit(id, sid, meta, body);
    }
    if (id == ECHO) {
        return NR_OK;
    }
    if (id >= PEER_ENTRIES || (id == OWNED && host_v2 == NULL)) {
        return NR_INVALID;
    }
    return answer_inside(id, sid, meta, body);
}

static NrStatus peer_stream_data(uint64_t sid, NrBytes data) {
    return answer_inside(RAW, sid, NULL, data);
}

static NrStatus peer_stream_close(uint64_t sid) {
    send_result(sid, NR_STREAM_END, NULL, 0);
    return NR_OK;
}

/* ---- its life ---- */

static bool start_python(void) {
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
        return false;
    }
    own_state = PyEval_SaveThread();
    return true;
}

/* Another plugin of the process may have started Python. */
static NrStatus peer_init(void *host_ctx, const NrHostVTable *v1, const NrHostVTableV2 *v2) {
    host_context = host_ctx;
    host_v1 = v1;
    host_v2 = v2;
    if (!Py_IsInitialized() && !start_python()) {
        return NR_ERR;
    }
    attach();
    PyObject *globals = PyDict_New();
    PyObject *done = globals != NULL ? PyRun_String(source, Py_file_input, globals, globals) : NULL;
    bool is_made = done != NULL && request_type_ready();
    if (is_made) {
        echo_request = PyDict_GetItemString(globals, "echo_request");
        echo_bytes = PyDict_GetItemString(globals, "echo_bytes");
        busy = PyDict_GetItemString(globals, "busy");
        busy_end = PyDict_GetItemString(globals, "busy_end");
    } else {
        PyErr_Print();
    }
    detach();
    return is_made && queue_start(&pool, work) ? NR_OK : NR_ERR;
}

static void peer_shutdown(void) {
    queue_stop(&pool);
}
