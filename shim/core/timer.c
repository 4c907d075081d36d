#include "timer.h"

#include "clock.h"
#include "counters.h"
#include "forked.h"
#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static nrpy_timer **heap;                                /* the earliest first; each not later than its two children */
static size_t count;
static size_t room;

/*
 * One thread leads: it waits for the earliest timer and fires. One guards it: where the leader does not come back from
 * a timer's function (a host that blocks in its send), the guard takes the lead, and the other guards when it is back.
 */
enum { PATIENCE_NS = 2000000, MOST_THREADS = 32 };
static pthread_cond_t changed; /* for the leader: the earliest timer is another one */
static pthread_cond_t busy;    /* for the guard: `firing` is true */
static uint64_t lead;          /* how often the lead was taken */
static uint64_t fired;         /* timers */
static bool firing;            /* the leader has not waited since its last timer was due */
static bool guarded;
static unsigned threads;

/* ---- the heap; the lock is held ---- */

static void put(size_t place, nrpy_timer *timer) {
    heap[place] = timer;
    timer->place = place + 1;
}

static void rise(size_t place) {
    nrpy_timer *timer = heap[place];
    while (place > 0 && heap[(place - 1) / 2]->due_ns > timer->due_ns) {
        put(place, heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(place, timer);
}

static void sink(size_t place) {
    nrpy_timer *timer = heap[place];
    for (size_t child = 2 * place + 1; child < count; child = 2 * place + 1) {
        if (child + 1 < count && heap[child + 1]->due_ns < heap[child]->due_ns) {
            child++;
        }
        if (heap[child]->due_ns >= timer->due_ns) {
            break;
        }
        put(place, heap[child]);
        place = child;
    }
    put(place, timer);
}

static void take(nrpy_timer *timer) {
    size_t place = timer->place - 1;
    timer->place = 0;
    count--;
    if (place < count) {
        nrpy_timer *last = heap[count];
        put(place, last);
        rise(place);
        sink(last->place - 1);
    }
}

static int add(nrpy_timer *timer) {
    if (count == room) {
        size_t more = room == 0 ? 64 : 2 * room;
        nrpy_timer **bigger = realloc(heap, more * sizeof(nrpy_timer *));
        if (bigger == NULL) {
            return ENOMEM;
        }
        heap = bigger;
        room = more;
    }
    heap[count] = timer;
    rise(count++);
    return 0;
}

/* ---- the threads ---- */

/* The clock's listener. */
static void look_again(void) {
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_until(int64_t due_ns) {
    if (nrpy_clock_is_manual()) {
        pthread_cond_wait(&changed, &lock);
        return;
    }
    struct timespec when = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
    pthread_cond_timedwait(&changed, &lock, &when);
}

static int spawn(bool as_guard);

/* Fires what is due, the lock released. */
static void fire_first(void) {
    nrpy_timer *due = heap[0];
    take(due);
    fired++;
    if (!guarded && threads < MOST_THREADS) {
        guarded = spawn(true) == 0; /* without one, who blocks here delays the others: as well as can be */
    }
    if (!firing) {
        firing = true;
        pthread_cond_signal(&busy);
    }
    pthread_mutex_unlock(&lock);
    due->fire(due);
    nrpy_before_host(); /* where the host has forked inside a send */
    pthread_mutex_lock(&lock);
}

/* Returns when another thread leads. The lock is held. */
static void lead_until_replaced(void) {
    uint64_t mine = ++lead;
    while (mine == lead) {
        if (count != 0 && heap[0]->due_ns <= nrpy_clock_ns()) {
            fire_first();
            continue;
        }
        firing = false;
        if (count == 0) {
            pthread_cond_wait(&changed, &lock);
        } else {
            wait_until(heap[0]->due_ns);
        }
    }
}

/* Returns when the lead is to be taken. The lock is held. Where time is moved by hand, timers fire one by one. */
static void guard_leader(void) {
    for (;;) {
        while (!firing) {
            pthread_cond_wait(&busy, &lock);
        }
        uint64_t seen = fired;
        int64_t until_ns = nrpy_time_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
        struct timespec when = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
        while (firing && fired == seen && pthread_cond_timedwait(&busy, &lock, &when) == 0) {
        }
        if (firing && fired == seen && !nrpy_clock_is_manual()) {
            return;
        }
    }
}

static void *run(void *as_guard) {
    (void)nrpy_thread_insist(); /* what it sends needs one, and is sent by nobody else */
    pthread_mutex_lock(&lock);
    bool guards = as_guard != NULL;
    for (;;) {
        if (guards) {
            guard_leader();
            guarded = false;
        }
        lead_until_replaced();
        if (guarded) {
            break;
        }
        guarded = guards = true;
    }
    threads--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* The lock is held. */
static int spawn(bool as_guard) {
    pthread_t id;
    int failed = nrpy_spawn(&id, run, as_guard ? &guarded : NULL);
    if (failed == 0) {
        pthread_detach(id);
        threads++;
    }
    return failed;
}

/* The lock is held. */
static int start_first(void) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attributes);
    pthread_cond_init(&busy, &attributes);
    pthread_condattr_destroy(&attributes);
    int failed = spawn(false);
    if (failed == 0) {
        nrpy_clock_listen(look_again);
    }
    return failed;
}

int nrpy_timer_arm(nrpy_timer *timer, int64_t delay_ns) {
    pthread_mutex_lock(&lock);
    int failed = threads != 0 ? 0 : start_first();
    timer->due_ns = nrpy_clock_ns() + delay_ns;
    if (failed == 0) {
        failed = add(timer);
    }
    if (failed == 0 && heap[0] == timer) {
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

bool nrpy_timer_disarm(nrpy_timer *timer) {
    pthread_mutex_lock(&lock);
    bool armed = timer->place != 0;
    if (armed) {
        take(timer);
    }
    pthread_mutex_unlock(&lock);
    return armed;
}
