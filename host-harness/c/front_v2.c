/* How a v2 plugin is called: by entry or by number, with bytes and nothing else. */
#include "internal.h"

static bool take_functions(nrhost *host) {
    const NrPluginVTableV2 *table = host->info->vtable;
    host->plugin = (nrhost_functions){.v2 = table};
    return table->init && table->handle && table->shutdown &&
           (table->resolve_entry == NULL) == (table->handle_by_id == NULL);
}

static NrStatus init(nrhost *host, void *host_ctx, const void *host_vtable) {
    return host->plugin.v2->init(host_ctx, host_vtable);
}

static NrStatus handle(nrhost *host, const nrhost_request *request, uint64_t sid) {
    const NrPluginVTableV2 *plugin = host->plugin.v2;
    if (!request->by_id) {
        return plugin->handle(request->entry, sid, request->payload);
    }
    return plugin->handle_by_id != NULL ? plugin->handle_by_id(request->id, sid, request->payload) : NR_UNSUPPORTED;
}

static void shut_down(nrhost *host) {
    host->plugin.v2->shutdown();
}

static NrStatus stream_data(nrhost *host, uint64_t sid, NrBytes data) {
    const NrPluginVTableV2 *plugin = host->plugin.v2;
    return plugin->stream_data != NULL ? plugin->stream_data(sid, data) : NR_UNSUPPORTED;
}

static NrStatus stream_close(nrhost *host, uint64_t sid) {
    const NrPluginVTableV2 *plugin = host->plugin.v2;
    return plugin->stream_close != NULL ? plugin->stream_close(sid) : NR_UNSUPPORTED;
}

uint32_t nrhost_resolve(nrhost *host, NrStr entry) {
    const NrPluginVTableV2 *plugin = host->plugin.v2;
    return plugin != NULL && plugin->resolve_entry != NULL ? plugin->resolve_entry(entry) : NR_ENTRY_UNKNOWN;
}

const nrhost_front nrhost_front_v2 = {
    .name = "v2",
    .symbol = NR_GET_PLUGIN_V2_SYMBOL,
    .version = NR_ABI_V2,
    .answers_sends = true,
    .handle_max = NR_BACKPRESSURE,
    .host_vtable = &nrhost_vtable_v2,
    .take_functions = take_functions,
    .init = init,
    .handle = handle,
    .shutdown = shut_down,
    .stream_data = stream_data,
    .stream_close = stream_close,
};
