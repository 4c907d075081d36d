/*
 * The last events of a ledger, so that a broken promise can be seen with what led to it: a ring for each page, written
 * under the page's lock. At the first disagreement anywhere all rings of the process stand still.
 */
#include <stdlib.h>
#include <time.h>

#include "ledger.h"

static atomic_bool frozen;

void nrhost_events_freeze(void) {
    atomic_store(&frozen, true);
}

bool nrhost_events_frozen(void) {
    return atomic_load_explicit(&frozen, memory_order_relaxed);
}

bool nrhost_events_make(nrhost_ledger *ledger) {
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        ledger->pages[i].events = calloc(NRHOST_PAGE_EVENTS, sizeof(nrhost_event));
        if (ledger->pages[i].events == NULL) {
            return false;
        }
    }
    return true;
}

void nrhost_events_free(nrhost_ledger *ledger) {
    for (size_t i = 0; i < NRHOST_PAGES; i++) {
        free(ledger->pages[i].events);
    }
}

void nrhost_note(nrhost_page *p, nrhost_event_kind what, uint64_t sid, NrStatus status, uint64_t len) {
    struct timespec now;
    if (p->events == NULL || nrhost_events_frozen()) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    p->events[p->happened++ % NRHOST_PAGE_EVENTS] = (nrhost_event){
        .at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .sid = sid,
        .len = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX,
        .status = (uint16_t)status,
        .what = (uint16_t)what,
    };
}

static int compare(const void *a, const void *b) {
    const nrhost_event *first = a, *second = b;
    return (first->at_ns > second->at_ns) - (first->at_ns < second->at_ns);
}

/* With the page locked: its events, and an event for each call that still waits. */
static size_t copy_page(const nrhost_page *p, nrhost_event *out, size_t room) {
    size_t count = 0, kept = p->happened < NRHOST_PAGE_EVENTS ? (size_t)p->happened : NRHOST_PAGE_EVENTS;
    for (size_t i = 0; i < kept && count < room && p->events != NULL; i++) {
        out[count++] = p->events[i];
    }
    for (size_t b = 0; b < NRHOST_PAGE_BUCKETS; b++) {
        for (const nrhost_record *record = p->buckets[b]; record != NULL && count < room; record = record->next) {
            if (nrhost_record_waits(record)) {
                out[count++] = (nrhost_event){.at_ns = UINT64_MAX, .sid = record->sid, .what = NRHOST_WAITS};
            }
        }
    }
    return count;
}

size_t nrhost_ledger_events(nrhost *host, nrhost_event *out, size_t room) {
    size_t count = 0;
    for (size_t i = 0; host->ledger != NULL && i < NRHOST_PAGES; i++) {
        nrhost_page *p = &host->ledger->pages[i];
        pthread_mutex_lock(&p->lock);
        count += copy_page(p, out + count, room - count);
        pthread_mutex_unlock(&p->lock);
    }
    qsort(out, count, sizeof *out, compare);
    return count;
}
