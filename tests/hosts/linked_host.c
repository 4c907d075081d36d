/* A host that is linked to libpython, for some part of it that may never run, and does not start Python. */
#include <Python.h>

#include "commands.h"

int main(int argc, char **argv) {
    if (Py_IsInitialized()) {
        return 1;
    }
    return nrhost_main(argc, argv);
}
