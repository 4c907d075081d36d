/*
 * The ledger: what handle answered for each call and what was sent for it, so that the plugin's promise can
 * be checked call by call: a refused call gets no reply, an accepted one exactly one terminal reply.
 *
 * A record is never changed outside its page's lock. Records of one sid are kept oldest first: a sid may be
 * used again, and then a reply belongs to the oldest call that still waits for its terminal one.
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

static void add(nrhost_ledger *ledger, uint64_t *counter) {
    pthread_mutex_lock(&ledger->lock);
    (*counter)++;
    pthread_mutex_unlock(&ledger->lock);
}

static void subtract(nrhost_ledger *ledger, uint64_t *counter) {
    pthread_mutex_lock(&ledger->lock);
    (*counter)--;
    pthread_mutex_unlock(&ledger->lock);
}

__attribute__((format(printf, 3, 4))) static void broken(nrhost_ledger *ledger, uint64_t *counter, const char *format,
                                                         ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&ledger->lock);
    (*counter)++;
    if (ledger->sum.first[0] == '\0') {
        vsnprintf(ledger->sum.first, sizeof ledger->sum.first, format, arguments);
    }
    pthread_mutex_unlock(&ledger->lock);
    va_end(arguments);
}

/* Statuses up to StreamEnd may come from anywhere; above, `highest` alone. */
void nrhost_ledger_status(nrhost_ledger *ledger, uint64_t sid, NrStatus status, NrStatus highest) {
    if (status > NR_STREAM_END && status != highest) {
        broken(ledger, &ledger->sum.bad_status, "sid %llu: status %u is not ABI %s's there", (unsigned long long)sid,
               status, ledger->front->name);
    }
}

nrhost_record *nrhost_ledger_call(nrhost_ledger *ledger, uint64_t sid, nrhost_kind kind) {
    nrhost_record *record = calloc(1, sizeof *record);
    if (record == NULL) {
        fprintf(stderr, "nrhost: no memory for the ledger\n");
        abort();
    }
    record->sid = sid;
    record->returned = NRHOST_PENDING;
    record->kind = (uint8_t)kind;
    nrhost_page *p = lock_page(ledger, sid);
    nrhost_record **link = bucket_of(p, sid);
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = record;
    pthread_mutex_unlock(&p->lock);
    return record;
}

void nrhost_ledger_returned(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record, NrStatus status) {
    nrhost_ledger_status(ledger, sid, status, ledger->front->handle_max);
    nrhost_page *p = lock_page(ledger, sid);
    record->returned = status;
    if (status == NR_OK) {
        add(ledger, &ledger->sum.accepted);
    } else {
        add(ledger, &ledger->sum.refused);
        if (record->replies > 0) {
            broken(ledger, &ledger->sum.after_refusal, "sid %llu: handle answered %s and sent a reply",
                   (unsigned long long)sid, nrhost_status_name(status));
        }
    }
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
static void count_reply(nrhost_ledger *ledger, nrhost_record *record, const nrhost_frame *frame) {
    unsigned long long shown = record->sid;
    add(ledger, &ledger->sum.replies);
    record->replies++;
    if (record->sending++ > 0) {
        broken(ledger, &ledger->sum.overlaps, "sid %llu: two sends at the same time", shown);
    }
    if (!is_in_order(record, frame)) {
        broken(ledger, &ledger->sum.reordered, "sid %llu: another frame than the one that was not taken", shown);
    }
    record->refused = false;
    if (record->told) {
        broken(ledger, &ledger->sum.after_invalid, "sid %llu: sent again after the host had answered Invalid", shown);
    } else if (record->terminal) {
        broken(ledger, &ledger->sum.after_terminal, "sid %llu: reply %u came after the terminal one", shown,
               record->replies);
    } else if (record->returned != NR_OK && record->returned != NRHOST_PENDING) {
        broken(ledger, &ledger->sum.after_refusal, "sid %llu: a reply, though handle had answered %s", shown,
               nrhost_status_name(record->returned));
    } else if (nrhost_is_terminal((nrhost_kind)record->kind, frame->status)) {
        record->terminal = true;
        add(ledger, &ledger->sum.terminals);
    }
}

nrhost_record *nrhost_ledger_send_begins(nrhost_ledger *ledger, uint64_t sid, const nrhost_frame *frame,
                                         uint64_t inside) {
    unsigned long long shown = sid;
    nrhost_ledger_status(ledger, sid, frame->status, NR_STREAM_END);
    nrhost_page *p = lock_page(ledger, sid);
    nrhost_record *record = owner(p, sid);
    if (record == NULL) {
        broken(ledger, &ledger->sum.unknown, "sid %llu: a reply for a sid never used", shown);
    } else {
        count_reply(ledger, record, frame);
    }
    if (inside != 0 && inside != sid) {
        broken(ledger, &ledger->sum.strangers, "sid %llu: sent by a thread inside a call of sid %llu", shown,
               (unsigned long long)inside);
    }
    pthread_mutex_unlock(&p->lock);
    return record;
}

/* With the page locked: the frame was not taken, so it was never sent. Only streams meet it, and only when open. */
static void take_back(nrhost_ledger *ledger, nrhost_record *record, const nrhost_frame *frame) {
    record->replies--;
    subtract(ledger, &ledger->sum.replies);
    if (nrhost_is_terminal((nrhost_kind)record->kind, frame->status)) {
        record->terminal = false;
        subtract(ledger, &ledger->sum.terminals);
    }
    record->refused = true;
    record->refused_status = frame->status;
    record->refused_len = frame->len;
    record->refused_hash = hash_of(frame);
    add(ledger, &ledger->sum.backpressure);
}

void nrhost_ledger_send_ends(nrhost_ledger *ledger, uint64_t sid, nrhost_record *record, NrStatus answer,
                             const nrhost_frame *frame) {
    nrhost_page *p = lock_page(ledger, sid);
    record->sending--;
    if (answer == NR_BACKPRESSURE) {
        take_back(ledger, record, frame);
    } else if (answer == NR_INVALID) {
        record->told = true;
        if (!record->terminal) {
            record->terminal = true;
            add(ledger, &ledger->sum.terminals);
        }
    }
    pthread_mutex_unlock(&p->lock);
}
