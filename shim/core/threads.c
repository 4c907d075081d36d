#include "threads.h"

#include "clock.h"
#include "forked.h"
#include "owned.h"
#include "runtime.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * CPython's limit of recursion is made for 8 MiB. The dearest unit of it, sorted with a key that sorts, costs 2.6 KiB of
 * stack: so on 2 MiB, what Rust gives a thread, endless recursion is a crash instead of a RecursionError. A thread with
 * less than 7 MiB gets a limit to match its stack, and one whose limit would be too low for an import (musl, fibers) runs
 * no Python at all. Sizes are less the guard pages.
 */
enum { RECURSION_UNIT = 3 * 1024, LEAF_STACK = 64 * 1024 };
enum { LARGE_STACK = 7 * 1024 * 1024, PYTHON_STACK = (1024 - 64) * 1024 };
enum { OWN_STACK = 8 * 1024 * 1024, LEFTOVER_MAX = 4096, JOIN_TIMEOUT_S = 2, REST_NS = 1000 * 1000 };

__thread nrpy_thread *nrpy_thread_cached __attribute__((tls_model("initial-exec")));

static pthread_key_t key;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(nrpy_thread *) all_threads; /* added to under list_lock */
static nrpy_thread *free_threads;          /* guarded by list_lock */

/* ---- the thread's end ---- */

static void delete_state(PyThreadState *state) {
    if (PyGILState_GetThisThreadState() != NULL) {
        PyEval_RestoreThread(state);
        PyThreadState_Clear(state);
        PyThreadState_DeleteCurrent();
        return;
    }
    /* CPython's key went first: a finalizer that calls PyGILState_Ensure would then make a second state and wait for the
     * GIL that this thread holds. A temporary state takes the place. */
    PyThreadState *temporary = nrpy_new_state();
    if (temporary == NULL) {
        return; /* no memory for it: the state stays in the interpreter's list, and nothing refers to it */
    }
    PyEval_RestoreThread(temporary);
    PyThreadState_Clear(state);
    PyThreadState_Delete(state);
    PyThreadState_Clear(temporary);
    PyThreadState_DeleteCurrent();
}

static void on_thread_end(void *value) {
    if (nrpy_is_forked()) {
        return; /* whoever held our locks may not be in the child */
    }
    nrpy_thread *thread = value;
    if (thread->state != NULL && nrpy_is_alive()) {
        PyThreadState *state = thread->state;
        thread->state = NULL;
        if (thread->leftover != NULL) {
            PyEval_RestoreThread(state);
            Py_CLEAR(thread->leftover);
            PyEval_SaveThread();
        }
        delete_state(state);
    }
    nrpy_block_flush(&thread->blocks);
    nrpy_thread_cached = NULL;
    nrpy_thread_unreserve(thread);
}

static _Atomic bool has_membarrier;

int nrpy_threads_start(void) {
    return pthread_key_create(&key, on_thread_end);
}

void nrpy_threads_make_fence_quick(void) {
    bool registered = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    atomic_store(&has_membarrier, registered);
}

void nrpy_fence_all_threads(void) {
    if (atomic_load(&has_membarrier) && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) {
        return;
    }
    /* Not registered yet, or a kernel or sandbox without it. A processor keeps a store to itself, and a load ahead of it, for
     * nanoseconds; a thread that loses its processor is fenced by that. */
    struct timespec while_stores_settle = {.tv_nsec = 1000000};
    nanosleep(&while_stores_settle, NULL);
}

/* ---- the thread's beginning ---- */

/* What Python may use of the thread's stack; the host has the rest. */
static size_t python_share(const nrpy_thread *thread) {
    size_t size = thread->stack_size < LARGE_STACK ? thread->stack_size : LARGE_STACK;
    return size - size / 4;
}

static void find_stack(nrpy_thread *thread) {
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    thread->stack_size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &low, &size) == 0) {
            thread->stack_size = size;
        }
        pthread_attr_destroy(&attributes);
    }
    uintptr_t share = python_share(thread);
    thread->python_low = (uintptr_t)low + share;
    thread->python_size = thread->stack_size >= PYTHON_STACK ? thread->stack_size - share : 0;
}

nrpy_thread *nrpy_thread_reserve(void) {
    pthread_mutex_lock(&list_lock);
    nrpy_thread *thread = free_threads;
    if (thread != NULL) {
        free_threads = thread->next_free;
    } else {
        thread = aligned_alloc(_Alignof(nrpy_thread), sizeof *thread);
        if (thread != NULL) {
            memset(thread, 0, sizeof *thread);
            atomic_init(&thread->running.contest, UINT64_MAX); /* no call was ever contested */
            thread->next = atomic_load(&all_threads);
            atomic_store(&all_threads, thread);
        }
    }
    pthread_mutex_unlock(&list_lock);
    return thread;
}

void nrpy_thread_unreserve(nrpy_thread *reserved) {
    pthread_mutex_lock(&list_lock);
    reserved->next_free = free_threads;
    free_threads = reserved;
    pthread_mutex_unlock(&list_lock);
}

void nrpy_thread_adopt(nrpy_thread *reserved) {
    if (nrpy_thread_cached != NULL || pthread_setspecific(key, reserved) != 0) {
        nrpy_thread_unreserve(reserved);
        return;
    }
    find_stack(reserved);
    reserved->submits = 0; /* those of the thread that had it before */
    nrpy_thread_cached = reserved;
}

