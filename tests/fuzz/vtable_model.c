/* What the promise says of each answer: statuses by the state of things, and what comes back. */
#include "vtable.h"

#include <string.h>

/* As plugin.py has them. */
static const entry entries[] = {
    {.name = "show", .ends = true, .shows = SHOWS_REQUEST},
    {.name = "show_sync", .ends = true, .sync = true, .shows = SHOWS_REQUEST},
    {.name = "show_async", .ends = true, .shows = SHOWS_REQUEST},
    {.name = "show_callback", .ends = true, .shows = SHOWS_REQUEST},
    {.name = "raw", .ends = true, .shows = SHOWS_BODY},
    {.name = "raw_sync", .ends = true, .sync = true, .shows = SHOWS_BODY},
    {.name = "state", .ends = true, .shows = SHOWS_BODY},
    {.name = "fails", .ends = true},
    {.name = "leaves", .ends = true, .sync = true},
    {.name = "junk", .ends = true, .sync = true},
    {.name = "refuses", .ends = true},
    {.name = "late", .ends = true},
    {.name = "held", .shows = SHOWS_BODY},
    {.name = "limited", .shows = SHOWS_BODY},
    {.name = "dropped", .ends = true},
    {.name = "let_go", .ends = true, .sync = true},
    {.name = "feed", .stream = true, .ends = true},
    {.name = "feed_async", .stream = true, .ends = true},
    {.name = "feed_fails", .stream = true, .ends = true},
    {.name = "endless", .stream = true, .ends = true},
    {.name = "open", .stream = true},
    {.name = "talk", .stream = true},
    {.name = "talk_async", .stream = true},
    {.name = "deaf", .stream = true},
};

const entry *entry_at(unsigned index) {
    return &entries[index % (sizeof entries / sizeof *entries)];
}

const entry *entry_named(const uint8_t *name, size_t length) {
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (strlen(entries[i].name) == length && memcmp(entries[i].name, name, length) == 0) {
            return &entries[i];
        }
    }
    return NULL;
}

/* By the number that a sequence encodes: shortest form, no surrogate, nothing above the last one. */
bool is_utf8(const uint8_t *text, size_t length) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    for (size_t at = 0; at < length;) {
        uint8_t lead = text[at++];
        unsigned more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : 4;
        if (more == 4 || more > length - at) {
            return false;
        }
        uint32_t code = more == 0 ? lead : lead & (0x3fu >> more);
        for (unsigned i = 0; i < more; i++, at++) {
            if (text[at] >> 6 != 2) {
                return false;
            }
            code = code << 6 | (text[at] & 0x3fu);
        }
        if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            return false;
        }
    }
    return true;
}

static bool may_be_full(const instance *of, NrStatus status) {
    return status == NR_ERR || (of->abi == NRHOST_V2 && status == NR_BACKPRESSURE);
}

void check_status(const session *s, const instance *of, int before, const request *r, NrStatus status) {
    const char *name = r->entry != NULL ? r->entry->name : "(unknown)";
    int after = atomic_load(&of->phase);
    TRACE("%s%s, sid %llu, %llu bytes: %u\n", name, r->possible ? "" : ", bad input", (unsigned long long)r->call.sid,
          (unsigned long long)r->call.payload.len, status);
    if (before != OPEN && before != ENDING) {
        DEMAND(status == NR_INVALID, "%s answered %u out of turn", name, status);
    } else if (!r->possible || r->entry == NULL) {
        DEMAND(status == NR_INVALID || (after != OPEN && status == NR_ERR), "bad input to %s answered %u", name,
               status);
    } else if (status == NR_INVALID) {
        DEMAND(r->stream_sid || after != OPEN, "%s answered Invalid", name); /* shutdown may be about to return */
    } else if (r->sid_is_open && after == OPEN) {
        DEMAND(status == NR_INVALID, "%s took the sid of an open stream", name);
    } else if (r->entry->sync && after == OPEN) {
        DEMAND(status == NR_OK, "%s answered %u", name, status);
    } else {
        DEMAND(status == NR_OK || may_be_full(of, status), "%s answered %u", name, status);
    }
    DEMAND(!s->alone || before != ENDED || status != NR_OK, "%s was taken after shutdown", name);
}

void check_stream_status(const instance *of, int before, bool possible, NrStatus status) {
    bool full = may_be_full(of, status);
    if (before != OPEN && before != ENDING) {
        DEMAND(status == NR_INVALID, "a stream's function answered %u out of turn", status);
    } else {
        DEMAND(status == NR_OK || status == NR_INVALID || status == NR_UNSUPPORTED || full,
               "a stream's function answered %u", status);
        DEMAND(possible || status != NR_OK, "a view that cannot be was taken");
    }
}

void check_reply(const entry *of, const nrhost_frame *reply, const uint8_t *expected, size_t size) {
    if (expected == NULL || of->stream || of->shows == SHOWS_NOTHING || reply->status != NR_OK) {
        return;
    }
    DEMAND(reply->len == size, "%s sent %zu bytes, not %zu", of->name, reply->len, size);
    DEMAND(size == 0 || memcmp(reply->data, expected, size) == 0, "%s sent other bytes", of->name);
}

void check_ledger(const instance *of) {
    nrhost_report report;
    DEMAND(nrhost_ledger_report(of->host, &report), "the host keeps no ledger");
    DEMAND(nrhost_report_clean(&report), "%llu open: %s", (unsigned long long)report.open, report.first);
    DEMAND(nrhost_late_sends() == 0, "a send came after shutdown");
}
