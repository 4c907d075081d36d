#include "timer.h"

#include "clock.h"
#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_cond_t changed;
static nrpy_timer **heap; /* the earliest first; each not later than its two children */
static size_t count;
static size_t room;
static bool running; /* the thread is there */

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

/* ---- the thread ---- */

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

static void *run(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (count == 0) {
            pthread_cond_wait(&changed, &lock);
        } else if (heap[0]->due_ns > nrpy_clock_ns()) {
            wait_until(heap[0]->due_ns);
        } else {
            nrpy_timer *due = heap[0];
            take(due);
            pthread_mutex_unlock(&lock);
            due->fire(due);
            pthread_mutex_lock(&lock);
        }
    }
    return NULL;
}

/* The lock is held. */
static int start_thread(void) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_t id;
    int failed = nrpy_spawn(&id, run, NULL);
    if (failed == 0) {
        pthread_detach(id);
        nrpy_clock_listen(look_again);
        running = true;
    }
    return failed;
}

int nrpy_timer_arm(nrpy_timer *timer, int64_t delay_ns) {
    pthread_mutex_lock(&lock);
    int failed = running ? 0 : start_thread();
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
