#include "entries.h"

#include <stdlib.h>

enum { STAYS_OPEN = NRPY_GENERATOR | NRPY_STREAM | NRPY_CALLBACK | NRPY_ASYNC | NRPY_DUPLEX };

static int add_entry(nrpy_entries *entries, PyObject *item) {
    PyObject *name;
    PyObject *handler;
    unsigned int flags;
    long long timeout_ns, idle_timeout_ns, close_timeout_ns;
    unsigned long long max_pending;
    Py_ssize_t max_buffered;
    if (!PyArg_ParseTuple(item, "UIOLLLKn:entry", &name, &flags, &handler, &timeout_ns, &idle_timeout_ns,
                          &close_timeout_ns, &max_pending, &max_buffered)) {
        return -1;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    if (text == NULL) {
        return -1;
    }
    nrpy_name_key key = nrpy_key_of((const uint8_t *)text, (uint32_t)length);
    uint32_t at = nrpy_key_place(&key) & entries->mask;
    while (entries->slots[at].name != NULL) {
        at = (at + 1) & entries->mask;
    }
    char *copy = malloc((size_t)length + 1);
    nrpy_limits *limits = malloc(sizeof *limits);
    nrpy_counters *counters = aligned_alloc(_Alignof(nrpy_counters), sizeof *counters);
    if (copy == NULL || limits == NULL || counters == NULL) {
        free(copy);
        free(limits);
        free(counters);
        PyErr_NoMemory();
        return -1;
    }
    memcpy(copy, text, (size_t)length + 1);
    memset(counters, 0, sizeof *counters);
    *limits = (nrpy_limits){
        .timeout_ns = timeout_ns,
        .idle_timeout_ns = idle_timeout_ns,
        .close_timeout_ns = close_timeout_ns,
        .max_pending = max_pending,
        .max_buffered = (size_t)max_buffered,
    };
    bool stays_open = (flags & STAYS_OPEN) != 0 || timeout_ns != 0 || max_pending != 0;
    entries->slots[at] = (nrpy_entry){
        .head = key.head,
        .tail = key.tail,
        .length = key.length,
        .name = copy,
        .flags = flags | (stays_open ? NRPY_EXCHANGE : 0),
        .name_object = Py_NewRef(name),
        .handler = Py_NewRef(handler),
        .limits = limits,
        .counters = counters,
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
    entries->slots = aligned_alloc(_Alignof(nrpy_entry), size * sizeof *entries->slots);
    if (entries->slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(entries->slots, 0, size * sizeof *entries->slots);
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
        free(entries->slots[i].limits);
        free(entries->slots[i].counters);
    }
    free(entries->slots);
    entries->slots = NULL;
}
