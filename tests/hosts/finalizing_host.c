/*
 * A host that is itself Python, and ends Python while a plugin is open and at work.
 *
 *   finalizing_host PLUGIN PYTHON
 */
#include <Python.h>

#include "nrhost.h"

static int start_python(const char *program) {
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    PyStatus status = PyConfig_SetBytesString(&config, &config.executable, program);
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? 1 : 0;
}

static int check(int wrong, const char *what) {
    if (wrong) {
        fprintf(stderr, "finalizing_host: %s\n", what);
    }
    return wrong;
}

int main(int argc, char **argv) {
    if (argc != 3 || start_python(argv[2]) != 0) {
        return 1;
    }
    PyThreadState *outside = PyEval_SaveThread();
    char why[256];
    nrhost *host = nrhost_load(argv[1], &(nrhost_options){.ledger = true}, why, sizeof why);
    if (check(host == NULL, why)) {
        return 1;
    }
    nrhost_call *calls[8];
    for (int i = 0; i < 8; i++) {
        nrhost_request request = {.entry = nrhost_str("wait")};
        if (check(nrhost_submit(host, &request, &calls[i]) != NR_OK, "a call was refused")) {
            return 1;
        }
    }
    PyEval_RestoreThread(outside);
    int wrong = check(Py_FinalizeEx() != 0, "Py_FinalizeEx failed");
    /* All were answered before Python went; a late call and the shutdown come to a plugin without Python. */
    nrhost_report report;
    wrong |= check(!nrhost_ledger_report(host, &report) || !nrhost_report_clean(&report), report.first);
    wrong |= check(report.terminals != 8, "not every call was answered");
    nrhost_call *late;
    nrhost_request request = {.entry = nrhost_str("sync"), .raw = true};
    wrong |= check(nrhost_submit(host, &request, &late) == NR_OK, "a late call was accepted");
    for (int i = 0; i < 8; i++) {
        nrhost_call_release(calls[i]);
    }
    nrhost_unload(host);
    return wrong;
}
