/*
 * A host that runs on musl, where no Python can: what it is told.
 *
 *   musl_host PLUGIN
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "nylon_ring_v1.h"

static void send_result(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    (void)host_ctx;
    (void)sid;
    (void)status;
    (void)payload;
}

static const NrHostVTable functions = {.send_result = send_result};

int main(int argc, char **argv) {
    void *file = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    NrGetPluginFn get_plugin = NULL;
    void *symbol = file != NULL ? dlsym(file, NR_GET_PLUGIN_V1_SYMBOL) : NULL;
    memcpy(&get_plugin, &symbol, sizeof get_plugin);
    if (get_plugin == NULL) {
        fprintf(stderr, "musl_host: %s\n", dlerror());
        return 2;
    }
    const NrPluginInfo *info = get_plugin();
    const NrPluginVTable *plugin = info->vtable;
    int host = 0;
    printf("%.*s: init %u\n", (int)info->name.len, (const char *)info->name.ptr,
           plugin->init(info->plugin_ctx, &host, &functions));
    plugin->shutdown(info->plugin_ctx);
    return dlclose(file);
}
