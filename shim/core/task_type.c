#include "task_type.h"

#include "exchange.h"
#include "module.h"
#include "runner.h"

/* asyncio's fields come first, and their size is asyncio's affair: looked up once, with the type. GIL. */
static PyTypeObject *base_type;
static PyObject *base_done;

nrpy_task_marks *nrpy_task_marks_of(PyObject *task) {
    return (nrpy_task_marks *)(void *)((char *)task + base_type->tp_basicsize);
}

/* Names it "entry#sid". Returns 0, or -1 with an exception set. */
static int name_by(PyObject *task, const nrpy_exchange *exchange) {
    PyObject *entry = PyUnicode_DecodeUTF8(exchange->entry->name, (Py_ssize_t)exchange->entry->length, "replace");
    PyObject *name = entry != NULL ? PyUnicode_FromFormat("%U#%llu", entry, (unsigned long long)exchange->sid) : NULL;
    PyObject *done = name != NULL ? PyObject_CallMethod(task, "set_name", "O", name) : NULL;
    Py_XDECREF(entry);
    Py_XDECREF(name);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* Names it by its call, if it has one. Likewise. */
static int give_name(PyObject *task) {
    PyObject *runner = PyObject_CallMethod(task, "get_coro", NULL);
    if (runner == NULL) {
        return -1;
    }
    bool is_ours = Py_IS_TYPE(runner, &nrpy_runner_type); /* asyncio lets go of it at the end, from 3.12 on */
    const nrpy_exchange *exchange = is_ours ? ((nrpy_runner *)runner)->exchange : NULL;
    int failed = exchange != NULL ? name_by(task, exchange) : 0;
    Py_DECREF(runner);
    return failed;
}

int nrpy_task_look(PyObject *task) {
    nrpy_task_marks *marks = nrpy_task_marks_of(task);
    if (marks->is_seen) {
        return 0;
    }
    marks->is_seen = true;
    if (give_name(task) != 0) {
        marks->is_seen = false;
        return -1;
    }
    return 0;
}

static PyObject *task_getattro(PyObject *task, PyObject *name) {
    return nrpy_task_look(task) == 0 ? PyObject_GenericGetAttr(task, name) : NULL;
}

static int task_setattro(PyObject *task, PyObject *name, PyObject *value) {
    return nrpy_task_look(task) == 0 ? PyObject_GenericSetAttr(task, name, value) : -1;
}

/* The call is done, and so its task is: asyncio.all_tasks() leaves it out. */
static PyObject *task_done(PyObject *task, PyObject *ignored) {
    (void)ignored;
    if (nrpy_task_marks_of(task)->is_resting) {
        Py_RETURN_TRUE;
    }
    return PyObject_CallOneArg(base_done, task);
}

static PyMethodDef methods[] = {
    {"done", task_done, METH_NOARGS, "Return True if the task is done: its call has its result."},
    {NULL, NULL, 0, NULL},
};

PyObject *nrpy_task_type_new(PyObject *base) {
    PyType_Slot slots[] = {
        {Py_tp_doc, "The task of a call."},
        {Py_tp_getattro, (void *)task_getattro},
        {Py_tp_setattro, (void *)task_setattro},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "nylon_ring_py._core.Task",
        .basicsize = (int)(((PyTypeObject *)base)->tp_basicsize + (Py_ssize_t)sizeof(nrpy_task_marks)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    PyObject *done = PyObject_GetAttrString(base, "done");
    PyObject *type = done != NULL ? PyType_FromSpecWithBases(&spec, base) : NULL;
    if (type == NULL) {
        Py_XDECREF(done);
        return NULL;
    }
    Py_XSETREF(base_type, (PyTypeObject *)Py_NewRef(base)); /* of a try that then lacked memory for something else */
    Py_XSETREF(base_done, done);
    return type;
}

PyObject *nrpy_task_new(void) {
    PyTypeObject *type = (PyTypeObject *)nrpy_names.task_type;
    PyObject *task = type->tp_alloc(type, 0);
    if (task != NULL) {
        nrpy_task_marks_of(task)->is_seen = true;
    }
    return task;
}

int nrpy_task_init(PyObject *task, PyObject *arguments, PyObject *keywords) {
    return base_type->tp_init(task, arguments, keywords);
}

int nrpy_task_weakrefs(PyObject *task) {
    const PyWeakReference *first = *(PyWeakReference **)(void *)((char *)task + Py_TYPE(task)->tp_weaklistoffset);
    return first == NULL ? 0 : first->wr_next == NULL ? 1 : 2;
}
