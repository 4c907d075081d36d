#include "main_thread.h"

#include "clock.h"
#include "monitor.h"
#include "runtime.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The main thread may be waiting for this one, in a finalizer that imports what is being imported here; and it is the
 * monitor, which others wait for. So neither waits for the other longer than this, whoever has come how far. */
#define PATIENCE_S 1.0

enum { ASKED, DONE, LEFT };

typedef struct order {
    nrpy_errand errand;  /* first: what the monitor hands back */
    PyObject *function;  /* owned */
    PyObject *result;    /* owned; the waiter's once the stage is DONE */
    PyObject *exception; /* likewise */
    sem_t done;
    _Atomic int stage;
} order;

/* Needs the GIL. */
static void end(order *asked) {
    Py_XDECREF(asked->function);
    Py_XDECREF(asked->result);
    Py_XDECREF(asked->exception);
    sem_destroy(&asked->done);
    free(asked);
}

/* On the main thread, which holds no GIL. */
static void carry_out(nrpy_errand *errand) {
    order *asked = (order *)errand;
    PyGILState_STATE before = PyGILState_Ensure();
    asked->result = PyObject_CallNoArgs(asked->function);
    asked->exception = asked->result == NULL ? nrpy_take_exception() : NULL;
    int stage = ASKED;
    if (atomic_compare_exchange_strong(&asked->stage, &stage, DONE)) {
        sem_post(&asked->done); /* the waiter needs the GIL before it can end the order */
    } else {
        end(asked);
    }
    PyGILState_Release(before);
}

/* Without the GIL. Returns whether the order was carried out; if not, the main thread ends it. */
static bool wait_for(order *asked) {
    if (nrpy_sem_wait_for(&asked->done, PATIENCE_S)) {
        return true;
    }
    int stage = ASKED;
    return !atomic_compare_exchange_strong(&asked->stage, &stage, LEFT);
}

/* Ends the order. */
static PyObject *take_result(order *asked) {
    PyObject *result = asked->result;
    asked->result = NULL;
    if (result == NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(asked->exception), asked->exception);
    }
    end(asked);
    return result;
}

PyObject *nrpy_call_on_main_thread(PyObject *module, PyObject *function) {
    (void)module;
    if (!nrpy_runtime_is_elsewhere()) {
        return PyObject_CallNoArgs(function);
    }
    order *asked = calloc(1, sizeof *asked);
    if (asked == NULL) {
        return PyErr_NoMemory();
    }
    asked->errand.run = carry_out;
    asked->function = Py_NewRef(function);
    atomic_init(&asked->stage, ASKED);
    sem_init(&asked->done, 0, 0);
    PyThreadState *state = PyEval_SaveThread();
    nrpy_monitor_do(&asked->errand);
    bool done = wait_for(asked);
    PyEval_RestoreThread(state);
    if (!done) {
        Py_RETURN_NONE;
    }
    return take_result(asked);
}
