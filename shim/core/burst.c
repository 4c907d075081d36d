#include "burst.h"

#include "clock.h"
#include "forked.h"
#include "timer.h"

#include <pthread.h>

/* What giving the GIL up and taking it again costs is some 50 ns: of a frame that takes longer than this, nothing. */
enum { QUICK_NS = 2000 };

/* As many as a generator gives in this time are a burst: none waits longer for the others. */
enum { BURST_NS = 16 * QUICK_NS };

/* Of a generator that is not quick, each so-many-th pull is timed. */
enum { PULLS_TO_TIME = 16 };

/* How long frames may lie; they are looked at as often. */
enum { LEFT_MAX_NS = 1000 * 1000 };

/* After a pause that caught frames, so many pulls until the generator is taken for quick again; twice as many each time. */
enum { PULLS_AFTER_PAUSE = 16, DOUBLINGS_MAX = 8 };

enum {
    BURST_OWN,  /* the frames are the runner's alone */
    BURST_LEFT, /* it waits for the generator: who finds them may send them */
    BURST_GONE, /* somebody has put them into the outbox, with the list's lock held */
};

static void look(nrpy_timer *timer);

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static nrpy_burst *bursts;
static nrpy_timer looker = {.fire = look};
static _Atomic bool is_looking; /* the timer is armed, or fires; written with the lock held */

/* ---- what others do with frames that were left ---- */

/* The list's lock is held. Returns whether there were any. */
static bool put_into_outbox(nrpy_burst *burst) {
    unsigned left = BURST_LEFT;
    if (!atomic_compare_exchange_strong(&burst->state, &left, BURST_GONE)) {
        return false;
    }
    for (unsigned i = 0; i < burst->count; i++) {
        (void)nrpy_exchange_send(burst->exchange, NR_OK, burst->frames[i].ptr, burst->frames[i].len, false);
    }
    return true;
}

static bool is_left(nrpy_burst *burst) {
    return atomic_load(&burst->state) == BURST_LEFT;
}

/* Whether frames lie there that the last looks have seen too. */
static bool has_lain_long(nrpy_burst *burst, int64_t now_ns) {
    unsigned times = atomic_load(&burst->times_left);
    if (times != burst->times_seen) {
        burst->times_seen = times;
        burst->seen_ns = now_ns;
    }
    return is_left(burst) && now_ns - burst->seen_ns >= LEFT_MAX_NS;
}

/* No generator has given a frame for a while. The lock is held. Returns false where one leaves frames just now: it has
 * either seen that nobody looks any more, or is seen here. */
static bool stop_looking(void) {
    bool any = false;
    atomic_store(&is_looking, false);
    nrpy_fence_all_threads();
    for (nrpy_burst *burst = bursts; burst != NULL; burst = burst->next) {
        any |= is_left(burst);
    }
    atomic_store(&is_looking, any);
    return !any;
}

/* Sends one at a time, for the host may block: then another thread of the timers' goes on. */
static void look(nrpy_timer *timer) {
    int64_t now_ns = nrpy_time_ns(CLOCK_MONOTONIC);
    nrpy_exchange *exchange = NULL;
    bool any_new = false;
    pthread_mutex_lock(&list_lock);
    for (nrpy_burst *burst = bursts; burst != NULL && exchange == NULL; burst = burst->next) {
        if (has_lain_long(burst, now_ns) && put_into_outbox(burst)) {
            exchange = burst->exchange;
            nrpy_exchange_retain(exchange);
        }
        any_new |= burst->seen_ns == now_ns;
    }
    bool goes_on = any_new || exchange != NULL || !stop_looking();
    pthread_mutex_unlock(&list_lock);
    while (goes_on && nrpy_timer_arm(timer, exchange != NULL ? 0 : LEFT_MAX_NS) != 0) {
        nrpy_rest_for_memory();
    }
    if (exchange != NULL) {
        nrpy_exchange_drain(exchange);
        nrpy_exchange_release(exchange);
    }
}

void nrpy_burst_flush(nrpy_exchange *exchange) {
    if (atomic_load(&exchange->burst) != NULL) {
        pthread_mutex_lock(&list_lock);
        nrpy_burst *burst = atomic_load(&exchange->burst);
        if (burst != NULL) {
            put_into_outbox(burst);
        }
        pthread_mutex_unlock(&list_lock);
    }
}

/* ---- the runner's side ---- */

/* Returns false where there is no memory for it. */
static bool start_looking(void) {
    pthread_mutex_lock(&list_lock);
    bool looks = atomic_load(&is_looking) || nrpy_timer_arm(&looker, LEFT_MAX_NS) == 0;
    atomic_store(&is_looking, looks);
    pthread_mutex_unlock(&list_lock);
    return looks;
}

static void enlist(nrpy_burst *burst) {
    pthread_mutex_lock(&list_lock);
    burst->next = bursts;
    burst->link = &bursts;
    if (bursts != NULL) {
        bursts->link = &burst->next;
    }
    bursts = burst;
    atomic_store(&burst->exchange->burst, burst);
    pthread_mutex_unlock(&list_lock);
}

