#include "task_type.h"

#include "exchange.h"
#include "module.h"
#include "runner.h"

/* asyncio's fields come first, and their size is asyncio's affair: looked up once, with the type. GIL. */
static PyTypeObject *base_type;

/* Its methods, which are called without asking the task for them: that would be a look. */
static struct {
    PyObject *done, *get_coro, *set_name;
} base;

nrpy_task_marks *nrpy_task_marks_of(PyObject *task) {
    return (nrpy_task_marks *)(void *)((char *)task + base_type->tp_basicsize);
}

/* "entry#sid", on the path of whoever uses asyncio.timeout or TaskGroup. New reference, or NULL with an exception set. */
static PyObject *name_of(const nrpy_exchange *exchange) {
    char text[sizeof "#18446744073709551615" - 1], *const end = text + sizeof text, *begin = end;
    uint64_t left = exchange->sid;
    do {
        *--begin = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    *--begin = '#';
    PyObject *entry = PyUnicode_DecodeUTF8(exchange->entry->name, (Py_ssize_t)exchange->entry->length, "replace");
    PyObject *rest = entry != NULL ? PyUnicode_DecodeUTF8(begin, end - begin, NULL) : NULL;
    PyObject *name = rest != NULL ? PyUnicode_Concat(entry, rest) : NULL;
    Py_XDECREF(rest);
    Py_XDECREF(entry);
    return name;
}

/* Names it by its call, if it has one. Returns 0, or -1 with an exception set. */
static int give_name(PyObject *task) {
    PyObject *runner = PyObject_CallOneArg(base.get_coro, task);
    if (runner == NULL) {
        return -1;
    }
    bool is_ours = Py_IS_TYPE(runner, &nrpy_runner_type); /* asyncio lets go of it at the end, from 3.12 on */
    const nrpy_exchange *exchange = is_ours ? ((nrpy_runner *)runner)->exchange : NULL;
    PyObject *name = exchange != NULL ? name_of(exchange) : NULL;
    PyObject *done = name != NULL ? PyObject_CallFunctionObjArgs(base.set_name, task, name, NULL) : NULL;
    int failed = exchange != NULL && done == NULL ? -1 : 0;
    Py_XDECREF(done);
    Py_XDECREF(name);
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
    return PyObject_CallOneArg(base.done, task);
}

static PyMethodDef methods[] = {
    {"done", task_done, METH_NOARGS, "Return True if the task is done: its call has its result."},
    {NULL, NULL, 0, NULL},
};

PyObject *nrpy_task_type_new(PyObject *asyncio_task) {
    PyType_Slot slots[] = {
        {Py_tp_doc, "The task of a call."},
        {Py_tp_getattro, (void *)task_getattro},
        {Py_tp_setattro, (void *)task_setattro},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "nylon_ring_py._core.Task",
        .basicsize = (int)(((PyTypeObject *)asyncio_task)->tp_basicsize + (Py_ssize_t)sizeof(nrpy_task_marks)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    PyObject *done = PyObject_GetAttrString(asyncio_task, "done");
    PyObject *get_coro = done != NULL ? PyObject_GetAttrString(asyncio_task, "get_coro") : NULL;
    PyObject *set_name = get_coro != NULL ? PyObject_GetAttrString(asyncio_task, "set_name") : NULL;
    PyObject *type = set_name != NULL ? PyType_FromSpecWithBases(&spec, asyncio_task) : NULL;
    if (type == NULL) {
        Py_XDECREF(done);
        Py_XDECREF(get_coro);
        Py_XDECREF(set_name);
        return NULL;
    }
    Py_XSETREF(base_type,
               (PyTypeObject *)Py_NewRef(asyncio_task)); /* of a try that then lacked memory for something else */
    Py_XSETREF(base.done, done);
    Py_XSETREF(base.get_coro, get_coro);
    Py_XSETREF(base.set_name, set_name);
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
