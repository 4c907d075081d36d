#include "instance_object.h"

#include "callback.h"
#include "exchange.h"
#include "forked.h"
#include "instance.h"
#include "module.h"
#include "reply.h"
#include "stats.h"
#include "status.h"

#include <stdlib.h>

typedef struct {
    PyObject_HEAD
    nrpy_instance *instance; /* a reference */
} instance_object;

PyObject *nrpy_instance_object_new(nrpy_instance *instance) {
    instance_object *self = PyObject_New(instance_object, &nrpy_instance_type);
    if (self != NULL) {
        nrpy_instance_retain(instance);
        self->instance = instance;
    }
    return (PyObject *)self;
}

static void instance_dealloc(PyObject *object) {
    nrpy_instance_release(((instance_object *)object)->instance);
    PyObject_Free(object);
}

static nrpy_instance *instance_in(PyObject *object) {
    return ((instance_object *)object)->instance;
}

/* For PyArg_ParseTuple's O&: an int outside u64 raises, it does not wrap around to somebody else's sid. */
static int convert_sid(PyObject *object, void *sid) {
    unsigned long long value = PyLong_AsUnsignedLongLong(object);
    *(unsigned long long *)sid = value;
    return !(value == (unsigned long long)-1 && PyErr_Occurred());
}

/* ---- send_result ---- */

/* The call that runs on some thread under `sid`. Returns 1, 0 where there is none, or -1 raising. */
static int answer_running(nrpy_instance *instance, uint64_t sid, PyObject *data, int status) {
    nrpy_reply reply;
    if (nrpy_reply_from_data(&reply, data, status) != 0) {
        return -1;
    }
    int answered = nrpy_answer_running(instance, sid, &reply);
    nrpy_reply_clear(&reply);
    if (answered < 0) {
        PyErr_NoMemory();
    }
    return answered;
}

