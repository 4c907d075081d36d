/* The ledger's records: ledger.c writes them, ledger_report.c reads and frees them. */
#ifndef NRHOST_LEDGER_H
#define NRHOST_LEDGER_H

#include "internal.h"

#define NRHOST_PAGES NRHOST_SHARDS
#define NRHOST_PAGE_BUCKETS 1024u
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

typedef struct nrhost_page {
    _Alignas(64) pthread_mutex_t lock;
    nrhost_record *buckets[NRHOST_PAGE_BUCKETS];
} nrhost_page;

struct nrhost_ledger {
    const nrhost_front *front;
    nrhost_page pages[NRHOST_PAGES];
    pthread_mutex_t lock; /* guards `sum`; taken while a page is locked */
    nrhost_report sum;
};

/* With the page locked: a call that is owed a terminal reply. */
static inline bool nrhost_record_waits(const nrhost_record *record) {
    return !record->terminal && (record->returned == NR_OK || record->returned == NRHOST_PENDING);
}

#endif /* NRHOST_LEDGER_H */
