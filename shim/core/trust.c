#include "trust.h"

#include "python.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* A stub older than signatures hands over none. */
static bool has_signature(const nrpy_open_args *args) {
    return args->struct_size >= sizeof *args && args->payload_sha256 != NULL && args->signature != NULL;
}

/* New reference: None, or the reason as text. NULL with an exception set. */
static PyObject *ask(const nrpy_open_args *args, const char *keys) {
    PyObject *module = PyImport_ImportModule("nylon_ring_py._trust");
    if (module == NULL) {
        return NULL;
    }
    bool has = has_signature(args);
    PyObject *refusal =
        PyObject_CallMethod(module, "refusal", "yy#y#", keys, has ? (const char *)args->payload_sha256 : "",
                            has ? (Py_ssize_t)NRPY_SHA256_SIZE : 0, has ? (const char *)args->signature : "",
                            has ? (Py_ssize_t)args->signature_size : 0);
    Py_DECREF(module);
    return refusal;
}

int nrpy_trust_check(const nrpy_open_args *args) {
    /* As the process has it now: os.environ is what it was when Python started. */
    const char *keys = getenv(NRPY_TRUSTED_KEYS);
    if (keys == NULL) {
        return 0;
    }
    PyObject *refusal = ask(args, keys);
    bool taken = refusal == Py_None;
    if (!taken) {
        PyObject *exception = refusal == NULL ? nrpy_take_exception() : NULL;
        PyObject *text = PyObject_Str(refusal != NULL ? refusal : exception);
        const char *words = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
        snprintf(args->error, args->error_size, "%s%s", refusal == NULL ? "its signature could not be checked: " : "",
                 words != NULL ? words : "the reason cannot be shown");
        PyErr_Clear();
        Py_XDECREF(text);
        Py_XDECREF(exception);
    }
    Py_XDECREF(refusal);
    return taken ? 0 : -1;
}
