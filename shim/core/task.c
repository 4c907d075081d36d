#include "task.h"

#include "module.h"

/* "entry#sid": what asyncio.current_task().get_name() tells. */
static PyObject *task_name(const nrpy_exchange *exchange) {
    char digits[24];
    char *end = digits + sizeof digits;
    char *at = end;
    uint64_t left = exchange->sid;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    *--at = '#';
    PyObject *number = PyUnicode_FromStringAndSize(at, end - at);
    PyObject *name = number != NULL ? PyUnicode_Concat(exchange->entry->name_object, number) : NULL;
    Py_XDECREF(number);
    return name;
}

static PyObject *new_task(nrpy_runner *runner, PyObject *context) {
    PyObject *name = task_name(runner->exchange);
    PyObject *task = NULL;
    if (name != NULL) {
        PyObject *arguments[] = {(PyObject *)runner, nrpy_runner_loop(runner)->event_loop, name, context, Py_True};
        task = PyObject_Vectorcall(nrpy_names.task_type, arguments, 1, nrpy_names.task_keywords);
        Py_DECREF(name);
    }
    return task;
}

#if PY_VERSION_HEX >= 0x030c0000

static PyObject *start_in(nrpy_runner *runner, PyObject *context) {
    return new_task(runner, context); /* with eager_start */
}

#else

/*
 * 3.11 has no eager_start, and the event loop's next round, by some thirty lines of Python, is most of what a task costs.
 * So while a task is made its loop's call_soon is ours: it keeps the first step, which then runs here.
 */
typedef struct first_step {
    PyObject *context;   /* the task's: by it the step is known */
    PyObject *call_soon; /* the event loop's own */
    PyObject *step;      /* owned; NULL: not seen yet */
} first_step;

static _Thread_local first_step *awaited;

static PyObject *keep_step(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)self;
    first_step *first = awaited;
    if (first == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "call_soon() belongs to the event loop's thread: from another one it is "
                                            "call_soon_threadsafe()");
        return NULL;
    }
    bool has_context = keywords != NULL && PyTuple_GET_SIZE(keywords) == 1 && args[count] == first->context;
    if (count == 1 && has_context && first->step == NULL) {
        first->step = Py_NewRef(args[0]);
        Py_RETURN_NONE;
    }
    return PyObject_Vectorcall(first->call_soon, args, (size_t)count, keywords); /* of a finalizer, in between */
}

static PyMethodDef keep_step_method = {"call_soon", (PyCFunction)(void (*)(void))keep_step,
                                       METH_FASTCALL | METH_KEYWORDS, "Keeps the first step of a task."};

/* Puts what was there back, with whatever exception is set. */
static void restore(PyObject *fields, PyObject *name, PyObject *before) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if ((before != NULL ? PyDict_SetItem(fields, name, before) : PyDict_DelItem(fields, name)) != 0) {
        PyErr_WriteUnraisable(NULL);
    }
    PyErr_Restore(type, value, traceback);
}

static PyObject *new_task_with_step(nrpy_runner *runner, first_step *first, PyObject *keeper, PyObject *name) {
    PyObject *event_loop = nrpy_runner_loop(runner)->event_loop;
    PyObject *fields = PyObject_GenericGetDict(event_loop, NULL);
    PyObject *before = fields != NULL ? Py_XNewRef(PyDict_GetItemWithError(fields, name)) : NULL;
    PyObject *task = NULL;
    first->call_soon = fields != NULL && !PyErr_Occurred() ? PyObject_GetAttr(event_loop, name) : NULL;
    if (first->call_soon != NULL && PyDict_SetItem(fields, name, keeper) == 0) {
        awaited = first;
        task = new_task(runner, first->context);
        awaited = NULL;
        restore(fields, name, before);
    }
    Py_XDECREF(first->call_soon);
    Py_XDECREF(before);
    Py_XDECREF(fields);
    return task;
}

/* What a call raises, its runner has taken. Returns 0, or -1 where there was no memory for the step: the exception is set. */
static int run_step(const first_step *first) {
    PyObject *done = NULL;
    if (PyContext_Enter(first->context) == 0) {
        done = PyObject_CallNoArgs(first->step);
        if (PyContext_Exit(first->context) != 0) {
            Py_CLEAR(done);
        }
    }
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* Its step will not come again, and nobody wakes it. Takes the task; the exception stays set. */
static void drop_task(PyObject *task) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_DECREF(task);
    PyErr_Restore(type, value, traceback);
}

static PyObject *start_in(nrpy_runner *runner, PyObject *context) {
    static PyObject *keeper, *name; /* for the life of the process; GIL */
    keeper = keeper != NULL ? keeper : PyCFunction_New(&keep_step_method, NULL);
    name = name != NULL ? name : PyUnicode_InternFromString("call_soon");
    if (keeper == NULL || name == NULL) {
        return NULL;
    }
    first_step first = {.context = context};
    PyObject *task = new_task_with_step(runner, &first, keeper, name);
    if (task != NULL && first.step != NULL && run_step(&first) != 0) {
        if (runner->coroutine != NULL) {
            drop_task(task);
            task = NULL;
        } else {
            PyErr_WriteUnraisable(first.step);
        }
    }
    Py_XDECREF(first.step);
    return task;
}

#endif

PyObject *nrpy_task_start(nrpy_runner *runner) {
    PyObject *context = PyContext_New();
    PyObject *task = context != NULL ? start_in(runner, context) : NULL;
    Py_XDECREF(context);
    return task;
}
