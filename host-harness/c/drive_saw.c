/* What the host saw of a plugin, and what it holds for it. */
#include "drive.h"

void json_report(json *out, const char *key, const nrhost_report *report) {
    json_open(out, key, '{');
    json_bool(out, "clean", nrhost_report_clean(report));
    json_u64(out, "accepted", report->accepted);
    json_u64(out, "refused", report->refused);
    json_u64(out, "replies", report->replies);
    json_u64(out, "terminals", report->terminals);
    json_u64(out, "backpressure", report->backpressure);
    json_u64(out, "open", report->open);
    json_u64(out, "after_terminal", report->after_terminal);
    json_u64(out, "after_refusal", report->after_refusal);
    json_u64(out, "unknown", report->unknown);
    json_u64(out, "overlaps", report->overlaps);
    json_u64(out, "strangers", report->strangers);
    json_u64(out, "bad_status", report->bad_status);
    json_u64(out, "after_invalid", report->after_invalid);
    json_u64(out, "reordered", report->reordered);
    json_string(out, "first", report->first);
    json_close(out, '}');
}

void json_broken(json *out, nrhost *host) {
    static _Atomic uint64_t late_told;
    char text[256];
    nrhost_report report;
    if (!nrhost_ledger_report(host, &report)) {
        return;
    }
    if (report.first[0] != '\0') {
        json_string(out, NULL, report.first);
    }
    if (report.open > 0) {
        snprintf(text, sizeof text, "%llu calls were accepted and never answered", (unsigned long long)report.open);
        json_string(out, NULL, text);
    }
    uint64_t late = nrhost_late_sends(), told = atomic_exchange(&late_told, late);
    if (late > told) {
        snprintf(text, sizeof text, "%llu sends came after shutdown had returned", (unsigned long long)(late - told));
        json_string(out, NULL, text);
    }
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

/* leases: buffers lent to the plugin that it has not given back. */
void verb_leases(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot != NULL) {
        json_u64(out, "count", nrhost_leases(slot->host));
        plugin_done(slot);
    }
}

/* resolve entry=: its number in ABI v2. */
void verb_resolve(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot != NULL) {
        json_u64(out, "id", nrhost_resolve(slot->host, nrhost_str(command_text(c, "entry", ""))));
        plugin_done(slot);
    }
}
