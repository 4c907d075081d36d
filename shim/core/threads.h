/*
 * What the core knows of each thread that enters it, and how a thread gets and leaves the GIL.
 *
 * A thread state made per call costs microseconds on 3.11 and later, and loses threading.local; so a foreign thread keeps
 * one for its life. The structs are never unmapped: who scans the list may read one whose thread has just ended.
 */
#ifndef NRPY_THREADS_H
#define NRPY_THREADS_H

#include "python.h"

#include "blocks.h"
#include "core_table.h"
#include "owned.h"
#include "runtime.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nrpy_call;

/*
 * The unary call that runs on a thread now. `word` holds a sequence number and a state; whoever moves it out of
 * NRPY_RUNNING owns the reply, but for close (running.h). The sequence tells a call from the next one on the same thread.
 */
typedef struct nrpy_running {
    _Atomic uint64_t word;             /* moved out of NRPY_RUNNING under the GIL only */
    _Atomic uint64_t contest;          /* the `word` of the last call that a close wanted to answer, and who got it */
    _Atomic(nrpy_instance *) instance; /* set before the word says NRPY_RUNNING */
    _Atomic uint64_t sid;
    const struct nrpy_entry *entry; /* the thread's own */
} nrpy_running;

enum { NRPY_IDLE = 0, NRPY_RUNNING = 1, NRPY_SENDING = 2, NRPY_TAKEN = 3, NRPY_STATE_MASK = 3, NRPY_SEQUENCE_STEP = 4 };

/* Which call a host is waiting below us for: while one is set, only that call's reply may leave from this thread. */
typedef struct nrpy_host_frame {
    struct nrpy_host_frame *outer;
    nrpy_instance *instance;
    uint64_t sid;
    bool has_call;
} nrpy_host_frame;

/* A send of this thread that has not returned: shutdown from inside it must not wait for it. */
typedef struct nrpy_visit {
    struct nrpy_visit *outer;
    nrpy_instance *instance;
    struct nrpy_exchange *exchange; /* whose frame is being sent, or NULL; borrowed */
} nrpy_visit;

typedef struct nrpy_thread {
    PyThreadState *state;    /* ours, made on the thread's first attach; NULL while borrowed states served it */
    PyObject *leftover;      /* the last reply's bytes, dropped at the next attach */
    nrpy_running running;    /* written by the thread, contested by whoever answers for it */
    nrpy_host_frame *frames; /* the thread's own */
    nrpy_visit *visits;      /* the thread's own */
    _Atomic(struct nrpy_exchange *)
        exchange;                     /* whose handler is at work on it, borrowed, or NULL; written by the thread */
    bool runs_loop;                   /* it is an event loop's; the thread's own */
    unsigned submits;                 /* calls it has put into queues; the thread's own */
    struct nrpy_owned *owned_in_send; /* bytes the host was just given, until it gives them back; the thread's own */
    uintptr_t python_low;             /* where its stack is Python's, down to which address: set once by the thread */
    uintptr_t python_size;            /* from there upwards; 0: the stack is too small, or was not found yet */
    size_t stack_size;                /* 0: not found yet */
    _Atomic bool waits_for_gil;       /* a worker with work in sight; read by the monitor */
    _Atomic bool takes_item;          /* a worker: what it takes from its queue is not to be seen in its slot yet */
    nrpy_block_home blocks;           /* the thread's own, but for what comes back */
    struct nrpy_thread *next;         /* the list of all, only ever added to */
    struct nrpy_thread *next_free;    /* guarded by the list's lock */
} nrpy_thread;

/* How a thread came by the GIL, and what it must give back. */
typedef struct nrpy_attachment {
    PyThreadState *state;
    PyObject *outer_context; /* owned */
    bool was_attached;
} nrpy_attachment;

/* Creates the key whose destructor tidies threads up. Before Py_Initialize where possible: destructors run in the order
 * of the keys, and CPython's own must run after ours. Returns 0 or an errno. */
int nrpy_threads_start(void);

/* Has nrpy_fence_all_threads ask the kernel from here on. To register takes it 10 ms in a process with threads: so nobody who
 * waits may call this. */
void nrpy_threads_make_fence_quick(void);

/* This thread's struct, or NULL without memory. */
nrpy_thread *nrpy_thread_enter(void);

/* The same for a thread of ours that calls are counted on: waits until there is memory. */
nrpy_thread *nrpy_thread_insist(void);

/* A struct for a thread to come, or NULL without memory; and back again where none has come. */
nrpy_thread *nrpy_thread_reserve(void);
void nrpy_thread_unreserve(nrpy_thread *reserved);

/* Makes it this thread's, unless that has one. */
void nrpy_thread_adopt(nrpy_thread *reserved);

/* A moment, before what needed memory is tried again. */
void nrpy_rest_for_memory(void);

/* Gives a call's memory back, from any thread. */
void nrpy_thread_give_block(void *memory);

/* The list of all threads that ever entered. */
nrpy_thread *nrpy_thread_first(void);

extern __thread nrpy_thread *nrpy_thread_cached __attribute__((tls_model("initial-exec")));

static inline nrpy_thread *nrpy_thread_self(void) {
    nrpy_thread *thread = nrpy_thread_cached;
    return __builtin_expect(thread != NULL, 1) ? thread : nrpy_thread_enter();
}

