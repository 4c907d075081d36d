/* The ledger as a whole: made, summed up, swept, freed. */
#include <stdlib.h>
#include <string.h>

#include "ledger.h"

nrhost_ledger *nrhost_ledger_new(const nrhost_front *front) {
    nrhost_ledger *ledger = aligned_alloc(_Alignof(nrhost_ledger), sizeof *ledger);
    if (ledger == NULL) {
        return NULL;
    }
    memset(ledger, 0, sizeof *ledger);
    ledger->front = front;
    pthread_mutex_init(&ledger->lock, NULL);
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        pthread_mutex_init(&ledger->pages[i].lock, NULL);
    }
    return ledger;
}

static void end_refused(nrhost_ledger *ledger, nrhost_record *record) {
    if (record->refused && !record->terminal && record->refused_status != NR_OK) {
        record->terminal = true;
        pthread_mutex_lock(&ledger->lock);
        ledger->sum.terminals++;
        pthread_mutex_unlock(&ledger->lock);
    }
}

bool nrhost_ledger_report(nrhost *host, nrhost_report *report) {
    nrhost_ledger *ledger = host->ledger;
    if (ledger == NULL) {
        return false;
    }
    uint64_t open = 0;
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        nrhost_page *p = &ledger->pages[i];
        pthread_mutex_lock(&p->lock);
        for (size_t b = 0; b < NRHOST_PAGE_BUCKETS; b++) {
            for (const nrhost_record *record = p->buckets[b]; record != NULL; record = record->next) {
                open += nrhost_record_waits(record);
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_lock(&ledger->lock);
    *report = ledger->sum;
    pthread_mutex_unlock(&ledger->lock);
    report->open = open;
    return true;
}

bool nrhost_report_clean(const nrhost_report *report) {
    return report->open == 0 && report->first[0] == '\0';
}

void nrhost_ledger_shut(nrhost_ledger *ledger) {
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        nrhost_page *p = &ledger->pages[i];
        pthread_mutex_lock(&p->lock);
        for (size_t b = 0; b < NRHOST_PAGE_BUCKETS; b++) {
            for (nrhost_record *record = p->buckets[b]; record != NULL; record = record->next) {
                end_refused(ledger, record);
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
}

/* Frees the records that are over, or all of them. */
static void sweep(nrhost_ledger *ledger, bool all) {
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        nrhost_page *p = &ledger->pages[i];
        pthread_mutex_lock(&p->lock);
        for (size_t b = 0; b < NRHOST_PAGE_BUCKETS; b++) {
            for (nrhost_record **link = &p->buckets[b]; *link != NULL;) {
                nrhost_record *record = *link;
                if (all ||
                    (!nrhost_record_waits(record) && record->sending == 0 && record->returned != NRHOST_PENDING)) {
                    *link = record->next;
                    free(record);
                } else {
                    link = &record->next;
                }
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
}

void nrhost_ledger_reset(nrhost *host) {
    if (host->ledger != NULL) {
        sweep(host->ledger, false);
        pthread_mutex_lock(&host->ledger->lock);
        host->ledger->sum = (nrhost_report){0};
        pthread_mutex_unlock(&host->ledger->lock);
    }
}

void nrhost_ledger_free(nrhost_ledger *ledger) {
    if (ledger == NULL) {
        return;
    }
    sweep(ledger, true);
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        pthread_mutex_destroy(&ledger->pages[i].lock);
    }
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}
