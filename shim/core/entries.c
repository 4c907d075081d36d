#include "entries.h"

#include <stdlib.h>

static int add_entry(nrpy_entries *entries, PyObject *item) {
    PyObject *name;
    PyObject *handler;
    unsigned int flags;
    if (!PyArg_ParseTuple(item, "UIO:entry", &name, &flags, &handler)) {
        return -1;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    if (text == NULL) {
        return -1;
    }
    uint64_t hash = nrpy_hash_name((const uint8_t *)text, (uint32_t)length);
    uint32_t at = (uint32_t)hash & entries->mask;
    while (entries->slots[at].name != NULL) {
        at = (at + 1) & entries->mask;
    }
    char *copy = malloc((size_t)length + 1);
    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(copy, text, (size_t)length + 1);
    entries->slots[at] = (nrpy_entry){
        .hash = hash,
        .name = copy,
        .length = (uint32_t)length,
        .flags = flags,
        .name_object = Py_NewRef(name),
        .handler = Py_NewRef(handler),
    };
    entries->count++;
    entries->all_flags |= flags;
    return 0;
}

int nrpy_entries_fill(nrpy_entries *entries, PyObject *list) {
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "entries() must return a list");
        return -1;
    }
    Py_ssize_t count = PyList_GET_SIZE(list);
    uint32_t size = 8;
    while ((Py_ssize_t)size < 2 * (count + 1)) {
        size *= 2;
    }
    entries->slots = calloc(size, sizeof *entries->slots);
    if (entries->slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    entries->mask = size - 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (add_entry(entries, PyList_GET_ITEM(list, i)) != 0) {
            return -1;
        }
    }
    return 0;
}

void nrpy_entries_clear(nrpy_entries *entries) {
    for (uint32_t i = 0; entries->slots != NULL && i <= entries->mask; i++) {
        nrpy_entry *entry = &entries->slots[i];
        Py_CLEAR(entry->handler);
        Py_CLEAR(entry->name_object);
    }
}

void nrpy_entries_free(nrpy_entries *entries) {
    for (uint32_t i = 0; entries->slots != NULL && i <= entries->mask; i++) {
        free(entries->slots[i].name);
    }
    free(entries->slots);
    entries->slots = NULL;
}
