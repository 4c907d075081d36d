/* "v1-raw": the layout of the hosts that look for handle_raw between handle and shutdown. */
#include "v1.h"

static NrStatus handle_raw(void *plugin_ctx, NrStr entry, uint64_t sid, NrBytes payload) {
    return nrpy_v1_handle(plugin_ctx, entry, sid, NULL, payload);
}

static void shut_down(void *plugin_ctx) {
    (void)nrpy_v1_shutdown(plugin_ctx);
}

const NrPluginVTableRaw nrpy_v1_raw_layout = {
    .init = nrpy_v1_init,
    .handle = nrpy_v1_handle,
    .handle_raw = handle_raw,
    .shutdown = shut_down,
    .stream_data = nrpy_v1_stream_data,
    .stream_close = nrpy_v1_stream_close,
};
