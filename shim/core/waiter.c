#include "waiter.h"

#include "module.h"
#include "threads.h"

#include <stdbool.h>

/* How often a task is woken again that there was no memory to wake. */
enum { TRIES = 100 };

typedef struct {
    PyObject_HEAD
    PyObject *event_loop; /* owned */
    PyObject *callback;   /* the task's, while it waits; owned */
    PyObject *context;    /* to run it in; owned */
    bool is_blocking;     /* asyncio: it was yielded by an await, and the task has not seen it yet */
    bool is_done;
    bool is_cancelled;
} waiter;

PyObject *nrpy_waiter_new(PyObject *event_loop) {
    waiter *self = PyObject_GC_New(waiter, &nrpy_waiter_type);
    if (self != NULL) {
        self->event_loop = Py_NewRef(event_loop);
        self->callback = self->context = NULL;
        self->is_blocking = self->is_done = self->is_cancelled = false;
        PyObject_GC_Track((PyObject *)self);
    }
    return (PyObject *)self;
}

void nrpy_waiter_begin(PyObject *object) {
    waiter *self = (waiter *)object;
    self->is_blocking = true;
    self->is_done = self->is_cancelled = false;
}

static PyObject *call_in(PyObject *context, PyObject *callback, PyObject *argument) {
    PyObject *result = NULL;
    if (PyContext_Enter(context) == 0) {
        result = PyObject_CallOneArg(callback, argument);
        if (PyContext_Exit(context) != 0) {
            Py_CLEAR(result);
        }
    }
    return result;
}

PyObject *nrpy_waiter_wake(PyObject *object) {
    waiter *self = (waiter *)object;
    if (self->is_done || self->callback == NULL) {
        Py_RETURN_NONE; /* cancelled meanwhile, or not waited for yet: the task looks by itself */
    }
    PyObject *callback = self->callback;
    PyObject *context = self->context;
    self->callback = self->context = NULL;
    self->is_done = true;
    PyObject *result = call_in(context, callback, object);
    for (int tries = 1; result == NULL && tries < TRIES && PyErr_ExceptionMatches(PyExc_MemoryError); tries++) {
        PyErr_Clear();
        PyThreadState *state = PyEval_SaveThread();
        nrpy_rest_for_memory(); /* nobody else would ever wake the task */
        PyEval_RestoreThread(state);
        result = call_in(context, callback, object);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return result;
}

/* ---- what a task asks of a future ---- */

static PyObject *get_loop(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return Py_NewRef(((waiter *)object)->event_loop);
}

/* add_done_callback(callback, *, context=None) */
static PyObject *add_done_callback(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    waiter *self = (waiter *)object;
    Py_ssize_t named = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    bool has_context = named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "context") == 0;
    if (count != 1 || (named > 0 && !has_context)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback() takes a callback, and by its name a context");
        return NULL;
    }
    PyObject *callback = args[0];
    PyObject *context = has_context ? args[1] : NULL;
    if (self->callback != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "another task waits for this stream already");
        return NULL;
    }
    self->context = context != NULL && context != Py_None ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (self->context == NULL) {
        return NULL;
    }
    self->callback = Py_NewRef(callback);
    Py_RETURN_NONE;
}

static PyObject *remove_done_callback(PyObject *object, PyObject *callback) {
    waiter *self = (waiter *)object;
    int same = self->callback != NULL ? PyObject_RichCompareBool(self->callback, callback, Py_EQ) : 0;
    if (same < 0) {
        return NULL;
    }
    if (same) {
        Py_CLEAR(self->callback);
        Py_CLEAR(self->context);
    }
    return PyLong_FromLong(same);
}

/* The task is to go on with a CancelledError, in the event loop's next round. */
static PyObject *cancel(PyObject *object, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs; /* a message, which asyncio carries in the task */
    waiter *self = (waiter *)object;
    if (self->is_done) {
        Py_RETURN_FALSE;
    }
    self->is_done = self->is_cancelled = true;
    if (self->callback == NULL) {
        Py_RETURN_TRUE;
    }
    PyObject *method = PyObject_GetAttrString(self->event_loop, "call_soon");
    PyObject *arguments[] = {self->callback, object, self->context};
    PyObject *handle = method != NULL ? PyObject_Vectorcall(method, arguments, 2, nrpy_names.context_keyword) : NULL;
    Py_XDECREF(method);
    if (handle == NULL) {
        self->is_done = self->is_cancelled = false; /* it waits on, and can be woken */
        return NULL;
    }
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    Py_DECREF(handle);
    Py_RETURN_TRUE;
}

static PyObject *result(PyObject *object, PyObject *ignored) {
    (void)ignored;
    waiter *self = (waiter *)object;
    if (self->is_cancelled) {
        PyErr_SetNone(nrpy_names.cancelled_error);
        return NULL;
    }
    if (!self->is_done) {
        PyErr_SetString(PyExc_RuntimeError, "the stream has nothing yet");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *is_done(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return PyBool_FromLong(((waiter *)object)->is_done);
}

static PyObject *is_cancelled(PyObject *object, PyObject *ignored) {
    (void)ignored;
    return PyBool_FromLong(((waiter *)object)->is_cancelled);
}

static PyObject *get_blocking(PyObject *object, void *closure) {
    (void)closure;
    return PyBool_FromLong(((waiter *)object)->is_blocking);
}

static int set_blocking(PyObject *object, PyObject *value, void *closure) {
    (void)closure;
    int blocking = value != NULL ? PyObject_IsTrue(value) : 0;
    ((waiter *)object)->is_blocking = blocking > 0;
    return blocking < 0 ? -1 : 0;
}

static int waiter_traverse(PyObject *object, visitproc visit, void *arg) {
    waiter *self = (waiter *)object;
    Py_VISIT(self->event_loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    return 0;
}

static int waiter_clear(PyObject *object) {
    waiter *self = (waiter *)object;
    Py_CLEAR(self->event_loop);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    return 0;
}

static void waiter_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    waiter_clear(object);
    PyObject_GC_Del(object);
}

static PyMethodDef methods[] = {
    {"get_loop", get_loop, METH_NOARGS, "As a future's."},
    {"add_done_callback", (PyCFunction)(void (*)(void))add_done_callback, METH_FASTCALL | METH_KEYWORDS,
     "As a future's."},
    {"remove_done_callback", remove_done_callback, METH_O, "As a future's."},
    {"cancel", (PyCFunction)(void (*)(void))cancel, METH_VARARGS | METH_KEYWORDS, "As a future's."},
    {"result", result, METH_NOARGS, "As a future's."},
    {"done", is_done, METH_NOARGS, "As a future's."},
    {"cancelled", is_cancelled, METH_NOARGS, "As a future's."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, "As a future's.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject nrpy_waiter_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py._core.Waiter",
    .tp_doc = "What a task that waits for its stream is suspended on.",
    .tp_basicsize = sizeof(waiter),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = waiter_dealloc,
    .tp_traverse = waiter_traverse,
    .tp_clear = waiter_clear,
    .tp_methods = methods,
    .tp_getset = fields,
};