static PyObject *send_result(PyObject *object, PyObject *args) {
    unsigned long long sid;
    PyObject *status_object;
    PyObject *data = Py_None;
    if (!PyArg_ParseTuple(args, "O&O|O:send_result", convert_sid, &sid, &status_object, &data)) {
        return NULL;
    }
    int status = status_object != Py_None ? nrpy_status_from(status_object) : -1;
    if (status < 0 && PyErr_Occurred()) {
        return NULL;
    }
    nrpy_instance *instance = instance_in(object);
    nrpy_exchange *exchange = nrpy_registry_find(&instance->registry, sid);
    int taken;
    if (exchange != NULL) {
        taken = nrpy_exchange_answer(exchange, data, status);
        nrpy_exchange_release(exchange);
    } else {
        taken = answer_running(instance, sid, data, status);
        if (taken == 0) {
            if (sid > atomic_load(&instance->highest_sid)) {
                PyErr_Format(PyExc_LookupError, "no call with sid %llu has begun in this plugin", sid);
                return NULL;
            }
            atomic_fetch_add(&instance->late_replies, 1);
        }
    }
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

/* ---- state ---- */

static int check_open(nrpy_instance *instance, uint64_t sid) {
    if (!nrpy_is_sid_open(instance, sid)) {
        PyErr_Format(nrpy_names.call_ended_error,
                     "state of sid %llu cannot be set: its call has ended, or never began in this plugin",
                     (unsigned long long)sid);
        return -1;
    }
    return 0;
}

static PyObject *host_gone(void) {
    PyErr_SetString(nrpy_names.call_ended_error, "the host has shut this plugin down");
    return NULL;
}

static PyObject *state_set(PyObject *object, PyObject *args) {
    nrpy_instance *instance = instance_in(object);
    unsigned long long sid;
    const char *key;
    Py_ssize_t key_length;
    Py_buffer value;
    if (!PyArg_ParseTuple(args, "O&s#y*:state_set", convert_sid, &sid, &key, &key_length, &value)) {
        return NULL;
    }
    PyObject *result = NULL;
    if (check_open(instance, sid) != 0) {
        goto done;
    }
    if (instance->state_ext == NULL) {
        bool stored = nrpy_state_set(&instance->state, sid, key, (size_t)key_length, value.buf, (size_t)value.len);
        result = stored ? Py_NewRef(Py_None) : PyErr_NoMemory();
        goto done;
    }
    NrStr name = {.ptr = (const uint8_t *)key, .len = (uint32_t)key_length};
    NrBytes bytes = {.ptr = value.buf, .len = (uint64_t)value.len};
    nrpy_visit visit;
    NrBytes answer = {.ptr = NULL, .len = 0};
    PyThreadState *state = PyEval_SaveThread();
    bool visiting = nrpy_visit_begin(&visit, instance);
    if (visiting) {
        answer = instance->state_ext->set_state(instance->host.ctx, sid, name, bytes);
        nrpy_visit_end(&visit);
    }
    nrpy_back_from_host(state);
    if (!visiting) {
        host_gone();
    } else if (answer.len != 0) {
        PyErr_Format(PyExc_RuntimeError, "the host refused to keep state '%s' for sid %llu", key, sid);
    } else {
        result = Py_NewRef(Py_None);
    }
done:
    PyBuffer_Release(&value);
    return result;
}

/* A copy of what the host keeps; it is made before the host is left, since the view may not outlive it. Must not hold
 * the GIL. Returns false where the host is gone. */
static bool copy_host_state(nrpy_instance *instance, uint64_t sid, NrStr name, void **copy, size_t *length,
                            bool *no_memory) {
    nrpy_visit visit;
    if (!nrpy_visit_begin(&visit, instance)) {
        return false;
    }
    NrBytes found = instance->state_ext->get_state(instance->host.ctx, sid, name);
    if (found.len > 0) {
        *copy = malloc(found.len);
        *no_memory = *copy == NULL;
        if (*copy != NULL) {
            memcpy(*copy, found.ptr, found.len);
            *length = found.len;
        }
    }
    nrpy_visit_end(&visit);
    return true;
}

static PyObject *state_get(PyObject *object, PyObject *args) {
    nrpy_instance *instance = instance_in(object);
    unsigned long long sid;
    const char *key;
    Py_ssize_t key_length;
    if (!PyArg_ParseTuple(args, "O&s#:state_get", convert_sid, &sid, &key, &key_length)) {
        return NULL;
    }
    void *copy = NULL;
    size_t length = 0;
    bool no_memory = false;
    if (instance->state_ext == NULL) {
        copy = nrpy_state_get(&instance->state, sid, key, (size_t)key_length, &length, &no_memory);
    } else {
        NrStr name = {.ptr = (const uint8_t *)key, .len = (uint32_t)key_length};
        PyThreadState *state = PyEval_SaveThread();
        bool there = copy_host_state(instance, sid, name, &copy, &length, &no_memory);
        nrpy_back_from_host(state);
        if (!there) {
            return host_gone();
        }
    }
    if (no_memory) {
        return PyErr_NoMemory();
    }
    PyObject *value = copy != NULL ? PyBytes_FromStringAndSize(copy, (Py_ssize_t)length) : Py_NewRef(Py_None);
    free(copy);
    return value;
}

static PyObject *get_stats(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return nrpy_stats(instance_in(object));
}

static PyObject *get_late_replies(PyObject *object, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(atomic_load(&instance_in(object)->late_replies));
}

static PyObject *get_keeps_state_in_host(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(instance_in(object)->state_ext != NULL);
}

static PyMethodDef methods[] = {
    {"send_result", send_result, METH_VARARGS, "send_result(sid, status, data=None) -> bool"},
    {"stats", get_stats, METH_NOARGS, "stats() -> dict"},
    {"state_set", state_set, METH_VARARGS, "state_set(sid, key, value)"},
    {"state_get", state_get, METH_VARARGS, "state_get(sid, key) -> bytes | None"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"late_replies", get_late_replies, NULL, "Replies that came after their call had ended.", NULL},
    {"keeps_state_in_host", get_keeps_state_in_host, NULL, "Whether the host keeps the state per sid.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject nrpy_instance_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py._core.Instance",
    .tp_doc = "One loaded plugin, as the core sees it.",
    .tp_basicsize = sizeof(instance_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = instance_dealloc,
    .tp_methods = methods,
    .tp_getset = fields,
};