nrpy_thread *nrpy_thread_enter(void) {
    nrpy_thread *thread = nrpy_thread_reserve();
    if (thread != NULL) {
        nrpy_thread_adopt(thread);
    }
    return nrpy_thread_cached;
}

void nrpy_rest_for_memory(void) {
    struct timespec moment = {.tv_nsec = REST_NS};
    nanosleep(&moment, NULL);
}

nrpy_thread *nrpy_thread_insist(void) {
    nrpy_thread *thread;
    while ((thread = nrpy_thread_self()) == NULL) {
        nrpy_rest_for_memory();
    }
    return thread;
}

void nrpy_thread_give_block(void *memory) {
    nrpy_thread *thread = nrpy_thread_self();
    if (thread != NULL) {
        nrpy_block_give(&thread->blocks, memory);
    } else {
        nrpy_block_home nobody = {.spare = NULL};
        nrpy_block_give(&nobody, memory);
        nrpy_block_flush(&nobody);
    }
}

nrpy_thread *nrpy_thread_first(void) {
    return atomic_load(&all_threads);
}

bool nrpy_look_for_python_stack(nrpy_thread *thread) {
    if (thread->stack_size == 0) {
        find_stack(thread); /* there was no memory, or no descriptor, to find it with */
    }
    return (uintptr_t)__builtin_frame_address(0) - thread->python_low < thread->python_size;
}

static void fit_recursion_limit(PyThreadState *state, const nrpy_thread *thread) {
    if (thread->stack_size >= LARGE_STACK || python_share(thread) < LEAF_STACK) {
        return;
    }
    int limit = (int)((python_share(thread) - LEAF_STACK) / RECURSION_UNIT);
#if PY_VERSION_HEX < 0x030c0000
    if (state->recursion_remaining > limit) {
        state->recursion_remaining = limit; /* as if the rest were in use already: the limit itself is everybody's */
    }
#elif PY_VERSION_HEX < 0x030e0000
    if (state->c_recursion_remaining > limit) {
        state->c_recursion_remaining = limit;
    }
#else
    (void)state; /* 3.14 looks at the stack itself */
    (void)limit;
#endif
}

/* ---- the GIL ---- */

bool nrpy_is_attached(const nrpy_thread *thread) {
    PyThreadState *current = nrpy_current_state();
    if (current == NULL) {
        return false;
    }
#if PY_VERSION_HEX >= 0x030c0000
    (void)thread;
    return true;
#else
    /* On 3.11 the current state may be another thread's. */
    return (thread != NULL && current == thread->state) || current == PyGILState_GetThisThreadState();
#endif
}

bool nrpy_attach_slowly(nrpy_attachment *attachment, nrpy_thread *thread) {
    if (nrpy_is_attached(thread)) {
        attachment->was_attached = true;
        attachment->state = PyThreadState_Get();
        attachment->outer_context = nrpy_context_take(attachment->state);
        return true;
    }
    if (!nrpy_is_alive()) {
        return false;
    }
    PyThreadState *state = thread->state;
    if (state == NULL) {
        /* A state that somebody else gave this thread is borrowed each time: its owner may delete it. */
        state = PyGILState_GetThisThreadState();
        if (state == NULL) {
            state = nrpy_new_state();
            if (state == NULL) {
                return false;
            }
            fit_recursion_limit(state, thread);
            thread->state = state;
        }
    }
    PyEval_RestoreThread(state);
    nrpy_open_attachment(attachment, thread, state);
    return true;
}

void nrpy_drop_later(nrpy_thread *thread, PyObject *object, uint64_t size) {
    if (thread->state != NULL && thread->leftover == NULL && size <= LEFTOVER_MAX &&
        (PyBytes_CheckExact(object) || PyUnicode_CheckExact(object))) {
        thread->leftover = object;
        return;
    }
    nrpy_attachment attachment;
    if (nrpy_attach(&attachment, thread)) {
        Py_DECREF(object);
        nrpy_detach(&attachment);
    }
    /* Without an interpreter to give it back to, the object stays: the process is ending. */
}

/* ---- our own threads ---- */

void nrpy_own_mask(sigset_t *blocked) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigfillset(blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigdelset(blocked, faults[i]);
    }
}

int nrpy_spawn(pthread_t *id, void *(*run)(void *), void *argument) {
    pthread_attr_t attributes;
    int failed = pthread_attr_init(&attributes);
    if (failed != 0) {
        return failed;
    }
    pthread_attr_setstacksize(&attributes, OWN_STACK);
    sigset_t blocked;
    sigset_t before;
    nrpy_own_mask(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    failed = pthread_create(id, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

bool nrpy_join(pthread_t id) {
    return nrpy_join_within(id, JOIN_TIMEOUT_S);
}

bool nrpy_join_within(pthread_t id, double seconds) {
    struct timespec until = nrpy_wait_limit(seconds);
#if NRPY_WAITS_BY_MONOTONIC
    return pthread_clockjoin_np(id, NULL, NRPY_WAIT_CLOCK, &until) == 0;
#else
    return pthread_timedjoin_np(id, NULL, &until) == 0;
#endif
}
