/*
 * The front door of ABI v2: no call carries a plugin_ctx, so each instance has a set of functions of its own.
 */
#ifndef NRPY_ABI_V2_H
#define NRPY_ABI_V2_H

#include "nylon_ring_v2.h"

/* What the export answers. */
const NrPluginInfo *nrpy_v2_get_plugin(void);

/* Before this file is unmapped. */
void nrpy_v2_leave(void);

#endif /* NRPY_ABI_V2_H */
