#include "forked.h"

#include <stdio.h>
#include <unistd.h>

_Atomic bool nrpy_forked;

static const char text[] = "nylon-ring: a child of fork came back to where its parent answers the host, and is ended: "
                           "it has no host. Leave a child that a handler or send_result has made with _exit() or "
                           "exec()\n";

/* The exception that is set is a SystemExit: the code that a program would end with. Takes it. */
static int exit_code(void) {
    PyObject *exception = nrpy_take_exception();
    PyObject *code = PyObject_GetAttrString(exception, "code");
    long number = 1;
    if (code == Py_None) {
        number = 0;
    } else if (code != NULL && PyLong_Check(code)) {
        number = PyLong_AsLong(code);
    }
    Py_XDECREF(code);
    Py_DECREF(exception);
    return (int)number;
}

void nrpy_end_child(PyObject *result) {
    int code = 0;
    if (result == NULL && PyErr_ExceptionMatches(PyExc_SystemExit)) {
        code = exit_code();
    } else {
        fputs(text, stderr);
        if (result == NULL) {
            code = 1;
            PyErr_WriteUnraisable(NULL); /* the traceback, and nothing is called that could end otherwise */
        }
    }
    _exit(code);
}

void nrpy_end_child_of_host(void) {
    fputs(text, stderr);
    _exit(1);
}

PyObject *nrpy_handler_left(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    if (nrpy_is_forked()) {
        PyObject *failure = PyErr_GetHandledException();
        if (failure == NULL) {
            nrpy_end_child(Py_None);
        }
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        nrpy_end_child(NULL);
    }
    Py_RETURN_NONE;
}
