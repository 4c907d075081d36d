/* Plugins by name: loading, starting, stopping, and what the host knows of them. */
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#if defined(__SANITIZE_ADDRESS__)
#define KEEP_DEAD_CTX false
#else
#define KEEP_DEAD_CTX true
#endif

#define EACH_MAX 64u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list and the references */
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;   /* a caller did */
static plugin_slot *slots;

/* With the lock held. */
static plugin_slot *find(const char *name) {
    plugin_slot *slot = slots;
    while (slot != NULL && strcmp(slot->name, name) != 0) {
        slot = slot->next;
    }
    return slot;
}

plugin_slot *plugin_find(const command *c, json *out) {
    const char *name = command_text(c, "plugin", "main");
    pthread_mutex_lock(&lock);
    plugin_slot *slot = find(name);
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
        free(slot->path);
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

/* Opens the file for a slot of its own; NULL after json_fail. */
static plugin_slot *open_slot(const char *name, const char *path, const nrhost_options *options, json *out) {
    char why[512] = "out of memory";
    plugin_slot *slot = calloc(1, sizeof *slot);
    if (slot != NULL) {
        snprintf(slot->name, sizeof slot->name, "%s", name);
        slot->options = *options;
        slot->references = 1;
        slot->path = strdup(path);
        slot->host = slot->path != NULL ? nrhost_open(path, options, why, sizeof why) : NULL;
    }
    if (slot == NULL || slot->host == NULL) {
        json_fail(out, "%s", why);
        if (slot != NULL) {
            free(slot->path);
            free(slot);
        }
        return NULL;
    }
    return slot;
}

/* False after json_fail, the slot being gone; `init` is in the answer then. */
static bool start(plugin_slot *slot, json *out) {
    NrStatus status = nrhost_init(slot->host);
    if (status == NR_OK) {
        return true;
    }
    json_fail(out, "%s: init answered %s; the plugin's own words are on stderr", slot->path,
              nrhost_status_name(status));
    json_u64(out, "init", status);
    plugin_done(slot);
    return false;
}

static bool read_options(nrhost_options *options, const command *c, json *out) {
    const char *abi = command_text(c, "abi", "v1");
    uint64_t capacity = command_u64(c, "stream_capacity", NRHOST_STREAM_CAPACITY);
    *options = (nrhost_options){
        .ledger = command_u64(c, "ledger", 1) != 0,
        .ledger_forgets = command_flag(c, "forgets"),
        .ledger_events = command_flag(c, "events"),
        .keep_dead_ctx = KEEP_DEAD_CTX,
        .stream_capacity = capacity > 0 ? (size_t)capacity : NRHOST_UNBOUNDED,
        .keep_owned = command_flag(c, "keep_owned"),
        .on_send = callback_on_send,
        .on_result = callback_on_result,
    };
    if (!nrhost_abi_named(abi, &options->abi)) {
        json_fail(out, "there is no ABI %s: v1, v1-raw or v2", abi);
        return false;
    }
    return true;
}

/*
 * load path= [plugin=] [abi=v1|v1-raw|v2] [ledger=0] [forgets=1] [events=1] [get_only=1] [stream_capacity=64, 0: unbounded] [keep_owned=1]
 * `init` is its status, absent with get_only; unless it is Ok nothing stays loaded.
 */
void verb_load(const command *c, json *out) {
    static _Atomic uint64_t lineages;
    nrhost_options options;
    plugin_slot *slot = NULL;
    if (read_options(&options, c, out)) {
        slot = open_slot(command_text(c, "plugin", "main"), command_text(c, "path", ""), &options, out);
    }
    if (slot == NULL) {
        return;
    }
    slot->lineage = atomic_fetch_add(&lineages, 1) + 1;
    write_info(out, slot->host);
    if (!command_flag(c, "get_only")) {
        if (!start(slot, out)) {
            return;
        }
        json_u64(out, "init", NR_OK);
    }
    pthread_mutex_lock(&lock);
    slot->next = slots;
    slots = slot;
    pthread_mutex_unlock(&lock);
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
    if (is_ctx_given(c, slot->host, out)) {
        nrhost_functions_of(slot->host)->shutdown(plugin_ctx_of(c, slot->host));
    } else if (!out->failed) {
        atomic_store(&slot->stopping, true);
        nrhost_shutdown(slot->host);
    }
    json_u64(out, "late_sends", nrhost_late_sends());
    plugin_done(slot);
}

/* A plugin that was never started, or is stopped already, gets no shutdown. */
static void stop(plugin_slot *slot) {
    atomic_store(&slot->stopping, true);
    if (nrhost_ctx_of(slot->host) != NULL) {
        nrhost_shutdown(slot->host);
    }
}

static void await_callers(plugin_slot *slot) {
    pthread_mutex_lock(&lock);
    while (slot->callers > 0) {
        pthread_cond_wait(&left, &lock);
    }
    pthread_mutex_unlock(&lock);
}

plugin_slot *plugin_enter(const char *name, uint64_t lineage) {
    pthread_mutex_lock(&lock);
    plugin_slot *slot = find(name);
    if (slot != NULL && slot->lineage == lineage) {
        slot->references++;
        slot->callers++;
    } else {
        slot = NULL;
    }
    pthread_mutex_unlock(&lock);
    return slot;
}

void plugin_leave(plugin_slot *slot) {
    pthread_mutex_lock(&lock);
    slot->callers--;
    pthread_cond_broadcast(&left);
    pthread_mutex_unlock(&lock);
    plugin_done(slot);
}

/* The list's reference passes from one to the other. False when the old one is in the list no more. */
static bool replace(plugin_slot *old, plugin_slot *fresh) {
    bool found = false;
    pthread_mutex_lock(&lock);
    for (plugin_slot **link = &slots; *link != NULL && !found; link = &(*link)->next) {
        if (*link == old) {
            fresh->next = old->next;
            *link = fresh;
            old->references--;
            found = true;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

bool plugin_report(plugin_slot *slot, nrhost_report *report) {
    nrhost_report now;
    if (!nrhost_ledger_report(slot->host, &now)) {
        return false;
    }
    pthread_mutex_lock(&lock);
    *report = slot->earlier;
    pthread_mutex_unlock(&lock);
    nrhost_report_add(report, &now);
    return true;
}

/* What the ledger of the one that ends says goes into its successor's account. */
static void hand_on(plugin_slot *old, plugin_slot *fresh) {
    nrhost_report report;
    if (plugin_report(old, &report)) {
        pthread_mutex_lock(&lock);
        nrhost_report_add(&fresh->earlier, &report);
        pthread_mutex_unlock(&lock);
    }
}

void plugins_each(void (*look)(void *given, plugin_slot *slot), void *given) {
    plugin_slot *found[EACH_MAX];
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (plugin_slot *slot = slots; slot != NULL && count < EACH_MAX; slot = slot->next) {
        slot->references++;
        found[count++] = slot;
    }
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < count; i++) {
        look(given, found[i]);
        plugin_done(found[i]);
    }
}

bool plugin_reload(const command *c, bool drain, json *broken, json *out) {
    plugin_slot *old = plugin_find(c, out);
    if (old == NULL) {
        return false;
    }
    plugin_slot *fresh = open_slot(old->name, old->path, &old->options, out);
    if (fresh == NULL || !start(fresh, out)) {
        plugin_done(old);
        return false;
    }
    fresh->lineage = old->lineage;
    if (!replace(old, fresh)) {
        json_fail(out, "%s was unloaded meanwhile", old->name);
        plugin_done(fresh);
        plugin_done(old);
        return false;
    }
    if (drain) {
        await_callers(old);
    }
    stop(old);
    await_callers(old);
    json_broken(broken, old->host);
    trouble_look(old, true);
    hand_on(old, fresh);
    calls_forget(old->host);
    plugin_done(old);
    return true;
}

/* unload: shutdown unless done, dlclose. `broken` is the ledger's last word, in words. */
void verb_unload(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    take_out(slot);
    stop(slot);
    await_callers(slot);
    nrhost_report report;
    if (nrhost_ledger_report(slot->host, &report)) {
        json_report(out, "ledger", &report);
    }
    json_u64(out, "late_sends", nrhost_late_sends());
    if (plugin_report(slot, &report)) {
        json_report(out, "ledgers", &report);
    }
    trouble_look(slot, true);
    json_open(out, "broken", '[');
    json_broken(out, slot->host);
    json_close(out, ']');
    calls_forget(slot->host);
    plugin_done(slot);
}

void plugins_unload_all(void) {
    while (slots != NULL) {
        plugin_slot *slot = slots;
        take_out(slot);
        slot->references++;
        stop(slot);
        await_callers(slot);
        calls_forget(slot->host);
        plugin_done(slot);
    }
}
