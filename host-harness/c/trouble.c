/* The first disagreement of the process: what it is in words, and the ledgers' last events in a file. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define EVENTS_MAX 65536u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows, and the file */
static char first[400];
static char *dump; /* where events are written; NULL: nowhere */

static atomic_bool found;

bool trouble_found(void) {
    return atomic_load_explicit(&found, memory_order_relaxed);
}

static void write_event(FILE *file, const nrhost_event *event) {
    static const char *const words[] = {"handle called", "handle returned", "plugin sends", "host answered", ""};
    unsigned long long sid = event->sid;
    if (event->what == NRHOST_WAITS) {
        fprintf(file, "%16s sid %llu waits for its terminal reply\n", "", sid);
        return;
    }
    fprintf(file, "%16.3f sid %llu %s", (double)event->at_ns / 1e3, sid, words[event->what]);
    if (event->what != NRHOST_CALLED) {
        fprintf(file, " %s", nrhost_status_name(event->status));
    }
    if (event->what == NRHOST_SENDS) {
        fprintf(file, ", %u bytes", event->len);
    }
    fputc('\n', file);
}

static void write_events(plugin_slot *slot) {
    nrhost_event *events = calloc(EVENTS_MAX, sizeof *events);
    pthread_mutex_lock(&lock);
    FILE *file = dump != NULL ? fopen(dump, "a") : NULL;
    if (events != NULL && file != NULL) {
        size_t count = nrhost_ledger_events(slot->host, events, EVENTS_MAX);
        fprintf(file, "# plugin %s, ABI %s: the last events of its ledger, in microseconds\n", slot->name,
                nrhost_abi_name(nrhost_abi_of(slot->host)));
        for (size_t i = 0; i < count; i++) {
            write_event(file, &events[i]);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
    free(events);
}

void trouble(plugin_slot *slot, const char *format, ...) {
    va_list arguments;
    nrhost_events_freeze();
    va_start(arguments, format);
    pthread_mutex_lock(&lock);
    bool is_first = first[0] == '\0';
    if (is_first) {
        vsnprintf(first, sizeof first, format, arguments);
    }
    pthread_mutex_unlock(&lock);
    va_end(arguments);
    if (is_first && slot != NULL) {
        write_events(slot); /* at once: a reload may put another instance in its place */
    }
    atomic_store(&found, true);
}

void trouble_look(plugin_slot *slot, bool over) {
    nrhost_report report;
    if (!nrhost_ledger_report(slot->host, &report) || (report.first[0] == '\0' && (!over || report.open == 0))) {
        return;
    }
    if (report.first[0] != '\0') {
        trouble(slot, "plugin %s: %s", slot->name, report.first);
    } else {
        trouble(slot, "plugin %s: %llu calls were accepted and never answered", slot->name,
                (unsigned long long)report.open);
    }
}

static void write_each(void *unused, plugin_slot *slot) {
    (void)unused;
    write_events(slot);
}

/* trouble [dump=FILE] [write=1]: what was wrong first. Events go to FILE: those of the plugin that it was found in,
 * and with write=1 those of all that are loaded. */
void verb_trouble(const command *c, json *out) {
    const char *path = command_text(c, "dump", NULL);
    pthread_mutex_lock(&lock);
    if (path != NULL) {
        free(dump);
        dump = path[0] != '\0' ? strdup(path) : NULL;
    }
    json_string(out, "first", first);
    pthread_mutex_unlock(&lock);
    if (command_flag(c, "write")) {
        plugins_each(write_each, NULL);
    }
}
