/* The ledger's records: ledger.c writes them, ledger_report.c reads and frees them. */
#ifndef NRHOST_LEDGER_H
#define NRHOST_LEDGER_H

#include "internal.h"

#define NRHOST_PAGES NRHOST_SHARDS
#define NRHOST_PAGE_BUCKETS 1024u
#define NRHOST_PAGE_EVENTS 256u
#define NRHOST_PENDING UINT32_MAX /* handle has not returned yet */

struct nrhost_record {
    struct nrhost_record *next;
    uint64_t sid;
    NrStatus returned;
    uint32_t replies;
    uint32_t sending;
    uint8_t kind;
    bool terminal;
    bool told;    /* a send was answered Invalid: the plugin knows that nothing more is wanted */
    bool refused; /* the last send was answered Backpressure: what follows is of that frame */
    NrStatus refused_status;
    size_t refused_len;
    uint64_t refused_hash;
};

/* The lock guards all of the page. */
typedef struct nrhost_page {
    _Alignas(64) pthread_mutex_t lock;
    nrhost_record *buckets[NRHOST_PAGE_BUCKETS];
    nrhost_record *spare; /* for the next calls; of a ledger that forgets */
    nrhost_report sum;    /* of the page's sids; `open` and `first` are not kept here */
    nrhost_event *events; /* a ring; NULL: none are kept */
    uint64_t happened;    /* events so far; the last is at (happened - 1) % NRHOST_PAGE_EVENTS */
} nrhost_page;

struct nrhost_ledger {
    const nrhost_front *front;
    bool forgets;
    nrhost_page pages[NRHOST_PAGES];
    pthread_mutex_t lock; /* guards `first`; taken while a page is locked */
    char first[sizeof((nrhost_report *)NULL)->first];
};

/* With the page locked: a call that is owed a terminal reply. */
static inline bool nrhost_record_waits(const nrhost_record *record) {
    return !record->terminal && (record->returned == NR_OK || record->returned == NRHOST_PENDING);
}

/* With the page locked: nothing more may come for it. */
static inline bool nrhost_record_is_over(const nrhost_record *record) {
    return !nrhost_record_waits(record) && record->sending == 0 && record->returned != NRHOST_PENDING;
}

/* ledger_events.c; all with the page locked */
NRHOST_INTERNAL bool nrhost_events_make(nrhost_ledger *ledger);
NRHOST_INTERNAL void nrhost_events_free(nrhost_ledger *ledger);
NRHOST_INTERNAL void nrhost_note(nrhost_page *p, nrhost_event_kind what, uint64_t sid, NrStatus status, uint64_t len);

#endif /* NRHOST_LEDGER_H */
