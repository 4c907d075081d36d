/*
 * Request: what a handler gets. A window onto a call's block or the host's memory; a field becomes a Python object when
 * it is first read, a short body at once.
 */
#ifndef NRPY_REQUEST_H
#define NRPY_REQUEST_H

#include "python.h"

#include "call.h"

extern PyTypeObject nrpy_request_type;

/* Before the first request is made. Returns 0, or -1 raising. */
int nrpy_request_types_ready(void);

/* A request over `call`'s block, which it takes. New reference or NULL (then the block is still the caller's). */
PyObject *nrpy_request_over_call(nrpy_call *call);

/* A request over the host's memory, for as long as the host waits. */
PyObject *nrpy_request_over_host(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                                 const nrpy_request_view *view);

/* Ends the loan of the host's memory: what the author kept is copied. Takes the reference. Needs the GIL. */
void nrpy_request_return(PyObject *request);

#endif /* NRPY_REQUEST_H */
