/*
 * The counters of an instance as Python objects, for plugin.stats().
 */
#ifndef NRPY_STATS_H
#define NRPY_STATS_H

#include "instance.h"

/* New reference, or NULL with an exception set. Needs the GIL. */
PyObject *nrpy_stats(nrpy_instance *instance);

#endif /* NRPY_STATS_H */