/* How many frames a burst has where one takes so long. */
static unsigned limit_for(const nrpy_exchange *exchange, int64_t taken_ns) {
    size_t room = nrpy_exchange_max_buffered(exchange);
    unsigned most = room < NRPY_BURST_MAX ? (unsigned)room : NRPY_BURST_MAX;
    return taken_ns * most <= BURST_NS ? most : (unsigned)(BURST_NS / taken_ns);
}

void nrpy_burst_begin(nrpy_burst *burst, nrpy_exchange *exchange) {
    burst->exchange = exchange;
    atomic_init(&burst->state, BURST_OWN);
    atomic_init(&burst->times_left, 0);
    burst->limit = limit_for(exchange, QUICK_NS);
    burst->count = burst->pulls = burst->quick_pulls = burst->times_seen = 0;
    burst->seen_ns = 0;
    burst->link = NULL;
}

void nrpy_burst_end(nrpy_burst *burst) {
    if (burst->link != NULL) {
        pthread_mutex_lock(&list_lock);
        *burst->link = burst->next;
        if (burst->next != NULL) {
            burst->next->link = burst->link;
        }
        atomic_store(&burst->exchange->burst, NULL);
        pthread_mutex_unlock(&list_lock);
    }
}

static void drop_frames(nrpy_burst *burst) {
    for (unsigned i = 0; i < burst->count; i++) {
        Py_XDECREF(burst->owners[i]);
    }
    burst->count = 0;
}

/* Frames were caught in a pause. */
static void come_back_late(nrpy_burst *burst) {
    pthread_mutex_lock(&list_lock); /* whoever took them is done with them */
    pthread_mutex_unlock(&list_lock);
    atomic_store_explicit(&burst->state, BURST_OWN, memory_order_relaxed);
    drop_frames(burst);
    burst->pulls = burst->quick_pulls = 0;
    if (burst->exchange->pauses < DOUBLINGS_MAX) {
        burst->exchange->pauses++;
    }
}

static void take_back(nrpy_burst *burst) {
    unsigned left = BURST_LEFT;
    if (!atomic_compare_exchange_strong(&burst->state, &left, BURST_OWN)) {
        come_back_late(burst);
    }
}

/* Leaves the frames where others find them; or sends them, where nobody would look after them. */
static bool leave_frames(nrpy_burst *burst) {
    unsigned times = atomic_load_explicit(&burst->times_left, memory_order_relaxed);
    atomic_store_explicit(&burst->times_left, times + 1, memory_order_relaxed);
    atomic_store_explicit(&burst->state, BURST_LEFT, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    if (__builtin_expect(!atomic_load_explicit(&is_looking, memory_order_relaxed), 0) && !start_looking()) {
        take_back(burst);
        (void)nrpy_burst_send(burst);
        return false;
    }
    return true;
}

static PySendResult pull(nrpy_burst *burst, PyObject *generator, PyObject **value) {
    bool leaves = burst->count > 0 && leave_frames(burst);
    PySendResult result = PyIter_Send(generator, Py_None, value);
    nrpy_author_returned(result != PYGEN_ERROR ? *value : NULL);
    if (leaves) {
        take_back(burst);
    }
    return result;
}

static void note_pace(nrpy_burst *burst, int64_t taken_ns) {
    unsigned pauses = burst->exchange->pauses;
    bool is_due = pauses == 0 || burst->pulls > (unsigned)PULLS_AFTER_PAUSE << pauses;
    if (taken_ns < QUICK_NS) {
        burst->limit = limit_for(burst->exchange, taken_ns);
    }
    bool is_quick = taken_ns < QUICK_NS && is_due && burst->limit > 1 && !nrpy_clock_is_manual();
    if (is_quick && burst->link == NULL) {
        enlist(burst);
    }
    burst->quick_pulls = is_quick ? burst->quick_pulls + 1 : 0;
}

PySendResult nrpy_burst_pull(nrpy_burst *burst, PyObject *generator, PyObject **value) {
    /* The one that begins a burst, and now and then one of a generator that is not quick. */
    bool is_timed = burst->quick_pulls > 0 ? burst->count == 0 : burst->pulls % PULLS_TO_TIME == 0;
    burst->pulls++;
    if (!is_timed) {
        return pull(burst, generator, value);
    }
    int64_t began_ns = nrpy_time_ns(CLOCK_MONOTONIC);
    PySendResult result = pull(burst, generator, value);
    note_pace(burst, nrpy_time_ns(CLOCK_MONOTONIC) - began_ns);
    return result;
}

bool nrpy_burst_keep(nrpy_burst *burst, const nrpy_reply *reply) {
    if (burst->count == 0 && !nrpy_exchange_is_idle(burst->exchange)) {
        return false; /* the outbox has its own measure, and each frame counts */
    }
    /* What the author may still change is sent before the author goes on. */
    if (burst->quick_pulls < 2 || reply->status != NR_OK || reply->view.obj != NULL) {
        return false;
    }
    burst->owners[burst->count] = reply->owner;
    burst->frames[burst->count] = (NrBytes){.ptr = reply->bytes, .len = reply->length};
    burst->count++;
    return true;
}

bool nrpy_burst_send(nrpy_burst *burst) {
    if (burst->count == 0) {
        return true;
    }
    PyThreadState *state = PyEval_SaveThread();
    bool taken = nrpy_exchange_send_frames(burst->exchange, burst->frames, burst->count);
    nrpy_back_from_host(state);
    drop_frames(burst);
    return taken;
}
