/* How a v1 plugin is called, in either layout. */
#include "internal.h"

/*
 * Unchecked by AddressSanitizer: a host told the wrong layout reads one slot past a table of five. The released
 * six-function hosts do the same, and tests load plugins that way on purpose.
 */
__attribute__((no_sanitize("address"))) static bool take_five(nrhost *host) {
    const NrPluginVTable *table = host->info->vtable;
    host->plugin = (nrhost_functions){
        .plugin_ctx = host->info->plugin_ctx,
        .init = table->init,
        .handle = table->handle,
        .shutdown = table->shutdown,
        .stream_data = table->stream_data,
        .stream_close = table->stream_close,
    };
    return table->init && table->handle && table->shutdown;
}

__attribute__((no_sanitize("address"))) static bool take_six(nrhost *host) {
    const NrPluginVTableRaw *table = host->info->vtable;
    host->plugin = (nrhost_functions){
        .plugin_ctx = host->info->plugin_ctx,
        .init = table->init,
        .handle = table->handle,
        .handle_raw = table->handle_raw,
        .shutdown = table->shutdown,
        .stream_data = table->stream_data,
        .stream_close = table->stream_close,
    };
    return table->init && table->handle && table->handle_raw && table->shutdown;
}

static NrStatus init(nrhost *host, void *host_ctx, const void *host_vtable) {
    return host->plugin.init(host->plugin.plugin_ctx, host_ctx, host_vtable);
}

static NrStatus handle(nrhost *host, const nrhost_request *request, uint64_t sid) {
    const nrhost_functions *plugin = &host->plugin;
    if (request->by_id) {
        return NR_UNSUPPORTED; /* entries have no numbers in v1 */
    }
    if (request->raw && plugin->handle_raw != NULL) {
        return plugin->handle_raw(plugin->plugin_ctx, request->entry, sid, request->payload);
    }
    const NrRequest *metadata = request->raw ? NULL : request->metadata;
    return plugin->handle(plugin->plugin_ctx, request->entry, sid, metadata, request->payload);
}

static void shut_down(nrhost *host) {
    host->plugin.shutdown(host->plugin.plugin_ctx);
}

static NrStatus stream_data(nrhost *host, uint64_t sid, NrBytes data) {
    const nrhost_functions *plugin = &host->plugin;
    return plugin->stream_data != NULL ? plugin->stream_data(plugin->plugin_ctx, sid, data) : NR_UNSUPPORTED;
}

static NrStatus stream_close(nrhost *host, uint64_t sid) {
    const nrhost_functions *plugin = &host->plugin;
    return plugin->stream_close != NULL ? plugin->stream_close(plugin->plugin_ctx, sid) : NR_UNSUPPORTED;
}

const nrhost_front nrhost_front_v1 = {
    .name = "v1",
    .symbol = NR_GET_PLUGIN_V1_SYMBOL,
    .version = NR_ABI_V1,
    .shutdown_after_failed_init = true,
    .offers_state = true,
    .tells_drops = true,
    .handle_max = NR_STREAM_END,
    .host_vtable = &nrhost_vtable_v1,
    .take_functions = take_five,
    .init = init,
    .handle = handle,
    .shutdown = shut_down,
    .stream_data = stream_data,
    .stream_close = stream_close,
};

const nrhost_front nrhost_front_v1_raw = {
    .name = "v1-raw",
    .symbol = NR_GET_PLUGIN_V1_SYMBOL,
    .version = NR_ABI_V1,
    .shutdown_after_failed_init = true,
    .offers_state = true,
    .tells_drops = true,
    .handle_max = NR_STREAM_END,
    .host_vtable = &nrhost_vtable_v1,
    .take_functions = take_six,
    .init = init,
    .handle = handle,
    .shutdown = shut_down,
    .stream_data = stream_data,
    .stream_close = stream_close,
};
