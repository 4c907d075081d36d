/* Plugins by name: loading, starting, stopping, and what the host knows of them. */
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#if defined(__SANITIZE_ADDRESS__)
#define KEEP_DEAD_CTX false
#else
#define KEEP_DEAD_CTX true
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list and the references */
static plugin_slot *slots;

plugin_slot *plugin_find(const command *c, json *out) {
    const char *name = command_text(c, "plugin", "main");
    pthread_mutex_lock(&lock);
    plugin_slot *slot = slots;
    while (slot != NULL && strcmp(slot->name, name) != 0) {
        slot = slot->next;
    }
    if (slot != NULL) {
        slot->references++;
    }
    pthread_mutex_unlock(&lock);
    if (slot == NULL) {
        json_fail(out, "no plugin is loaded as %s", name);
    }
    return slot;
}

void plugin_done(plugin_slot *slot) {
    pthread_mutex_lock(&lock);
    bool last = --slot->references == 0;
    pthread_mutex_unlock(&lock);
    if (last) {
        nrhost_unload(slot->host);
        free(slot);
    }
}

static void take_out(plugin_slot *slot) {
    pthread_mutex_lock(&lock);
    for (plugin_slot **link = &slots; *link != NULL; link = &(*link)->next) {
        if (*link == slot) {
            *link = slot->next;
            slot->references--;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

static void write_info(json *out, const nrhost *host) {
    const NrPluginInfo *info = nrhost_info(host);
    json_text(out, "name", (const char *)info->name.ptr, info->name.len);
    json_text(out, "version", (const char *)info->version.ptr, info->version.len);
    json_u64(out, "abi_version", info->abi_version);
    json_u64(out, "struct_size", info->struct_size);
    json_u64(out, "plugin_ctx", (uint64_t)(uintptr_t)info->plugin_ctx);
}

/* load path= [plugin=] [layout=seed|raw] [ledger=0] [get_only=1]: `init` is its status, absent with get_only. */
void verb_load(const command *c, json *out) {
    char why[512];
    nrhost_options options = {
        .layout = strcmp(command_text(c, "layout", "seed"), "raw") == 0 ? NRHOST_SIX : NRHOST_SEED,
        .ledger = command_u64(c, "ledger", 1) != 0,
        .keep_dead_ctx = KEEP_DEAD_CTX,
        .on_result = callback_on_result,
    };
    plugin_slot *slot = calloc(1, sizeof *slot);
    if (slot == NULL) {
        json_fail(out, "out of memory");
        return;
    }
    snprintf(slot->name, sizeof slot->name, "%s", command_text(c, "plugin", "main"));
    slot->references = 1;
    slot->host = nrhost_open(command_text(c, "path", ""), &options, why, sizeof why);
    if (slot->host == NULL) {
        json_fail(out, "%s", why);
        free(slot);
        return;
    }
    write_info(out, slot->host);
    if (!command_flag(c, "get_only")) {
        NrStatus status = nrhost_init(slot->host);
        json_u64(out, "init", status);
        if (status != NR_OK) {
            plugin_done(slot); /* shutdown follows a failed init too */
            return;
        }
    }
    pthread_mutex_lock(&lock);
    slot->next = slots;
    slots = slot;
    pthread_mutex_unlock(&lock);
}

void *plugin_ctx_of(const command *c, const nrhost *host) {
    const char *text = command_text(c, "ctx", "own");
    if (strcmp(text, "null") == 0) {
        return NULL;
    }
    if (strcmp(text, "host") == 0) {
        return nrhost_ctx_of(host);
    }
    if (strncmp(text, "own", 3) == 0) {
        return (char *)nrhost_info(host)->plugin_ctx + strtoll(text + 3, NULL, 0);
    }
    return (void *)(uintptr_t)strtoull(text, NULL, 0);
}

/* init [ctx=]: once more, or for the first time after get_only. */
void verb_init(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    nrhost_functions *functions = nrhost_functions_of(slot->host);
    void *own = functions->plugin_ctx;
    functions->plugin_ctx = plugin_ctx_of(c, slot->host);
    json_u64(out, "init", nrhost_init(slot->host));
    functions->plugin_ctx = own;
    plugin_done(slot);
}

void verb_info(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot != NULL) {
        write_info(out, slot->host);
        plugin_done(slot);
    }
}

/* shutdown [ctx=]: with another ctx the plugin must do nothing, and the host keeps its own context. */
void verb_shutdown(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    if (command_find(c, "ctx") != NULL) {
        nrhost_functions_of(slot->host)->shutdown(plugin_ctx_of(c, slot->host));
    } else {
        nrhost_shutdown(slot->host);
    }
    json_u64(out, "late_sends", nrhost_late_sends());
    plugin_done(slot);
}

/* A plugin that was never started, or is stopped already, gets no shutdown. */
static void stop(nrhost *host) {
    if (nrhost_ctx_of(host) != NULL) {
        nrhost_shutdown(host);
    }
}

/* unload: shutdown unless done, dlclose. The answer holds the ledger's last word. */
void verb_unload(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    take_out(slot);
    stop(slot->host);
    nrhost_report report;
    if (nrhost_ledger_report(slot->host, &report)) {
        json_report(out, "ledger", &report);
    }
    calls_forget(slot->host);
    json_u64(out, "late_sends", nrhost_late_sends());
    plugin_done(slot);
}

void plugins_unload_all(void) {
    while (slots != NULL) {
        plugin_slot *slot = slots;
        take_out(slot);
        slot->references++;
        stop(slot->host);
        calls_forget(slot->host);
        plugin_done(slot);
    }
}

void json_report(json *out, const char *key, const nrhost_report *report) {
    json_open(out, key, '{');
    json_bool(out, "clean", nrhost_report_clean(report));
    json_u64(out, "accepted", report->accepted);
    json_u64(out, "refused", report->refused);
    json_u64(out, "replies", report->replies);
    json_u64(out, "terminals", report->terminals);
    json_u64(out, "open", report->open);
    json_u64(out, "after_terminal", report->after_terminal);
    json_u64(out, "after_refusal", report->after_refusal);
    json_u64(out, "unknown", report->unknown);
    json_u64(out, "overlaps", report->overlaps);
    json_u64(out, "strangers", report->strangers);
    json_u64(out, "bad_status", report->bad_status);
    json_string(out, "first", report->first);
    json_close(out, '}');
}

void verb_ledger(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    nrhost_report report;
    if (nrhost_ledger_report(slot->host, &report)) {
        json_report(out, "ledger", &report);
        json_u64(out, "late_sends", nrhost_late_sends());
    } else {
        json_fail(out, "%s was loaded with ledger=0", slot->name);
    }
    plugin_done(slot);
}

void verb_ledger_reset(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot != NULL) {
        nrhost_ledger_reset(slot->host);
        plugin_done(slot);
    }
}

/* state_get sid= key= */
void verb_state_get(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    nrhost_frame value;
    NrStr key = nrhost_str(command_text(c, "key", ""));
    bool found = nrhost_state_get(slot->host, command_u64(c, "sid", 0), key, &value);
    json_bool(out, "found", found);
    json_hex(out, "value", value.data, value.len);
    nrhost_frame_free(&value);
    plugin_done(slot);
}

/* state_count [sid=] */
void verb_state_count(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot != NULL) {
        json_u64(out, "count", nrhost_state_count(slot->host, command_u64(c, "sid", 0)));
        plugin_done(slot);
    }
}
