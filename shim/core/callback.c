#include "callback.h"

#include "burst.h"
#include "forked.h"
#include "module.h"
#include "reply.h"
#include "status.h"

typedef struct {
    PyObject_HEAD
    nrpy_exchange *exchange; /* a reference */
} callback;

PyObject *nrpy_callback_new(nrpy_exchange *exchange) {
    callback *self = PyObject_New(callback, &nrpy_callback_type);
    if (self != NULL) {
        nrpy_exchange_retain(exchange);
        self->exchange = exchange;
    }
    return (PyObject *)self;
}

nrpy_exchange *nrpy_callback_exchange(PyObject *object) {
    return ((callback *)object)->exchange;
}

/* Runs wherever the last reference goes, so a worker does the sending. */
static void callback_dealloc(PyObject *object) {
    static const char unanswered[] = "the handler dropped its callback without an answer";
    nrpy_exchange *exchange = ((callback *)object)->exchange;
    if (!exchange->is_stream && !nrpy_exchange_has_ended(exchange)) {
        nrpy_exchange_send(exchange, NR_ERR, unanswered, sizeof unanswered - 1, false);
    }
    nrpy_exchange_release(exchange);
    PyObject_Free(object);
}

int nrpy_exchange_answer(nrpy_exchange *exchange, PyObject *data, int status) {
    nrpy_reply reply;
    if (nrpy_reply_from_data(&reply, data, status) != 0) {
        return -1;
    }
    nrpy_thread *thread = nrpy_thread_self();
    bool may_send = thread != NULL && nrpy_may_send(thread, exchange->instance, exchange->sid);
    bool needs_room = !nrpy_exchange_is_terminal(exchange, reply.status);
    if (needs_room && !nrpy_may_wait_long(thread) && !nrpy_exchange_has_room(exchange)) {
        const char *whose = thread != NULL && thread->runs_loop ? "an event loop's" : "one of the host's";
        PyErr_Format(nrpy_names.stream_full_error,
                     "the host has left the last %d frames of sid %llu waiting, and this thread is %s, "
                     "which must not wait for it: send from a worker, or from a thread of your own",
                     (int)nrpy_exchange_max_buffered(exchange), (unsigned long long)exchange->sid, whose);
        nrpy_reply_clear(&reply);
        return -1;
    }
    PyThreadState *state = PyEval_SaveThread();
    if (needs_room) {
        nrpy_exchange_wait_for_room(exchange);
    }
    nrpy_burst_flush(exchange);
    bool taken = nrpy_exchange_send(exchange, reply.status, reply.bytes, reply.length, may_send);
    nrpy_back_from_host(state);
    nrpy_reply_clear(&reply);
    return taken;
}

static PyObject *callback_call(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"data", "status", NULL};
    PyObject *data = Py_None;
    PyObject *status_object = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:Callback", names, &data, &status_object)) {
        return NULL;
    }
    int status = -1;
    if (status_object != NULL && status_object != Py_None) {
        status = nrpy_status_from(status_object);
        if (status < 0) {
            return NULL;
        }
    }
    int taken = nrpy_exchange_answer(((callback *)object)->exchange, data, status);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *get_sid(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(((callback *)object)->exchange->sid);
}

static PyObject *get_cancelled(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(nrpy_exchange_is_cancelled(((callback *)object)->exchange));
}

/* What runs in the current context from now on works for this call, whatever the thread: so current_call() says. */
static PyObject *enter(PyObject *object, PyObject *ignored) {
    (void)ignored;
    PyObject *token = PyContextVar_Set(nrpy_names.call_variable, object);
    Py_XDECREF(token);
    return token != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef methods[] = {
    {"_enter", enter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"cancelled", get_cancelled, NULL, "Whether nobody wants the answer any more.", NULL},
    {"sid", get_sid, NULL, "The host's number for the call this answers.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject nrpy_callback_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.Callback",
    .tp_doc = "Answers one call, from any thread, now or later.",
    .tp_basicsize = sizeof(callback),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = callback_dealloc,
    .tp_call = callback_call,
    .tp_methods = methods,
    .tp_getset = fields,
};
