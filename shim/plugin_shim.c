/*
 * The stub: what a host loads. The same file for every plugin and every Python; build-plugin writes a payload into a
 * copy of it.
 *
 * It exports one function per ABI (abi/ has a front door for each), hands out instances (instances.c), and forwards each
 * call through the core's table. It holds no Python and nothing that a call may still need after `shutdown` has
 * returned: the host may dlclose it then. A host that does so without a shutdown hears nothing more.
 */
#include "abi/v1.h"
#include "abi/v2.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT const NrPluginInfo *nylon_ring_get_plugin_v1(void);
EXPORT const NrPluginInfo *nylon_ring_get_plugin(void);

const NrPluginInfo *nylon_ring_get_plugin_v1(void) {
    return nrpy_v1_get_plugin();
}

const NrPluginInfo *nylon_ring_get_plugin(void) {
    return nrpy_v2_get_plugin();
}

/* Runs at dlclose, and at the end of the process, where the core does nothing. */
__attribute__((destructor)) static void leave(void) {
    nrpy_v1_leave();
    nrpy_v2_leave();
}
