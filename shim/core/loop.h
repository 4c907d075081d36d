/*
 * An event loop's thread: it runs the author's coroutines, a task for each call.
 *
 * The core's part is a queue and an eventfd that the event loop watches. A producer writes to it only while the loop is
 * armed, which it is from the moment it has found its queue empty: so a batch of calls costs one wake.
 */
#ifndef NRPY_LOOP_H
#define NRPY_LOOP_H

#include "python.h"

#include "queue.h"
#include "timer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

struct nrpy_call;
struct nrpy_entry;
struct nrpy_instance;
struct nrpy_runner;
struct nrpy_thread;

typedef struct nrpy_loop {
    nrpy_queue queue;
    struct nrpy_instance *instance; /* the one it is part of */
    pthread_mutex_t wake_lock;      /* guards wake_fd, which is closed before the struct goes: a producer may be late */
    int wake_fd;
    _Atomic bool armed;
    _Atomic bool stopping;   /* the event loop is to end */
    _Atomic bool cancelling; /* its tasks are to be cancelled */
    pthread_t id;
    bool is_running; /* the opener's and close's: there is a thread to join */
    sem_t started;
    _Atomic(struct nrpy_thread *) thread;
    _Atomic bool has_ended;
    PyObject *event_loop; /* asyncio's; set by bind, cleared at the end; GIL */
    PyObject *failure;    /* why it did not start: an exception; GIL */
    unsigned number;      /* among the instance's loops */

    /* what the loop's thread does with its queue; GIL */
    unsigned turn_left;          /* how many items more it takes before the event loop's other work has its turn */
    nrpy_item *set_aside;        /* taken from the queue, and no call */
    struct nrpy_call *next_call; /* taken from the queue, and to be begun */

    struct nrpy_runner *first;   /* those at work for a call; GIL */
    _Atomic unsigned runners;    /* how many they are */
    struct nrpy_runner *resting; /* the others, the last one to rest first: references; GIL */
    unsigned resting_count;

    /* for the watch over what keeps the loop from its other work */
    _Atomic int64_t step_began_ns; /* of a handler; 0: none is at a step */
    _Atomic(const struct nrpy_entry *) step_entry;
    _Atomic uint64_t step_sid;
    _Atomic int64_t wake_sent_ns; /* since when a wake is unanswered, and no handler was at a step; 0: none is */
    int64_t slow_ns;              /* what is too long; 0: nothing is */
    nrpy_timer watch;             /* holds a reference to the instance while it is armed */
    _Atomic bool is_watched;
    int64_t reported_ns; /* the beginning that was reported last; the timer's */
} nrpy_loop;

/* Returns 0 or an errno. */
int nrpy_loop_init(nrpy_loop *loop, struct nrpy_instance *instance, unsigned number, uint64_t limit, int64_t slow_ns);
void nrpy_loop_destroy(nrpy_loop *loop);

/* Starts the thread, which runs session.run_loop, and waits until its event loop is there. Needs the GIL, and releases it
 * meanwhile. Returns 0, or -1 with an exception set. */
int nrpy_loop_start(nrpy_loop *loop);

/* Has the event loop end once it comes round. */
void nrpy_loop_stop(nrpy_loop *loop);

/* Waits for the thread of a loop that was stopped, `seconds` at most. Must not hold the GIL, nor be that thread. Returns
 * whether it has ended. */
bool nrpy_loop_join(nrpy_loop *loop, double seconds);

/* Lets go of the thread of a loop that was stopped: it ends by itself. */
void nrpy_loop_leave(nrpy_loop *loop);

/* Has every task of the loop's cancelled soon. Any thread. */
void nrpy_loop_cancel_all(nrpy_loop *loop);

/* The next call, the caller's, or NULL where none waits or the event loop's other work comes first. On the loop's thread; needs
 * the GIL. */
struct nrpy_call *nrpy_loop_take_call(nrpy_loop *loop);

/* Wakes the event loop whether it is armed or not. */
void nrpy_loop_wake(nrpy_loop *loop);

/* After a push. */
static inline void nrpy_loop_notify(nrpy_loop *loop) {
    /* The item is there before the look; the loop arms before it looks for items: one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&loop->armed, memory_order_relaxed) && atomic_exchange(&loop->armed, false)) {
        nrpy_loop_wake(loop);
    }
}

extern PyTypeObject nrpy_loop_feed_type;

#endif /* NRPY_LOOP_H */
