/*
 * The extension module nylon_ring_py._core, and what the core uses of the package's Python side.
 */
#ifndef NRPY_MODULE_H
#define NRPY_MODULE_H

#include "python.h"

#include "core_table.h"

#include <stdint.h>

/* Looked up once, when the first plugin opens; never dropped. */
typedef struct nrpy_python_names {
    PyObject *data;   /* "data" */
    PyObject *status; /* "status" */
    PyObject *handler_error;
    PyObject *call_ended_error;
    PyObject *stream_full_error;
    PyObject *request_module;
    PyObject *state_type;
    PyObject *call_variable; /* the contextvar that holds a task's runner */
    PyObject *no_wait;       /* an awaitable that is done */

    /* only once a plugin has event loops */
    PyObject *task_type;     /* task_type.h */
    PyObject *task_keywords; /* interned, as asyncio's are */
    PyObject *no_name;
    PyObject *context_keyword;
    PyObject *cancelled_error;
} nrpy_python_names;

extern nrpy_python_names nrpy_names;

/* Needs the GIL. Returns 0, or -1 with an exception set. */
int nrpy_names_load(void);

/* What an event loop needs of asyncio; likewise. */
int nrpy_names_load_asyncio(void);

/* nylon_ring_py.request.<helper>(argument). New reference or NULL. */
PyObject *nrpy_call_helper(const char *helper, PyObject *argument);

/* State(instance, sid). New reference or NULL. */
PyObject *nrpy_make_state(PyObject *instance, uint64_t sid);

/* The table stubs use. */
extern nrpy_core_table nrpy_core_table_ __asm__("nrpy_core_table");

#endif /* NRPY_MODULE_H */
