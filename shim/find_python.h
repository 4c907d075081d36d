/*
 * Finding the one Python of this process, and the core that belongs to the plugin's Python.
 */
#ifndef NRPY_FIND_PYTHON_H
#define NRPY_FIND_PYTHON_H

#include "core_table.h"
#include "payload.h"

#include <stdbool.h>

#define NRPY_PATH_MAX 4096

/* A Python installation as the boot record or a probe describes it. Strings are empty where unknown. */
typedef struct nrpy_python {
    char executable[NRPY_PATH_MAX]; /* the venv's own python, symlinks kept */
    char version[16];               /* "3.11" */
    char libpython[NRPY_PATH_MAX];
    char core[NRPY_PATH_MAX];
    char prefix[NRPY_PATH_MAX];
    char tried[NRPY_PATH_MAX]; /* where a probe looked for libpython in vain */
    bool free_threaded;
} nrpy_python;

/*
 * The Python this plugin shall run on: NYLON_RING_PYTHON if set, else the recorded one; asked anew (in a child process)
 * where the recorded files have gone. Returns 0, or -1 with a message of one or more lines in `error`.
 */
int nrpy_find_python(const nrpy_payload *payload, nrpy_python *python, char *error, size_t error_size);

/*
 * Makes libpython's symbols global (joining a Python that is in the process already) and opens the core.
 * Returns the process's core table, or NULL with a message in `error`.
 */
const nrpy_core_table *nrpy_open_core(const nrpy_python *python, char *error, size_t error_size);

#endif /* NRPY_FIND_PYTHON_H */
