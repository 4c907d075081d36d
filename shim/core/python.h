/* Python.h, shielded: its inline functions do not pass our warnings. */
#ifndef NRPY_PYTHON_H
#define NRPY_PYTHON_H

#define PY_SSIZE_T_CLEAN
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <Python.h>
#pragma GCC diagnostic pop

#if PY_VERSION_HEX < 0x030b0000
#error "nylon_ring_py needs Python 3.11 or later"
#endif

/* The state of the thread that holds the GIL (3.11: of any thread; 3.12+: this one's or NULL). A caller compares it with
 * a state it knows to be its own. */
static inline PyThreadState *nrpy_current_state(void) {
#if PY_VERSION_HEX >= 0x030d0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/* The exception that is set, with its traceback: a new reference, and none is set any more. NULL: none was. */
static inline PyObject *nrpy_take_exception(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type;
    PyObject *exception;
    PyObject *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    if (traceback != NULL && exception != NULL) {
        PyException_SetTraceback(exception, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return exception;
#endif
}

#if PY_VERSION_HEX < 0x030c0000
/* Exported, but declared for CPython's own files only. */
PyAPI_FUNC(void) _PyThreadState_SetCurrent(PyThreadState *state);
#endif

/* A state for this thread, which has none; NULL without memory, where PyThreadState_New of 3.11 follows the null pointer. */
static inline PyThreadState *nrpy_new_state(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyThreadState_New(PyInterpreterState_Main());
#else
    PyThreadState *state = _PyThreadState_Prealloc(PyInterpreterState_Main());
    if (state != NULL) {
        _PyThreadState_SetCurrent(state);
    }
    return state;
#endif
}

#endif /* NRPY_PYTHON_H */
