/* A lane's threads: begun, relieved by others after so many calls, stopped. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lane.h"

#define BEHIND_S 0.1 /* a paced lane that is further behind does not catch up */
#define AHEAD_S 50e-6

uint64_t lane_next(lane_member *m) {
    const lane *l = m->of;
    uint64_t number = l->number << 48 | (uint64_t)(m - l->members) << 40 | m->next++;
    (l->json_body ? echo_fill_json : echo_fill)(m->body, l->body_len, number);
    lane_add(m, LANE_CALLS, 1);
    return number;
}

void lane_pace(lane_member *m) {
    if (m->of->rate <= 0) {
        return;
    }
    double now = (double)lane_now_ns() / 1e9, due = m->due_ns > now - BEHIND_S ? m->due_ns : now;
    m->due_ns = due + 1 / m->of->rate;
    if (due - now > AHEAD_S) {
        struct timespec pause = {.tv_sec = (time_t)(due - now)};
        pause.tv_nsec = (long)((due - now - (double)pause.tv_sec) * 1e9);
        nanosleep(&pause, NULL);
    }
}

void lane_refused(lane_member *m, plugin_slot *slot, NrStatus status, uint64_t began_ns) {
    lane_add(m, LANE_REFUSED, 1);
    histogram_add(&m->refused, lane_now_ns() - began_ns);
    if (!m->of->may_refuse && !atomic_load(&slot->stopping)) {
        trouble(slot, "lane %s: handle answered %s", m->of->name, nrhost_status_name(status));
    }
}

static void *run(void *given);

/* Its own successor, unless the lane ends. */
static void pass_on(lane_member *m) {
    lane *l = m->of;
    pthread_mutex_lock(&l->lock);
    if (lane_goes_on(l)) {
        pthread_t self = m->thread;
        m->before = self;
        m->follows = true;
        if (place_thread(&m->thread, 0, run, m) != 0) {
            m->thread = self;
            m->follows = false;
            trouble(NULL, "lane %s: no thread could be started", l->name);
        }
        lane_add(m, LANE_LIVES, 1);
    }
    pthread_mutex_unlock(&l->lock);
}

static void *run(void *given) {
    lane_member *m = given;
    lane *l = m->of;
    sigset_t set; /* `signals` is for these threads: see verb_signals */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    pthread_mutex_lock(&l->lock); /* who has started this thread has noted it */
    bool follows = m->follows;
    pthread_t before = m->before;
    m->follows = false;
    pthread_mutex_unlock(&l->lock);
    if (follows) {
        pthread_join(before, NULL);
    }
    uint64_t left = l->life;
    while (lane_goes_on(l) && (l->life == 0 || left > 0)) {
        plugin_slot *slot = plugin_enter(l->plugin, l->lineage);
        if (slot == NULL) {
            return NULL; /* it was unloaded: the lane has nothing to call */
        }
        uint64_t count = l->life > 0 && left < l->batch ? left : l->batch;
        if (l->bad > 0) {
            lane_hostile(m, slot, count);
        } else if (l->window > 1) {
            lane_in_window(m, slot, count);
        } else {
            lane_one_by_one(m, slot, count);
        }
        plugin_leave(slot);
        left -= count;
    }
    pass_on(m);
    return NULL;
}

void lane_free(lane *l) {
    for (size_t i = 0; l->members != NULL && i < l->started; i++) {
        free(l->members[i].body);
        free(l->members[i].seen);
    }
    free(l->members);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void lane_end(lane *l) {
    pthread_mutex_lock(&l->lock);
    atomic_store(&l->over, true); /* no thread is followed by another from here on */
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < l->started; i++) {
        pthread_join(l->members[i].thread, NULL);
    }
}

bool lane_start(lane *l, size_t threads) {
    l->members = aligned_alloc(_Alignof(lane_member), threads * sizeof *l->members);
    if (l->members == NULL) {
        return false;
    }
    memset(l->members, 0, threads * sizeof *l->members);
    for (; l->started < threads; l->started++) {
        lane_member *m = &l->members[l->started];
        m->of = l;
        m->body = malloc(l->body_len + 1);
        m->seen = malloc(l->body_len + 1);
        pthread_mutex_lock(&l->lock);
        bool good = m->body != NULL && m->seen != NULL && place_thread(&m->thread, 0, run, m) == 0;
        pthread_mutex_unlock(&l->lock);
        if (!good) {
            free(m->body);
            free(m->seen);
            return false;
        }
    }
    return true;
}
