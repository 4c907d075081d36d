/*
 * The call that runs in a thread's own slot: shown while it runs, and its one reply claimed before it is sent.
 *
 * The claim costs a call no locked instruction. All who may answer hold the GIL when they claim, but for a close whose
 * handlers do not end: one of them may hold the GIL. So close names the call it wants in `contest`, fences all threads, and looks
 * at the slot again. Whoever claims marks the slot, and then looks at `contest`. Either close sees the mark, or the mark's
 * owner sees that the call is contested: then the two settle it in `contest`, by compare-and-swap.
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

/* The claim of a call that a close wants to answer. `word` is what it had while it ran. */
static inline bool nrpy_running_win(nrpy_thread *thread, uint64_t word) {
    return atomic_compare_exchange_strong(&thread->running.contest, &word, word ^ NRPY_RUNNING ^ NRPY_SENDING);
}

/*
 * Makes the reply of the call in a thread's slot the caller's, who sends it: from that thread (NRPY_SENDING), or from
 * another (NRPY_TAKEN). Returns false where somebody has answered for it. Needs the GIL.
 */
static inline bool nrpy_running_claim(nrpy_thread *thread, uint64_t mark) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    if (__builtin_expect((word & NRPY_STATE_MASK) != NRPY_RUNNING, 0)) {
        return false;
    }
    atomic_store_explicit(&thread->running.word, word ^ NRPY_RUNNING ^ mark, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    uint64_t contest = atomic_load_explicit(&thread->running.contest, memory_order_relaxed);
    bool is_contested = (contest ^ word) <= NRPY_STATE_MASK;
    return !__builtin_expect(is_contested, 0) || nrpy_running_win(thread, word);
}

/* Whether the call `sid` runs on a thread and has no answer yet. */
static inline bool nrpy_running_is_open(nrpy_thread *thread, const nrpy_instance *instance, uint64_t sid) {
    uint64_t word = atomic_load(&thread->running.word);
    return (word & NRPY_STATE_MASK) == NRPY_RUNNING && atomic_load(&thread->running.instance) == instance &&
           atomic_load(&thread->running.sid) == sid &&
           atomic_load(&thread->running.contest) != (word ^ NRPY_RUNNING ^ NRPY_TAKEN);
}

static inline void nrpy_running_end(nrpy_thread *thread) {
    uint64_t word = atomic_load_explicit(&thread->running.word, memory_order_relaxed);
    word = (word & ~(uint64_t)NRPY_STATE_MASK) + NRPY_SEQUENCE_STEP;
    atomic_store_explicit(&thread->running.word, word, memory_order_release);
}

/*
 * Ends the call in this thread's slot: sends its reply where that was claimed. Must not hold the GIL. The slot was marked
 * before this looks for the host; close says that the host is gone, fences all threads, and then looks at the slots: it
 * waits for this send, or this send does not happen.
 */
static inline void nrpy_running_send(nrpy_thread *thread, nrpy_instance *instance, uint64_t sid, bool is_claimed,
                                     nrpy_reply *reply) {
    if (__builtin_expect(!is_claimed, 0)) {
        if (reply->length > 0 || reply->status != NR_OK) {
            atomic_fetch_add(&instance->late_replies, 1);
        }
    } else if (!atomic_load_explicit(&instance->host_gone, memory_order_acquire)) {
        nrpy_host_answer_reply(instance, sid, reply);
    }
    nrpy_running_end(thread);
}

#endif /* NRPY_RUNNING_H */
