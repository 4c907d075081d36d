/*
 * The front door of ABI v1: instances are told by plugin_ctx. Two layouts of the table share its functions.
 */
#ifndef NRPY_ABI_V1_H
#define NRPY_ABI_V1_H

#include "nylon_ring_v1.h"

NrStatus nrpy_v1_init(void *plugin_ctx, void *host_ctx, const NrHostVTable *host_vtable);
NrStatus nrpy_v1_handle(void *plugin_ctx, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload);
NrStatus nrpy_v1_stream_data(void *plugin_ctx, uint64_t sid, NrBytes data);
NrStatus nrpy_v1_stream_close(void *plugin_ctx, uint64_t sid);

/* Answers Unsupported: a host of the six-function layout calls the seed's slot of shutdown as handle_raw, and then reads
 * a defined status. */
NrStatus nrpy_v1_shutdown(void *plugin_ctx);

/* "v1-raw", the six-function layout. */
extern const NrPluginVTableRaw nrpy_v1_raw_layout __attribute__((visibility("hidden")));

/* What the export answers. */
const NrPluginInfo *nrpy_v1_get_plugin(void);

/* Before this file is unmapped. */
void nrpy_v1_leave(void);

#endif /* NRPY_ABI_V1_H */
