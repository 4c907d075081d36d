/*
 * The ledger: what handle answered for each call and what was sent for it, so that the plugin's promise can
 * be checked call by call: a refused call gets no reply, an accepted one exactly one terminal reply.
 *
 * A record is never changed outside its page's lock. Records of one sid are kept oldest first: a sid may be
 * used again, and then a reply belongs to the oldest call that still waits for its terminal one. A ledger that forgets
 * drops a record when nothing more may come for it: whatever still comes is then for a sid that nobody knows.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"

static nrhost_page *lock_page(nrhost_ledger *ledger, uint64_t sid) {
    nrhost_page *p = &ledger->pages[nrhost_shard_index(sid)];
    pthread_mutex_lock(&p->lock);
    return p;
}

static nrhost_record **bucket_of(nrhost_page *p, uint64_t sid) {
    return &p->buckets[((sid * 0x9e3779b97f4a7c15u) >> 26) % NRHOST_PAGE_BUCKETS];
}

/* With the page locked. Nothing is recorded any more: what led to this stays in the rings. */
__attribute__((format(printf, 3, 4))) static void broken(nrhost_ledger *ledger, uint64_t *counter, const char *format,
                                                         ...) {
    va_list arguments;
    va_start(arguments, format);
    (*counter)++;
    pthread_mutex_lock(&ledger->lock);
    if (ledger->first[0] == '\0') {
        vsnprintf(ledger->first, sizeof ledger->first, format, arguments);
    }
    pthread_mutex_unlock(&ledger->lock);
    va_end(arguments);
    nrhost_events_freeze();
}

/* Statuses up to StreamEnd may come from anywhere; above, `highest` alone. */
void nrhost_ledger_status(nrhost_ledger *ledger, uint64_t sid, NrStatus status, NrStatus highest) {
    if (status > NR_STREAM_END && status != highest) {
        nrhost_page *p = lock_page(ledger, sid);
        broken(ledger, &p->sum.bad_status, "sid %llu: status %u is not ABI %s's there", (unsigned long long)sid, status,
               ledger->front->name);
        pthread_mutex_unlock(&p->lock);
    }
}

/* With the page locked: a record out of those that are over, or a new one. */
static nrhost_record *make_record(nrhost_page *p) {
    nrhost_record *record = p->spare;
    if (record != NULL) {
        p->spare = record->next;
        *record = (nrhost_record){0};
        return record;
    }
    record = calloc(1, sizeof *record);
    if (record == NULL) {
        fprintf(stderr, "nrhost: no memory for the ledger\n");
        abort();
    }
    return record;
}

nrhost_record *nrhost_ledger_call(nrhost_ledger *ledger, uint64_t sid, nrhost_kind kind) {
    nrhost_page *p = lock_page(ledger, sid);
    nrhost_record *record = make_record(p);
    record->sid = sid;
    record->returned = NRHOST_PENDING;
    record->kind = (uint8_t)kind;
    nrhost_record **link = bucket_of(p, sid);
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = record;
    nrhost_note(p, NRHOST_CALLED, sid, NR_OK, 0);
    pthread_mutex_unlock(&p->lock);
    return record;
}

/* With the page locked; nobody uses the record after this. */
static void forget(nrhost_ledger *ledger, nrhost_page *p, nrhost_record *record) {
    if (!ledger->forgets || !nrhost_record_is_over(record)) {
        return;
    }
    nrhost_record **link = bucket_of(p, record->sid);
    while (*link != record) {
        link = &(*link)->next;
    }
    *link = record->next;
    record->next = p->spare;
    p->spare = record;
}

void nrhost_ledger_returned(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record, NrStatus status) {
    nrhost_ledger_status(ledger, sid, status, ledger->front->handle_max);
    nrhost_page *p = lock_page(ledger, sid);
    record->returned = status;
    nrhost_note(p, NRHOST_RETURNED, sid, status, 0);
    if (status == NR_OK) {
        p->sum.accepted++;
    } else {
        p->sum.refused++;
        if (record->replies > 0) {
            broken(ledger, &p->sum.after_refusal, "sid %llu: handle answered %s and sent a reply",
                   (unsigned long long)sid, nrhost_status_name(status));
        }
    }
    forget(ledger, p, record);
    pthread_mutex_unlock(&p->lock);
}

