/*
 * A host that is itself Python: it starts CPython, leaves the GIL, and then is `nrhost` like any other. Plugins join
 * this interpreter as guests, and must not end it: that is done here, at the end.
 *
 *   cc guest_host.c $(python3-config --includes) -Ihost-harness/c -Ishim/abi -rdynamic \
 *      -Lbuild/c -lnrcommand -lnrhost $(python3-config --embed --ldflags) -o guest_host
 *   ./guest_host drive
 *
 * GUEST_PROGRAM names the Python executable whose prefix (a venv's, say) the interpreter takes.
 */
#include <Python.h>

#include "commands.h"

static int start_python(void) {
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    const char *program = getenv("GUEST_PROGRAM");
    PyStatus status = PyStatus_Ok();
    if (program != NULL) {
        status = PyConfig_SetBytesString(&config, &config.executable, program);
    }
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "guest_host: Python did not start: %s\n", status.err_msg ? status.err_msg : "no reason given");
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (start_python() != 0) {
        return 1;
    }
    PyThreadState *outside = PyEval_SaveThread();
    int code = nrhost_main(argc, argv);
    PyEval_RestoreThread(outside);
    /* The host's own Python must have come through all of it unharmed. */
    if (PyRun_SimpleString("import sys; assert sum(range(5)) == 10; sys.stderr.flush()") != 0) {
        fprintf(stderr, "guest_host: Python is no longer usable\n");
        code = code ? code : 1;
    }
    if (Py_FinalizeEx() != 0) {
        fprintf(stderr, "guest_host: Py_FinalizeEx failed\n");
        code = code ? code : 1;
    }
    return code;
}
