#include "children.h"

#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

static bool has_own_mask(sigset_t *mask) {
    sigset_t own;
    nrpy_own_mask(&own);
    pthread_sigmask(SIG_SETMASK, NULL, mask);
    bool same = true;
    for (int number = 1; number <= SIGRTMAX; number++) {
        bool never = number == SIGKILL || number == SIGSTOP; /* the kernel forgets them */
        same &= never || sigismember(mask, number) == sigismember(&own, number);
    }
    return same;
}

/* The status of a process is that of its main thread, though that has ended. */
static bool read_main_mask(sigset_t *mask) {
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long bits = 0;
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        found = sscanf(line, "SigBlk: %llx", &bits) == 1;
    }
    if (file != NULL) {
        fclose(file);
    }
    sigemptyset(mask);
    for (int number = 1; number <= SIGRTMAX; number++) {
        if ((bits >> (number - 1) & 1) != 0) {
            sigaddset(mask, number);
        }
    }
    return found;
}

/*
 * The mask is another one for as long as fork_exec takes, the vfork itself excepted, which blocks everything. A signal
 * that comes meanwhile is the main thread's all the same, where that can take it: the kernel asks it first, and what it
 * has blocked is blocked here too.
 */
PyObject *nrpy_fork_exec(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *original = PyImport_ImportModule("_posixsubprocess");
    PyObject *function = original != NULL ? PyObject_GetAttrString(original, "fork_exec") : NULL;
    PyObject *pid = NULL;
    if (function != NULL) {
        sigset_t before, wanted;
        bool lends = has_own_mask(&before) && read_main_mask(&wanted);
        if (lends) {
            pthread_sigmask(SIG_SETMASK, &wanted, NULL);
        }
        pid = PyObject_Call(function, args, NULL);
        if (lends) {
            pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
    }
    Py_XDECREF(function);
    Py_XDECREF(original);
    return pid;
}
