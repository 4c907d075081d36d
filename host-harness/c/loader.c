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

static const nrhost_front *const fronts[] = {
    [NRHOST_V1] = &nrhost_front_v1,
    [NRHOST_V1_RAW] = &nrhost_front_v1_raw,
    [NRHOST_V2] = &nrhost_front_v2,
};

const char *nrhost_abi_name(nrhost_abi abi) {
    return fronts[abi]->name;
}

bool nrhost_abi_named(const char *name, nrhost_abi *abi) {
    for (nrhost_abi i = NRHOST_V1; i <= NRHOST_V2; i++) {
        if (strcmp(fronts[i]->name, name) == 0) {
            *abi = i;
            return true;
        }
    }
    return false;
}

/* Writes what is wrong with what get_plugin gave. */
static bool check_info(nrhost *host, char *why, size_t why_size) {
    const NrPluginInfo *info = host->info;
    const nrhost_front *front = host->front;
    if (info == NULL) {
        snprintf(why, why_size, "%s returned NULL", front->symbol);
    } else if (info->abi_version != front->version) {
        snprintf(why, why_size, "its abi_version is %u, not %u", info->abi_version, front->version);
    } else if (info->struct_size < sizeof(NrPluginInfo)) {
        snprintf(why, why_size, "its NrPluginInfo has %u bytes, not %zu", info->struct_size, sizeof(NrPluginInfo));
    } else if (info->vtable == NULL) {
        snprintf(why, why_size, "it has no table of functions");
    } else if (!front->take_functions(host)) {
        snprintf(why, why_size, "its table of functions has a gap: is it a plugin of ABI %s?", front->name);
    } else {
        return true;
    }
    return false;
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
    }
    host->front = fronts[host->options.abi];
    host->stream_capacity = !host->front->answers_sends          ? NRHOST_UNBOUNDED
                            : host->options.stream_capacity == 0 ? NRHOST_STREAM_CAPACITY
                                                                 : host->options.stream_capacity;
    atomic_init(&host->next_sid, 1);
    nrhost_table_init(host);

    host->image = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (host->image == NULL) {
        snprintf(why, why_size, "%s", dlerror());
        goto fail;
    }
    NrGetPluginFn get_plugin;
    *(void **)&get_plugin = dlsym(host->image, host->front->symbol);
    if (get_plugin == NULL) {
        snprintf(why, why_size, "%s: no symbol %s; is it a nylon-ring %s plugin?", path, host->front->symbol,
                 host->front->name);
        goto fail;
    }
    host->info = get_plugin();
    char fault[128];
    if (!check_info(host, fault, sizeof fault)) {
        snprintf(why, why_size, "%s: %s", path, fault);
        goto fail;
    }
    if (host->options.ledger && (host->ledger = nrhost_ledger_new(host->front, &host->options)) == NULL) {
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

static nrhost_ctx *make_ctx(nrhost *host) {
    nrhost_ctx *ctx = nrhost_ctx_make(host, host->options.keep_dead_ctx);
    if (ctx != NULL) {
        if (host->front->offers_state) {
            nrhost_ctx_publish(ctx);
        }
        atomic_store(&host->ctx, ctx);
    }
    return ctx;
}

/* Nothing of the plugin's uses the host any more. */
static void retire(nrhost *host) {
    nrhost_ctx *ctx = atomic_exchange(&host->ctx, NULL);
    if (ctx != NULL) {
        nrhost_ctx_retire(ctx, host->options.keep_dead_ctx);
    }
    nrhost_leases_free(host);
    if (host->ledger != NULL) {
        nrhost_ledger_shut(host->ledger);
    }
}

NrStatus nrhost_init(nrhost *host) {
    const nrhost_front *front = host->front;
    bool first = !atomic_load(&host->owes_shutdown);
    NrStatus status;
    if (host->options.vtable != NULL) {
        status = front->init(host, host->options.host_ctx, host->options.vtable);
    } else {
        nrhost_ctx *ctx = atomic_load(&host->ctx);
        if (ctx == NULL && (ctx = make_ctx(host)) == NULL) {
            return NR_ERR;
        }
        status = front->init(host, ctx, front->host_vtable);
    }
    if (status == NR_OK || front->shutdown_after_failed_init) {
        atomic_store(&host->owes_shutdown, true);
    } else if (first) {
        retire(host);
    }
    return status;
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
    nrhost_unload(host);
    return NULL;
}

void nrhost_shutdown(nrhost *host) {
    atomic_store(&host->owes_shutdown, false);
    atomic_fetch_add(&host->shutting, 1);
    nrhost_end_sends_below(host);
    uint64_t outer = nrhost_set_inside(0); /* shutdown answers every call, not one */
    host->front->shutdown(host);
    nrhost_set_inside(outer);
    if (atomic_fetch_sub(&host->shutting, 1) == 1) {
        retire(host); /* else another call is still inside, and may send until it returns */
    }
}

void nrhost_unload(nrhost *host) {
    if (atomic_load(&host->owes_shutdown)) {
        nrhost_shutdown(host);
    }
    dlclose(host->image);
    nrhost_leases_free(host);
    nrhost_table_free(host);
    nrhost_ledger_free(host->ledger);
    free(host);
}

const NrPluginInfo *nrhost_info(const nrhost *host) {
    return host->info;
}

nrhost_abi nrhost_abi_of(const nrhost *host) {
    return host->options.abi;
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
