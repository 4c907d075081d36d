#include "main_thread.h"

#include "clock.h"
#include "monitor.h"
#include "runtime.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The main thread may itself be waiting for this one, in a finalizer that imports what is being imported here. */
#define PATIENCE_S 1.0

enum { ASKED, TAKEN, LEFT };

typedef struct order {
    nrpy_errand errand;  /* first: what the monitor hands back */
    PyObject *function;  /* borrowed from who waits */
    PyObject *result;    /* the waiter's, once done is posted */
    PyObject *exception; /* likewise */
    sem_t done;
    _Atomic int stage;
} order;

static void end(order *done) {
    sem_destroy(&done->done);
    free(done);
}

/* On the main thread, which holds no GIL. */
static void carry_out(nrpy_errand *errand) {
    order *asked = (order *)errand;
    int stage = ASKED;
    if (!atomic_compare_exchange_strong(&asked->stage, &stage, TAKEN)) {
        end(asked);
        return;
    }
    PyGILState_STATE before = PyGILState_Ensure();
    asked->result = PyObject_CallNoArgs(asked->function);
    asked->exception = asked->result == NULL ? nrpy_take_exception() : NULL;
    PyGILState_Release(before);
    sem_post(&asked->done);
}

/* Without the GIL. Returns whether the order was carried out; if not, the main thread ends it. */
static bool wait_for(order *asked) {
    if (nrpy_sem_wait_for(&asked->done, PATIENCE_S)) {
        return true;
    }
    int stage = ASKED;
    if (atomic_compare_exchange_strong(&asked->stage, &stage, LEFT)) {
        return false;
    }
    while (sem_wait(&asked->done) != 0) {
    }
    return true;
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
    asked->function = function;
    atomic_init(&asked->stage, ASKED);
    sem_init(&asked->done, 0, 0);
    PyThreadState *state = PyEval_SaveThread();
    nrpy_monitor_do(&asked->errand);
    bool done = wait_for(asked);
    PyEval_RestoreThread(state);
    if (!done) {
        return PyObject_CallNoArgs(function);
    }
    PyObject *result = asked->result;
    if (result == NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(asked->exception), asked->exception);
        Py_DECREF(asked->exception);
    }
    end(asked);
    return result;
}
