#include "task.h"

#include "module.h"
#include "task_type.h"

/* asyncio.Task's keyword arguments. Its name comes later: task_type.h. New reference, or NULL with an exception set. */
static PyObject *keywords_of(const nrpy_runner *runner) {
    PyObject *names = nrpy_names.task_keywords;
    PyObject *values[] = {runner->loop->event_loop, nrpy_names.no_name, runner->context, Py_True};
    PyObject *keywords = PyDict_New();
    for (Py_ssize_t i = 0; keywords != NULL && i < PyTuple_GET_SIZE(names); i++) {
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), values[i]) != 0) {
            Py_CLEAR(keywords);
        }
    }
    return keywords;
}

/* Returns 0, or -1 with an exception set. */
static int init(nrpy_runner *runner) {
    PyObject *arguments = PyTuple_Pack(1, (PyObject *)runner);
    PyObject *keywords = keywords_of(runner);
    int failed = -1;
    if (arguments != NULL && keywords != NULL) {
        failed = nrpy_task_init(runner->task, arguments, keywords);
    }
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return failed;
}

#if PY_VERSION_HEX >= 0x030c0000

static int start(nrpy_runner *runner) {
    return init(runner); /* with eager_start */
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

static int init_with_step(nrpy_runner *runner, first_step *first, PyObject *keeper, PyObject *name) {
    PyObject *event_loop = runner->loop->event_loop;
    PyObject *fields = PyObject_GenericGetDict(event_loop, NULL);
    PyObject *before = fields != NULL ? Py_XNewRef(PyDict_GetItemWithError(fields, name)) : NULL;
    int failed = -1;
    first->call_soon = fields != NULL && !PyErr_Occurred() ? PyObject_GetAttr(event_loop, name) : NULL;
    if (first->call_soon != NULL && PyDict_SetItem(fields, name, keeper) == 0) {
        awaited = first;
        failed = init(runner);
        awaited = NULL;
        restore(fields, name, before);
    }
    Py_XDECREF(first->call_soon);
    Py_XDECREF(before);
    Py_XDECREF(fields);
    return failed;
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

static int start(nrpy_runner *runner) {
    static PyObject *keeper, *name; /* for the life of the process; GIL */
    keeper = keeper != NULL ? keeper : PyCFunction_New(&keep_step_method, NULL);
    name = name != NULL ? name : PyUnicode_InternFromString("call_soon");
    if (keeper == NULL || name == NULL) {
        return -1;
    }
    first_step first = {.context = runner->context};
    int failed = init_with_step(runner, &first, keeper, name);
    if (failed == 0 && first.step == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop was not asked for the first step of a task");
        failed = -1;
    }
    failed = failed == 0 ? run_step(&first) : failed;
    Py_XDECREF(first.step);
    return failed;
}

#endif

int nrpy_task_start(nrpy_runner *runner) {
    runner->context = PyContext_New();
    runner->task = runner->context != NULL ? nrpy_task_new() : NULL;
    PyObject *task = Py_XNewRef(runner->task); /* the runner lets go of it where its first step is its last */
    int failed = task != NULL ? start(runner) : -1;
    PyObject *failure = failed != 0 ? nrpy_take_exception() : NULL;
    Py_XDECREF(task);
    if (failure != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        Py_DECREF(failure);
    }
    return failed;
}
