/* From a file to an instance and back: dlopen, get_plugin, init, shutdown, dlclose. */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static pthread_once_t sigpipe_once = PTHREAD_ONCE_INIT;

/* A plugin that writes to a closed socket must get an error, not end the process. */
static void ignore_sigpipe(void) {
    signal(SIGPIPE, SIG_IGN);
}

/*
 * Unchecked by AddressSanitizer: a host told the wrong layout reads one slot past a table of five. The released
 * six-function hosts do the same, and tests load plugins that way on purpose.
 */
__attribute__((no_sanitize("address"))) static bool take_functions(nrhost *host) {
    nrhost_functions *plugin = &host->plugin;
    plugin->plugin_ctx = host->info->plugin_ctx;
    if (host->layout == NRHOST_SEED) {
        const NrPluginVTable *table = host->info->vtable;
        plugin->init = table->init;
        plugin->handle = table->handle;
        plugin->shutdown = table->shutdown;
        plugin->stream_data = table->stream_data;
        plugin->stream_close = table->stream_close;
    } else {
        const NrPluginVTableRaw *table = host->info->vtable;
        plugin->init = table->init;
        plugin->handle = table->handle;
        plugin->handle_raw = table->handle_raw;
        plugin->shutdown = table->shutdown;
        plugin->stream_data = table->stream_data;
        plugin->stream_close = table->stream_close;
        if (plugin->handle_raw == NULL) {
            return false;
        }
    }
    return plugin->init && plugin->handle && plugin->shutdown;
}

static const char *check_info(nrhost *host) {
    const NrPluginInfo *info = host->info;
    if (info == NULL) {
        return NR_GET_PLUGIN_V1_SYMBOL " returned NULL";
    }
    if (info->abi_version != NR_ABI_V1) {
        return "its abi_version is not 1";
    }
    if (info->struct_size < sizeof(NrPluginInfo)) {
        return "its NrPluginInfo is smaller than ABI v1's";
    }
    if (info->vtable == NULL) {
        return "it has no table of functions";
    }
    return take_functions(host) ? NULL : "its table of functions has a gap: is the layout right?";
}

nrhost *nrhost_open(const char *path, const nrhost_options *options, char *why, size_t why_size) {
    pthread_once(&sigpipe_once, ignore_sigpipe);
    nrhost *host = aligned_alloc(_Alignof(nrhost), sizeof *host);
    if (host == NULL) {
        snprintf(why, why_size, "%s: out of memory", path);
        return NULL;
    }
    memset(host, 0, sizeof *host);
    if (options != NULL) {
        host->options = *options;
        host->layout = options->layout;
    }
    atomic_init(&host->next_sid, 1);
    nrhost_table_init(host);

    host->image = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (host->image == NULL) {
        snprintf(why, why_size, "%s", dlerror());
        goto fail;
    }
    NrGetPluginFn get_plugin;
    *(void **)&get_plugin = dlsym(host->image, NR_GET_PLUGIN_V1_SYMBOL);
    if (get_plugin == NULL) {
        snprintf(why, why_size, "%s: no symbol " NR_GET_PLUGIN_V1_SYMBOL "; is it a nylon-ring v1 plugin?", path);
        goto fail;
    }
    host->info = get_plugin();
    const char *fault = check_info(host);
    if (fault != NULL) {
        snprintf(why, why_size, "%s: %s", path, fault);
        goto fail;
    }
    if (host->options.ledger && (host->ledger = nrhost_ledger_new()) == NULL) {
        snprintf(why, why_size, "%s: out of memory", path);
        goto fail;
    }
    return host;

fail:
    if (host->image != NULL) {
        dlclose(host->image);
    }
    nrhost_table_free(host);
    free(host);
    return NULL;
}

NrStatus nrhost_init(nrhost *host) {
    if (host->options.vtable != NULL) {
        return host->plugin.init(host->plugin.plugin_ctx, host->options.host_ctx, host->options.vtable);
    }
    nrhost_ctx *ctx = atomic_load(&host->ctx);
    if (ctx == NULL) {
        ctx = malloc(sizeof *ctx);
        if (ctx == NULL) {
            return NR_ERR;
        }
        atomic_init(&ctx->magic, NRHOST_CTX_LIVE);
        ctx->host = host;
        nrhost_ctx_publish(ctx);
        atomic_store(&host->ctx, ctx);
    }
    return host->plugin.init(host->plugin.plugin_ctx, ctx, &nrhost_vtable);
}

nrhost *nrhost_load(const char *path, const nrhost_options *options, char *why, size_t why_size) {
    nrhost *host = nrhost_open(path, options, why, why_size);
    if (host == NULL) {
        return NULL;
    }
    NrStatus status = nrhost_init(host);
    if (status == NR_OK) {
        return host;
    }
    snprintf(why, why_size, "%s: init answered %s; the plugin's own words are on stderr", path,
             nrhost_status_name(status));
    nrhost_shutdown(host);
    nrhost_unload(host);
    return NULL;
}

void nrhost_shutdown(nrhost *host) {
    atomic_fetch_add(&host->shutting, 1);
    nrhost_end_sends_below(host);
    uint64_t outer = nrhost_set_inside(0); /* shutdown answers every call, not one */
    host->plugin.shutdown(host->plugin.plugin_ctx);
    nrhost_set_inside(outer);
    if (atomic_fetch_sub(&host->shutting, 1) != 1) {
        return; /* another call is still inside, and may send until it returns */
    }
    nrhost_ctx *ctx = atomic_exchange(&host->ctx, NULL);
    if (ctx != NULL) {
        nrhost_ctx_retire(ctx, host->options.keep_dead_ctx);
    }
}

void nrhost_unload(nrhost *host) {
    if (atomic_load(&host->ctx) != NULL || host->options.vtable != NULL) {
        nrhost_shutdown(host);
    }
    dlclose(host->image);
    nrhost_table_free(host);
    nrhost_ledger_free(host->ledger);
    free(host);
}

const NrPluginInfo *nrhost_info(const nrhost *host) {
    return host->info;
}

nrhost_layout nrhost_layout_of(const nrhost *host) {
    return host->layout;
}

nrhost_functions *nrhost_functions_of(nrhost *host) {
    return &host->plugin;
}

void *nrhost_ctx_of(const nrhost *host) {
    return atomic_load(&host->ctx);
}

NrStr nrhost_str(const char *text) {
    return (NrStr){.ptr = (const uint8_t *)text, .len = (uint32_t)strlen(text)};
}

NrBytes nrhost_bytes(const void *data, size_t len) {
    return (NrBytes){.ptr = data, .len = len};
}

const char *nrhost_status_name(NrStatus status) {
    static const char *const names[] = {"Ok", "Err", "Invalid", "Unsupported", "StreamEnd", "Panic", "Backpressure"};
    return status < sizeof names / sizeof *names ? names[status] : "unknown status";
}