/* The oldest call of the sid that waits for its terminal reply, else the newest one; NULL for none at all. */
static nrhost_record *owner(nrhost_page *p, uint64_t sid) {
    nrhost_record *newest = NULL;
    for (nrhost_record *record = *bucket_of(p, sid); record != NULL; record = record->next) {
        if (record->sid == sid) {
            if (nrhost_record_waits(record)) {
                return record;
            }
            newest = record;
        }
    }
    return newest;
}

/* FNV-1a: enough to tell whether a frame has come again. */
static uint64_t hash_of(const nrhost_frame *frame) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < frame->len; i++) {
        hash = (hash ^ frame->data[i]) * 0x100000001b3u;
    }
    return hash;
}

/* A refused frame comes again before any other; or the plugin gives the stream up with Err, since it cannot wait. */
static bool is_in_order(const nrhost_record *record, const nrhost_frame *frame) {
    return !record->refused || frame->status == NR_ERR ||
           (frame->status == record->refused_status && frame->len == record->refused_len &&
            hash_of(frame) == record->refused_hash);
}

/* With the page locked. */
static void count_reply(nrhost_ledger *ledger, nrhost_page *p, nrhost_record *record, const nrhost_frame *frame) {
    unsigned long long shown = record->sid;
    p->sum.replies++;
    record->replies++;
    if (record->sending++ > 0) {
        broken(ledger, &p->sum.overlaps, "sid %llu: two sends at the same time", shown);
    }
    if (!is_in_order(record, frame)) {
        broken(ledger, &p->sum.reordered, "sid %llu: another frame than the one that was not taken", shown);
    }
    record->refused = false;
    if (record->told) {
        broken(ledger, &p->sum.after_invalid, "sid %llu: sent again after the host had answered Invalid", shown);
    } else if (record->terminal) {
        broken(ledger, &p->sum.after_terminal, "sid %llu: reply %u came after the terminal one", shown,
               record->replies);
    } else if (record->returned != NR_OK && record->returned != NRHOST_PENDING) {
        broken(ledger, &p->sum.after_refusal, "sid %llu: a reply, though handle had answered %s", shown,
               nrhost_status_name(record->returned));
    } else if (nrhost_is_terminal((nrhost_kind)record->kind, frame->status)) {
        record->terminal = true;
        p->sum.terminals++;
    }
}

nrhost_record *nrhost_ledger_send_begins(nrhost_ledger *ledger, uint64_t sid, const nrhost_frame *frame,
                                         uint64_t inside) {
    unsigned long long shown = sid;
    nrhost_ledger_status(ledger, sid, frame->status, NR_STREAM_END);
    nrhost_page *p = lock_page(ledger, sid);
    nrhost_record *record = owner(p, sid);
    nrhost_note(p, NRHOST_SENDS, sid, frame->status, frame->len);
    if (record == NULL) {
        broken(ledger, &p->sum.unknown, "sid %llu: a reply for a sid never used%s", shown,
               ledger->forgets ? ", or whose call is over" : "");
    } else {
        count_reply(ledger, p, record, frame);
    }
    if (inside != 0 && inside != sid) {
        broken(ledger, &p->sum.strangers, "sid %llu: sent by a thread inside a call of sid %llu", shown,
               (unsigned long long)inside);
    }
    pthread_mutex_unlock(&p->lock);
    return record;
}

/* With the page locked: the frame was not taken, so it was never sent. Only streams meet it, and only when open. */
static void take_back(nrhost_page *p, nrhost_record *record, const nrhost_frame *frame) {
    record->replies--;
    p->sum.replies--;
    if (nrhost_is_terminal((nrhost_kind)record->kind, frame->status)) {
        record->terminal = false;
        p->sum.terminals--;
    }
    record->refused = true;
    record->refused_status = frame->status;
    record->refused_len = frame->len;
    record->refused_hash = hash_of(frame);
    p->sum.backpressure++;
}

void nrhost_ledger_send_ends(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record, NrStatus answer,
                             const nrhost_frame *frame) {
    nrhost_page *p = lock_page(ledger, sid);
    record->sending--;
    nrhost_note(p, NRHOST_SENT, sid, answer, 0);
    if (answer == NR_BACKPRESSURE) {
        take_back(p, record, frame);
    } else if (answer == NR_INVALID) {
        record->told = true;
        if (!record->terminal) {
            record->terminal = true;
            p->sum.terminals++;
        }
    }
    forget(ledger, p, record);
    pthread_mutex_unlock(&p->lock);
}
