#include "traces.h"

#include "task_type.h"

/* A context refers to the one below it, while it is entered, and to what is set in it. */
static int find_variables(PyObject *object, void *found) {
    PyObject **variables = found;
    if (!PyContext_CheckExact(object)) {
        *variables = object;
    }
    return 0;
}

static PyObject *variables_of(PyObject *context) {
    PyObject *found = NULL;
    (void)Py_TYPE(context)->tp_traverse(context, find_variables, &found);
    return found;
}

PyObject *nrpy_context_variables(PyObject *context) {
    return Py_XNewRef(variables_of(context));
}

bool nrpy_is_as_new(const nrpy_runner *runner) {
    enum {
        OF_RUNNER = 3,    /* the task's, the context's, the caller's */
        OF_VARIABLES = 2, /* the context's, the runner's: so it is not gone, with another one in its place */
    };
    return !nrpy_task_marks_of(runner->task)->is_seen && !runner->is_kept && runner->variables != NULL &&
           variables_of(runner->context) == runner->variables && Py_REFCNT(runner->variables) == OF_VARIABLES &&
           Py_REFCNT(runner) == OF_RUNNER + runner->holders && nrpy_task_weakrefs(runner->task) == runner->weakrefs;
}
