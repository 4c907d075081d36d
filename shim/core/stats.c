#include "stats.h"

#include "call.h"
#include "clock.h"

#include <stdlib.h>

/* What waits for one entry. */
typedef struct waiting {
    unsigned long long count;
    int64_t oldest_ns; /* when the host called; 0: nothing waits */
} waiting;

typedef struct survey {
    const nrpy_entries *entries;
    waiting *of; /* by the entry's number */
} survey;

static void note_call(nrpy_item *item, void *context) {
    survey *noted = context;
    if (item->kind != NRPY_ITEM_CALL) {
        return;
    }
    const nrpy_call *call = (nrpy_call *)(void *)item;
    waiting *found = &noted->of[nrpy_entry_id(noted->entries, call->entry)];
    found->count++;
    if (found->oldest_ns == 0 || call->began_ns < found->oldest_ns) {
        found->oldest_ns = call->began_ns;
    }
}

static void survey_queues(nrpy_instance *instance, survey *noted) {
    nrpy_pools pools = nrpy_instance_pools(instance);
    for (nrpy_pool **pool = pools.of; *pool != NULL; pool++) {
        nrpy_queue_visit((*pool)->queue, note_call, noted);
    }
    for (unsigned i = 0; i < instance->loop_count; i++) {
        nrpy_queue_visit(&instance->loops[i].queue, note_call, noted);
    }
}

static PyObject *latencies(nrpy_counters *counters) {
    PyObject *tuple = PyTuple_New(NRPY_LATENCY_BUCKETS);
    for (Py_ssize_t i = 0; tuple != NULL && i < NRPY_LATENCY_BUCKETS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(atomic_load(&counters->latency[i]));
        if (count == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, count);
        }
    }
    return tuple;
}

static PyObject *entry_stats(const nrpy_entry *entry, const waiting *queue, int64_t now_ns) {
    nrpy_counters *counters = entry->counters;
    unsigned long long calls = atomic_load(&counters->calls);
    unsigned long long ended = atomic_load(&counters->ended);
    double age_s = queue->oldest_ns != 0 && now_ns > queue->oldest_ns ? (double)(now_ns - queue->oldest_ns) / 1e9 : 0.0;
    return Py_BuildValue("{s:s# s:K s:K s:K s:K s:d s:K s:K s:N s:d}", "name", entry->name, (Py_ssize_t)entry->length,
                         "calls", calls, "errors", (unsigned long long)atomic_load(&counters->errors), "running",
                         calls - ended, "queued", queue->count, "queue_age_s", age_s, "refused",
                         (unsigned long long)atomic_load(&counters->refused), "timeouts",
                         (unsigned long long)atomic_load(&counters->timeouts), "latency", latencies(counters),
                         "latency_sum_s", (double)atomic_load(&counters->latency_sum_ns) / 1e9);
}

static PyObject *all_entries(nrpy_instance *instance, const waiting *queues) {
    const nrpy_entries *entries = &instance->entries;
    int64_t now_ns = nrpy_time_ns(CLOCK_MONOTONIC);
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i <= entries->mask; i++) {
        if (entries->slots[i].name == NULL) {
            continue;
        }
        PyObject *stats = entry_stats(&entries->slots[i], &queues[i], now_ns);
        if (stats == NULL || PyList_Append(list, stats) != 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(stats);
    }
    return list;
}

static unsigned long count_workers(nrpy_instance *instance) {
    nrpy_pools pools = nrpy_instance_pools(instance);
    unsigned long count = 0;
    for (nrpy_pool **pool = pools.of; *pool != NULL; pool++) {
        pthread_mutex_lock(&(*pool)->lock);
        count += (*pool)->count;
        pthread_mutex_unlock(&(*pool)->lock);
    }
    return count;
}

PyObject *nrpy_stats(nrpy_instance *instance) {
    waiting *queues = calloc((size_t)instance->entries.mask + 1, sizeof *queues);
    if (queues == NULL) {
        return PyErr_NoMemory();
    }
    survey noted = {.entries = &instance->entries, .of = queues};
    survey_queues(instance, &noted);
    PyObject *entries = all_entries(instance, queues);
    free(queues);
    return Py_BuildValue("{s:N s:K s:K s:k}", "entries", entries, "late_replies",
                         (unsigned long long)atomic_load(&instance->late_replies), "frames_dropped",
                         (unsigned long long)atomic_load(&instance->frames_dropped), "workers",
                         count_workers(instance));
}