/* Whether a handler is at work on a thread; any thread may ask. */
static inline bool nrpy_is_in_handler(nrpy_thread *thread) {
    return (atomic_load(&thread->running.word) & NRPY_STATE_MASK) != NRPY_IDLE ||
           atomic_load(&thread->exchange) != NULL;
}

/* A worker's item is where close looks: in a slot, in the registry, or sent. */
static inline void nrpy_item_is_shown(nrpy_thread *thread) {
    atomic_store_explicit(&thread->takes_item, false, memory_order_release);
}

/* Whether this thread may wait for a host: none waits below it. NULL: a thread we know nothing of. */
static inline bool nrpy_may_wait(const nrpy_thread *thread) {
    return thread != NULL && thread->frames == NULL;
}

/* Whether this thread may wait as long as a host likes: not where every other call of an event loop would wait too. */
static inline bool nrpy_may_wait_long(const nrpy_thread *thread) {
    return nrpy_may_wait(thread) && !thread->runs_loop;
}

/* The same where the answer is not known to be yes. */
bool nrpy_look_for_python_stack(nrpy_thread *thread);

/* Whether this thread's stack, here, is one of its own (no fiber) and large enough for Python. */
static inline bool nrpy_has_python_stack(nrpy_thread *thread) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return __builtin_expect(here - thread->python_low < thread->python_size, 1) || nrpy_look_for_python_stack(thread);
}

/* Whether this thread holds the GIL. */
bool nrpy_is_attached(const nrpy_thread *thread);

/* Forgets the context of the call that has just ended, so that the next one starts with an empty one. Needs the GIL. */
static inline void nrpy_context_reset(PyThreadState *state) {
    if (__builtin_expect(state->context != NULL, 0)) {
        Py_CLEAR(state->context);
        state->context_ver++; /* ContextVar keeps its last value per version */
    }
}

/* Takes the context that the running call has made, or NULL where it made none; and gives it back to go on with. Takes
 * `context`. Need the GIL. */
static inline PyObject *nrpy_context_take(PyThreadState *state) {
    PyObject *context = state->context;
    if (__builtin_expect(context != NULL, 0)) {
        state->context = NULL;
        state->context_ver++;
    }
    return context;
}

static inline void nrpy_context_put(PyThreadState *state, PyObject *context) {
    nrpy_context_reset(state);
    state->context = context;
    state->context_ver++;
}

/* nrpy_attach where the thread has no state of ours yet, or somebody holds the GIL. */
bool nrpy_attach_slowly(nrpy_attachment *attachment, nrpy_thread *thread);

/* The thread has just got the GIL, with a state of ours. */
static inline void nrpy_open_attachment(nrpy_attachment *attachment, nrpy_thread *thread, PyThreadState *state) {
    attachment->state = state;
    attachment->was_attached = false;
    Py_CLEAR(thread->leftover);
    nrpy_owned_drop_plain();
    attachment->outer_context = nrpy_context_take(state);
}

/*
 * Takes the GIL unless this thread has it, and opens a fresh, empty context for contextvars. Returns false where there
 * is no memory or the process is ending; then nothing is held.
 */
static inline bool nrpy_attach(nrpy_attachment *attachment, nrpy_thread *thread) {
    PyThreadState *state = thread->state;
    if (__builtin_expect(state == NULL || nrpy_current_state() != NULL || !nrpy_is_alive(), 0)) {
        return nrpy_attach_slowly(attachment, thread);
    }
    PyEval_RestoreThread(state);
    nrpy_open_attachment(attachment, thread, state);
    return true;
}

/* Closes the context, and goes back to how it was before nrpy_attach; the first keeps the GIL. */
static inline void nrpy_close_attachment(nrpy_attachment *attachment) {
    PyThreadState *state = attachment->state;
    nrpy_context_reset(state);
    if (__builtin_expect(attachment->outer_context != NULL, 0)) {
        state->context = attachment->outer_context;
        state->context_ver++;
    }
}

static inline void nrpy_detach(nrpy_attachment *attachment) {
    nrpy_close_attachment(attachment);
    if (__builtin_expect(!attachment->was_attached, 1)) {
        PyEval_SaveThread();
    }
}

/*
 * Makes every store that another thread has done before its next look at shared memory visible here, and ours to it. The
 * other side needs no fence of its own, only program order: so the slots cost a call nothing.
 */
void nrpy_fence_all_threads(void);

/* Drops a reference from a detached thread: small plain bytes and str wait for its next attach, the rest is dropped at
 * once. Takes the reference. Must not hold the GIL. */
void nrpy_drop_later(nrpy_thread *thread, PyObject *object, uint64_t size);

/* The signals that threads of ours block. */
void nrpy_own_mask(sigset_t *blocked);

/* Starts a thread of ours: 8 MiB of stack, all signals blocked but those of faults. Returns 0 or an errno. */
int nrpy_spawn(pthread_t *id, void *(*run)(void *), void *argument);

/* Waits for the end of a thread that has nothing left to do but to end. Returns false where it does not come: another
 * thread keeps the GIL for good. */
bool nrpy_join(pthread_t id);
bool nrpy_join_within(pthread_t id, double seconds);

#endif /* NRPY_THREADS_H */
