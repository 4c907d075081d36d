/*
 * The end of an instance: every accepted call gets its terminal reply, then nothing touches the host any more.
 */
#ifndef NRPY_CLOSING_H
#define NRPY_CLOSING_H

#include "python.h"

#include "instance.h"
#include "monitor.h"
#include "threads.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

/* One run of close. Lives on the heap, from open on, so that an end needs no memory: a Python part that does not come
 * back keeps it. */
typedef struct nrpy_closing {
    nrpy_errand errand;      /* where there is no thread for it */
    nrpy_instance *instance; /* a reference */
    nrpy_thread *reserved;   /* for the thread that closes */
    nrpy_thread *caller;     /* the thread that shutdown was called on */
    unsigned caller_visits;  /* sends of the instance below shutdown on the caller's stack */
    bool host_thread_left;   /* a host's thread is in a handler that did not end in time */
    _Atomic int refs;        /* the caller and the closer */
    sem_t host_done;         /* posted when the host may go: all replies sent */
    sem_t hooks_done;        /* posted when the author's hooks have run */
    sem_t sends_done;        /* posted when nobody is inside the host any more */
    sem_t python_done;       /* posted when Python's part has ended */
} nrpy_closing;

/* Whether the loop stands below shutdown on the caller's stack: nothing goes on there before it returns. */
bool nrpy_closing_is_loop_of_caller(const nrpy_closing *run, const nrpy_loop *loop);

/* Refuses what is queued, tells all handlers to end, waits for them as long as they may take, and answers Err for those
 * that have not ended. On a thread of ours; must not hold the GIL. */
void nrpy_closing_end_calls(nrpy_closing *run);

/* Closes generators that nobody will go on with. Once the host has its replies: what a finally does may take its time.
 * Needs the GIL. */
void nrpy_closing_close_parked(nrpy_instance *instance);

/* Sends what is left, and waits until nobody is inside the host, nor will be. Without a deadline: the host frees its
 * context when shutdown returns. */
void nrpy_closing_wait_for_sends(const nrpy_closing *run);

/* Waits until nobody is inside the host, for `seconds` at most. */
void nrpy_closing_wait_for_sends_until(const nrpy_closing *run, double seconds);

#endif /* NRPY_CLOSING_H */
