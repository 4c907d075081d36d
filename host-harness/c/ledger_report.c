/* The ledger as a whole: made, summed up, swept, freed. */
#include <stdlib.h>
#include <string.h>

#include "ledger.h"

nrhost_ledger *nrhost_ledger_new(const nrhost_front *front, const nrhost_options *options) {
    nrhost_ledger *ledger = aligned_alloc(_Alignof(nrhost_ledger), sizeof *ledger);
    if (ledger == NULL) {
        return NULL;
    }
    memset(ledger, 0, sizeof *ledger);
    ledger->front = front;
    ledger->forgets = options->ledger_forgets;
    pthread_mutex_init(&ledger->lock, NULL);
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        pthread_mutex_init(&ledger->pages[i].lock, NULL);
    }
    if (options->ledger_events && !nrhost_events_make(ledger)) {
        nrhost_ledger_free(ledger);
        return NULL;
    }
    return ledger;
}

/* With the page locked. */
static void end_refused(nrhost_page *p, nrhost_record *record) {
    if (record->refused && !record->terminal && record->refused_status != NR_OK) {
        record->terminal = true;
        p->sum.terminals++;
    }
}

void nrhost_report_add(nrhost_report *sum, const nrhost_report *more) {
    sum->accepted += more->accepted;
    sum->refused += more->refused;
    sum->replies += more->replies;
    sum->terminals += more->terminals;
    sum->backpressure += more->backpressure;
    sum->open += more->open;
    sum->after_terminal += more->after_terminal;
    sum->after_refusal += more->after_refusal;
    sum->unknown += more->unknown;
    sum->overlaps += more->overlaps;
    sum->strangers += more->strangers;
    sum->bad_status += more->bad_status;
    sum->after_invalid += more->after_invalid;
    sum->reordered += more->reordered;
    if (sum->first[0] == '\0') {
        memcpy(sum->first, more->first, sizeof sum->first);
    }
}

bool nrhost_ledger_report(nrhost *host, nrhost_report *report) {
    nrhost_ledger *ledger = host->ledger;
    if (ledger == NULL) {
        return false;
    }
    *report = (nrhost_report){0};
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        nrhost_page *p = &ledger->pages[i];
        pthread_mutex_lock(&p->lock);
        for (size_t b = 0; b < NRHOST_PAGE_BUCKETS; b++) {
            for (const nrhost_record *record = p->buckets[b]; record != NULL; record = record->next) {
                report->open += nrhost_record_waits(record);
            }
        }
        nrhost_report_add(report, &p->sum);
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_lock(&ledger->lock);
    memcpy(report->first, ledger->first, sizeof report->first);
    pthread_mutex_unlock(&ledger->lock);
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
                end_refused(p, record);
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
}

/* Frees the records that are over, or all of them, and starts to count anew. */
static void sweep(nrhost_ledger *ledger, bool all) {
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        nrhost_page *p = &ledger->pages[i];
        pthread_mutex_lock(&p->lock);
        for (size_t b = 0; b < NRHOST_PAGE_BUCKETS; b++) {
            for (nrhost_record **link = &p->buckets[b]; *link != NULL;) {
                nrhost_record *record = *link;
                if (all || nrhost_record_is_over(record)) {
                    *link = record->next;
                    free(record);
                } else {
                    link = &record->next;
                }
            }
        }
        for (nrhost_record *record = p->spare, *next; record != NULL; record = next) {
            next = record->next;
            free(record);
        }
        p->spare = NULL;
        p->sum = (nrhost_report){0};
        pthread_mutex_unlock(&p->lock);
    }
}

void nrhost_ledger_reset(nrhost *host) {
    if (host->ledger != NULL) {
        sweep(host->ledger, false);
        pthread_mutex_lock(&host->ledger->lock);
        host->ledger->first[0] = '\0';
        pthread_mutex_unlock(&host->ledger->lock);
    }
}

void nrhost_ledger_free(nrhost_ledger *ledger) {
    if (ledger == NULL) {
        return;
    }
    sweep(ledger, true);
    nrhost_events_free(ledger);
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        pthread_mutex_destroy(&ledger->pages[i].lock);
    }
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}
