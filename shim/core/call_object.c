#include "call_object.h"

#include "callback.h"
#include "exchange.h"
#include "instance.h"
#include "module.h"
#include "runner.h"
#include "threads.h"

typedef struct {
    PyObject_HEAD
    nrpy_exchange *exchange; /* a reference; NULL: a plain call in a thread's slot, which follows */
    nrpy_instance *instance; /* a reference */
    nrpy_thread *thread;     /* never unmapped */
    uint64_t word;           /* what the slot held when the call was at work */
    uint64_t sid;
    PyObject *entry; /* owned */
} call;

static PyObject *new_call(nrpy_exchange *exchange, nrpy_thread *thread, const nrpy_entry *entry) {
    call *self = PyObject_New(call, &nrpy_call_type);
    if (self == NULL) {
        return NULL;
    }
    self->exchange = exchange;
    self->instance = NULL;
    if (exchange != NULL) {
        nrpy_exchange_retain(exchange);
        self->sid = exchange->sid;
    } else {
        self->instance = atomic_load(&thread->running.instance);
        nrpy_instance_retain(self->instance);
        self->thread = thread;
        self->word = atomic_load(&thread->running.word);
        self->sid = atomic_load(&thread->running.sid);
    }
    self->entry = PyUnicode_DecodeUTF8(entry->name, (Py_ssize_t)entry->length, NULL);
    if (self->entry == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

PyObject *nrpy_current_call(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    PyObject *holder = NULL; /* a runner of the event loops, or the callback of a call in an executor */
    if (nrpy_names.call_variable != NULL && PyContextVar_Get(nrpy_names.call_variable, NULL, &holder) != 0) {
        return NULL;
    }
    nrpy_exchange *own = holder == NULL                            ? NULL
                         : Py_IS_TYPE(holder, &nrpy_callback_type) ? nrpy_callback_exchange(holder)
                                                                   : ((nrpy_runner *)holder)->exchange;
    if (own != NULL) {
        PyObject *found = new_call(own, NULL, own->entry);
        Py_DECREF(holder);
        return found;
    }
    Py_XDECREF(holder); /* a finalizer's, that runs between a task's calls */
    nrpy_thread *thread = nrpy_thread_self();
    nrpy_exchange *exchange = thread != NULL ? atomic_load(&thread->exchange) : NULL;
    if (exchange != NULL) {
        return new_call(exchange, NULL, exchange->entry);
    }
    if (thread != NULL && (atomic_load(&thread->running.word) & NRPY_STATE_MASK) != NRPY_IDLE) {
        return new_call(NULL, thread, thread->running.entry);
    }
    PyErr_SetString(PyExc_LookupError,
                    "current_call(): no handler is at work here. Ask in the handler, or in a task or thread that it "
                    "has started with its context (asyncio.create_task, asyncio.to_thread)");
    return NULL;
}

static void call_dealloc(PyObject *object) {
    call *self = (call *)object;
    if (self->exchange != NULL) {
        nrpy_exchange_release(self->exchange);
    }
    if (self->instance != NULL) {
        nrpy_instance_release(self->instance);
    }
    Py_XDECREF(self->entry);
    PyObject_Free(object);
}

static PyObject *get_sid(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(((call *)object)->sid);
}

static PyObject *get_entry(PyObject *object, void *closure) {
    (void)closure;
    return Py_NewRef(((call *)object)->entry);
}

static PyObject *get_cancelled(PyObject *object, void *closure) {
    (void)closure;
    call *self = (call *)object;
    bool cancelled;
    if (self->exchange != NULL) {
        cancelled = nrpy_exchange_is_cancelled(self->exchange) || !nrpy_is_open(self->exchange->instance);
    } else {
        cancelled = atomic_load(&self->thread->running.word) != self->word || !nrpy_is_open(self->instance);
    }
    return PyBool_FromLong(cancelled);
}

static PyObject *call_repr(PyObject *object) {
    call *self = (call *)object;
    return PyUnicode_FromFormat("<Call entry=%R sid=%llu>", self->entry, (unsigned long long)self->sid);
}

static PyGetSetDef fields[] = {
    {"sid", get_sid, NULL, "The host's number for this call.", NULL},
    {"entry", get_entry, NULL, "The name of the entry that was called.", NULL},
    {"cancelled", get_cancelled, NULL, "Whether nobody wants the answer any more.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject nrpy_call_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py.Call",
    .tp_doc = "One call, for the code that works for it.",
    .tp_basicsize = sizeof(call),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = call_dealloc,
    .tp_repr = call_repr,
    .tp_getset = fields,
};
