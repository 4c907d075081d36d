/*
 * FakeHost: a host inside this Python, for authors' tests. Only the host is made up: calls go the way they go in a plugin
 * file, with its queue, workers, streams and timers.
 */
#ifndef NRPY_FAKE_HOST_H
#define NRPY_FAKE_HOST_H

#include "python.h"

extern PyTypeObject nrpy_fake_host_type;

#endif /* NRPY_FAKE_HOST_H */
