/*
 * The call that runs in a thread's own slot: shown while it runs, and its one reply claimed before it is sent.
 */
#ifndef NRPY_RUNNING_H
#define NRPY_RUNNING_H

#include "clock.h"
#include "entries.h"
#include "reply.h"
#include "threads.h"

static inline bool nrpy_running_is_free(const nrpy_thread *thread) {
    return (atomic_load_explicit(&thread->running.word, memory_order_relaxed) & NRPY_STATE_MASK) == NRPY_IDLE;
}

static inline void nrpy_note_sid(nrpy_instance *instance, uint64_t sid) {
    if (sid > atomic_load_explicit(&instance->highest_sid, memory_order_relaxed)) {
        atomic_store_explicit(&instance->highest_sid, sid, memory_order_relaxed);
    }
}

static inline void nrpy_running_begin(nrpy_thread *thread, nrpy_instance *instance, const nrpy_entry *entry,
                                      uint64_t sid) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    atomic_store_explicit(&thread->running.instance, instance, memory_order_relaxed);
    atomic_store_explicit(&thread->running.sid, sid, memory_order_relaxed);
    thread->running.entry = entry;
    atomic_store_explicit(&thread->running.word, word | NRPY_RUNNING, memory_order_release);
    nrpy_note_sid(instance, sid);
}

/* A plain call has its reply. Needs the GIL. */
static inline void nrpy_running_count(const nrpy_entry *entry, NrStatus status, int64_t began_ns, unsigned weight) {
    nrpy_counters *counters = entry->counters;
    nrpy_count_with_gil(&counters->ended);
    if (__builtin_expect(weight != 0, 0)) {
        nrpy_count_latency(counters, nrpy_time_ns(CLOCK_MONOTONIC) - began_ns, weight);
    }
    if (__builtin_expect(status != NR_OK && status != NR_STREAM_END, 0)) {
        nrpy_count(&counters->errors, 1);
    }
}

/* Makes the reply of the call in this thread's slot ours. Returns false where somebody has answered for it. */
static inline bool nrpy_running_claim(nrpy_thread *thread) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    uint64_t base = word & ~(uint64_t)NRPY_STATE_MASK;
    word = base | NRPY_RUNNING;
    return atomic_compare_exchange_strong(&thread->running.word, &word, base | NRPY_SENDING);
}

static inline void nrpy_running_end(nrpy_thread *thread) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    word = (word & ~(uint64_t)NRPY_STATE_MASK) + NRPY_SEQUENCE_STEP;
    atomic_store_explicit(&thread->running.word, word, memory_order_release);
}

/*
 * Sends the reply of the call in this thread's slot, unless somebody has answered for it. Must not hold the GIL. Taking
 * the slot and looking for the host are in one total order with close, which says that the host is gone and then looks
 * at the slots: it waits for this send, or this send does not happen.
 */
static inline void nrpy_running_send(nrpy_thread *thread, nrpy_instance *instance, uint64_t sid, nrpy_reply *reply) {
    if (!nrpy_running_claim(thread)) {
        if (reply->length > 0 || reply->status != NR_OK) {
            atomic_fetch_add(&instance->late_replies, 1);
        }
    } else if (!atomic_load(&instance->host_gone)) {
        nrpy_host_answer_reply(instance, sid, reply);
    }
    nrpy_running_end(thread);
}

#endif /* NRPY_RUNNING_H */
