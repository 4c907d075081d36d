#include "deadline.h"

#include "clock.h"
#include "exchange.h"
#include "instance.h"

#include <stdio.h>

static void on_time(nrpy_timer *timer);

void nrpy_deadlines_init(nrpy_deadlines *deadlines) {
    deadlines->timer.fire = on_time;
}

static nrpy_exchange *exchange_of(nrpy_timer *timer) {
    return (nrpy_exchange *)(void *)((char *)timer - offsetof(nrpy_exchange, deadlines.timer));
}

static int64_t answer_ns(const nrpy_exchange *exchange) {
    int64_t limit = exchange->entry->limits->timeout_ns;
    return limit != 0 ? exchange->began_ns + limit : 0;
}

static int64_t idle_ns(nrpy_exchange *exchange) {
    int64_t last = atomic_load_explicit(&exchange->deadlines.frame_ns, memory_order_relaxed);
    return last != 0 ? last + exchange->entry->limits->idle_timeout_ns : 0;
}

static int64_t earlier(int64_t one, int64_t other) {
    return one == 0 || (other != 0 && other < one) ? other : one;
}

/* Arms the timer for the earliest, unless it is armed for an earlier time: then that one will look again. The lock is
 * held. */
static int arm(nrpy_exchange *exchange) {
    nrpy_deadlines *deadlines = &exchange->deadlines;
    int64_t due = earlier(earlier(answer_ns(exchange), deadlines->close_ns), idle_ns(exchange));
    if (exchange->deadlines_over || due == 0 || (deadlines->armed_ns != 0 && deadlines->armed_ns <= due)) {
        return 0;
    }
    if (deadlines->armed_ns == 0 || !nrpy_timer_disarm(&deadlines->timer)) {
        if (deadlines->armed_ns != 0) {
            return 0; /* it is firing: it waits for this lock, and looks */
        }
        nrpy_exchange_retain(exchange);
    }
    int64_t delay = due - nrpy_clock_ns();
    int failed = nrpy_timer_arm(&deadlines->timer, delay > 0 ? delay : 0);
    deadlines->armed_ns = failed == 0 ? due : 0;
    if (failed != 0) {
        nrpy_exchange_release(exchange);
    }
    return failed;
}

int nrpy_deadlines_start(nrpy_exchange *exchange) {
    const nrpy_limits *limits = exchange->entry->limits;
    nrpy_deadlines *deadlines = &exchange->deadlines;
    atomic_init(&deadlines->frame_ns, limits->idle_timeout_ns != 0 && exchange->is_stream ? exchange->began_ns : 0);
    if (limits->timeout_ns == 0 && limits->idle_timeout_ns == 0) {
        return 0;
    }
    pthread_mutex_lock(&exchange->lock);
    int failed = arm(exchange);
    pthread_mutex_unlock(&exchange->lock);
    return failed;
}

void nrpy_deadlines_note_close(nrpy_exchange *exchange) {
    nrpy_deadlines *deadlines = &exchange->deadlines;
    int64_t limit = exchange->entry->limits->close_timeout_ns;
    if (limit == 0) {
        return;
    }
    pthread_mutex_lock(&exchange->lock);
    deadlines->close_ns = nrpy_clock_ns() + limit;
    (void)arm(exchange); /* without memory for it the stream ends when its handler does */
    pthread_mutex_unlock(&exchange->lock);
}

void nrpy_deadlines_note_frame(nrpy_exchange *exchange) {
    _Atomic int64_t *frame_ns = &exchange->deadlines.frame_ns;
    if (atomic_load_explicit(frame_ns, memory_order_relaxed) != 0) {
        atomic_store_explicit(frame_ns, nrpy_clock_ns(), memory_order_relaxed);
    }
}

void nrpy_deadlines_end(nrpy_exchange *exchange) {
    nrpy_deadlines *deadlines = &exchange->deadlines;
    pthread_mutex_lock(&exchange->lock);
    exchange->deadlines_over = true;
    bool disarmed = deadlines->armed_ns != 0 && nrpy_timer_disarm(&deadlines->timer);
    if (disarmed) {
        deadlines->armed_ns = 0;
    }
    pthread_mutex_unlock(&exchange->lock);
    if (disarmed) {
        nrpy_exchange_release(exchange);
    }
}

static void time_out(nrpy_exchange *exchange, const char *limit, int64_t limit_ns, const char *what) {
    char text[160];
    double seconds = (double)limit_ns / 1e9;
    int length = snprintf(text, sizeof text, "TimeoutError: %s %s=%g", what, limit, seconds);
    if (nrpy_exchange_end(exchange, text, (uint64_t)length)) {
        nrpy_count(&exchange->entry->counters->timeouts, 1);
    }
}

/* On the timer's thread, which no host waits below. */
static void on_time(nrpy_timer *timer) {
    nrpy_exchange *exchange = exchange_of(timer);
    nrpy_deadlines *deadlines = &exchange->deadlines;
    const nrpy_limits *limits = exchange->entry->limits;
    pthread_mutex_lock(&exchange->lock);
    int64_t now = nrpy_clock_ns();
    int64_t answer = answer_ns(exchange);
    int64_t close = deadlines->close_ns;
    int64_t idle = idle_ns(exchange);
    bool over = exchange->deadlines_over;
    deadlines->armed_ns = 0;
    bool due = (answer != 0 && answer <= now) || (close != 0 && close <= now) || (idle != 0 && idle <= now);
    exchange->deadlines_over |= due;
    if (!due) {
        (void)arm(exchange); /* a frame has come since; without memory for it the stream ends when its handler does */
    }
    pthread_mutex_unlock(&exchange->lock);
    if (over || !due) {
    } else if (answer != 0 && answer <= now) {
        time_out(exchange, "timeout_s", limits->timeout_ns, "no answer within");
    } else if (close != 0 && close <= now) {
        time_out(exchange, "close_timeout_s", limits->close_timeout_ns,
                 "the host has closed the stream, and its handler went on for");
    } else {
        time_out(exchange, "idle_timeout_s", limits->idle_timeout_ns, "no frame came or went within");
    }
    nrpy_exchange_release(exchange);
}
