/*
 * What a FakeHost's plugin sends: host functions of both ABIs that keep a copy and return at once, without Python.
 */
#ifndef NRPY_MAILBOX_H
#define NRPY_MAILBOX_H

#include "core_table.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct nrpy_mailbox nrpy_mailbox;

typedef struct nrpy_sent {
    struct nrpy_sent *next;
    uint64_t sid;
    NrStatus status;
    uint64_t length;
    unsigned char bytes[];
} nrpy_sent;

/* `capacity`: frames of a stream that may wait to be read before ABI v2 is told Backpressure; 0: any number. NULL without
 * memory. */
nrpy_mailbox *nrpy_mailbox_new(unsigned capacity);

/* Nobody may send any more. */
void nrpy_mailbox_free(nrpy_mailbox *mailbox);

/* The host to open an instance with; valid as long as the mailbox. */
nrpy_host nrpy_mailbox_host(nrpy_mailbox *mailbox, bool v2);

/* A call is about to be made. Sids are small numbers, counted up. Returns false without memory. */
bool nrpy_mailbox_expect(nrpy_mailbox *mailbox, uint64_t sid, bool is_stream);

/* All that was sent since the last time, oldest first, the caller's to free; waits for the first. NULL: nothing more
 * comes. Must not hold the GIL. */
nrpy_sent *nrpy_mailbox_take(nrpy_mailbox *mailbox);

/* One frame of a stream has been read: there is room for one more. */
void nrpy_mailbox_read(nrpy_mailbox *mailbox, uint64_t sid);

/* Nobody wants more for this sid: ABI v2 is told Invalid from here on. */
void nrpy_mailbox_drop(nrpy_mailbox *mailbox, uint64_t sid);

/* Whether the last answer for this sid was Backpressure, and would be another now. */
bool nrpy_mailbox_has_refused(nrpy_mailbox *mailbox, uint64_t sid);

/* How often the answer was Backpressure. */
uint64_t nrpy_mailbox_refusals(nrpy_mailbox *mailbox);

void nrpy_mailbox_lift_capacity(nrpy_mailbox *mailbox);

/* Nothing more is sent: `take` gives what is left, then NULL. */
void nrpy_mailbox_end(nrpy_mailbox *mailbox);

#endif /* NRPY_MAILBOX_H */
