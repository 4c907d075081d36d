#include "status.h"

#include "host.h"

/* What has no number in the range is for Python to judge, which raises. */
static int status_by_package(PyObject *status) {
    PyObject *module = PyImport_ImportModule("nylon_ring_py.status");
    PyObject *known = module != NULL ? PyObject_CallMethod(module, "sendable_status", "(O)", status) : NULL;
    long number = known != NULL ? PyLong_AsLong(known) : -1;
    Py_XDECREF(known);
    Py_XDECREF(module);
    return (int)number;
}

int nrpy_status_from(PyObject *status) {
    if (PyLong_Check(status) && !PyBool_Check(status)) {
        int overflow;
        long number = PyLong_AsLongAndOverflow(status, &overflow);
        if (overflow == 0 && number >= (long)NR_OK && number <= (long)NR_STREAM_END) {
            return (int)number;
        }
    }
    return status_by_package(status);
}
