#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_NS 200000 /* pause before a refused frame is tried again */

typedef struct frame {
    struct frame *next;
    size_t len;
    uint8_t data[];
} frame;

struct job {
    job *next;
    uint64_t sid;
    job_kind kind;
    NrStatus last;
    const char *text;   /* sent with `last` */
    uint64_t at, limit; /* the next number, and where they end; the worker's alone */
    /* Guarded by instance.lock. */
    bool closed;
    frame *first, **end; /* waiting to be sent, in order */
};

typedef enum turn { TURN_DONE, TURN_MOVED, TURN_BLOCKED, TURN_IDLE } turn;

static frame *frame_of(const char *before, NrBytes body) {
    size_t prefix = strlen(before);
    frame *f = malloc(sizeof *f + prefix + body.len);
    if (f != NULL) {
        *f = (frame){.len = prefix + body.len};
        memcpy(f->data, before, prefix);
        if (body.len > 0) {
            memcpy(f->data + prefix, body.ptr, body.len);
        }
    }
    return f;
}

static job *job_new(uint64_t sid, job_kind kind, NrStatus last) {
    job *j = malloc(sizeof *j);
    if (j != NULL) {
        *j = (job){.sid = sid, .kind = kind, .last = last, .text = ""};
        j->end = &j->first;
    }
    return j;
}

static void job_free(job *j) {
    while (j->first != NULL) {
        frame *f = j->first;
        j->first = f->next;
        free(f);
    }
    free(j);
}

/* A job that begins with a frame, which it takes; NULL: no memory, for either of them. */
static job *job_with(uint64_t sid, job_kind kind, NrStatus last, frame *first) {
    job *j = job_new(sid, kind, last);
    if (j == NULL || first == NULL) {
        free(j);
        free(first);
        return NULL;
    }
    j->first = first;
    j->end = &first->next;
    return j;
}

/* Takes the job, NULL included: then there was no memory for it. */
static NrStatus put(instance *self, job **list, job *j) {
    if (j == NULL) {
        return NR_ERR;
    }
    pthread_mutex_lock(&self->lock);
    while (*list != NULL) {
        list = &(*list)->next;
    }
    *list = j;
    self->news = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    return NR_OK;
}

NrStatus jobs_send(instance *self, uint64_t sid, NrStatus status, const void *data, size_t len) {
    union { /* the host only reads a borrowed vector, whose pointer is not const */
        const void *given;
        uint8_t *bytes;
    } view = {.given = data};
    NrVecU8 payload = {.ptr = view.bytes, .len = len, .cap = len};
    NrStatus answer = self->host.send_result(self->host_ctx, sid, status, payload);
    if (answer == NR_INVALID) {
        atomic_fetch_add(&self->undelivered, 1);
    }
    return answer;
}

static turn send_last(instance *self, job *j, NrStatus status, const char *text) {
    return jobs_send(self, j->sid, status, text, strlen(text)) == NR_BACKPRESSURE ? TURN_BLOCKED : TURN_DONE;
}

/* A refused frame stays the first. */
static turn send_first(instance *self, job *j, frame *f, NrStatus status) {
    NrStatus answer = jobs_send(self, j->sid, status, f->data, f->len);
    if (answer == NR_BACKPRESSURE) {
        return TURN_BLOCKED;
    }
    if (j->kind == JOB_REPLY || answer != NR_OK) {
        return TURN_DONE;
    }
    pthread_mutex_lock(&self->lock);
    j->first = f->next;
    if (j->first == NULL) {
        j->end = &j->first;
    }
    pthread_mutex_unlock(&self->lock);
    free(f);
    return TURN_MOVED;
}

static turn send_next_number(instance *self, job *j) {
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)j->at);
    NrStatus answer = jobs_send(self, j->sid, NR_OK, text, (size_t)len);
    if (answer == NR_OK) {
        j->at++;
        return TURN_MOVED;
    }
    return answer == NR_BACKPRESSURE ? TURN_BLOCKED : TURN_DONE;
}

static turn take_turn(instance *self, job *j) {
    pthread_mutex_lock(&self->lock);
    bool closed = j->closed, stopping = self->stopping;
    frame *first = j->first;
    pthread_mutex_unlock(&self->lock);
    if (stopping) {
        jobs_send(self, j->sid, NR_ERR, "shut down", 9);
        return TURN_DONE;
    }
    if (first != NULL) {
        return send_first(self, j, first, j->kind == JOB_REPLY ? j->last : NR_OK);
    }
    if (j->kind == JOB_CHAT && !closed) {
        return TURN_IDLE;
    }
    if (j->kind == JOB_CHAT || closed || j->at == j->limit) {
        return send_last(self, j, j->last, j->text);
    }
    return send_next_number(self, j);
}

/* The lock is held at the call and after it. */
static void pause_for(instance *self, bool blocked) {
    if (!blocked) {
        pthread_cond_wait(&self->changed, &self->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += RETRY_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&self->changed, &self->lock, &until);
}

static void *work(void *given) {
    instance *self = given;
    pthread_mutex_lock(&self->lock);
    while (!self->stopping || self->active != NULL) {
        bool moved = false, blocked = false;
        self->news = false;
        for (job **link = &self->active; *link != NULL;) {
            job *j = *link;
            pthread_mutex_unlock(&self->lock);
            turn took = take_turn(self, j);
            pthread_mutex_lock(&self->lock);
            moved |= took == TURN_MOVED || took == TURN_DONE;
            blocked |= took == TURN_BLOCKED;
            if (took == TURN_DONE) {
                *link = j->next;
                atomic_fetch_add(&self->ended, j->kind == JOB_ENDLESS);
                job_free(j);
            } else {
                link = &j->next;
            }
        }
        if (!moved && !self->news && (!self->stopping || self->active != NULL)) {
            pause_for(self, blocked);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

bool jobs_start(instance *self, void *host_ctx, const NrHostVTableV2 *host) {
    self->host_ctx = host_ctx;
    self->host = *host;
    self->news = self->stopping = false;
    self->active = self->held = NULL;
    atomic_store(&self->ended, 0);
    atomic_store(&self->undelivered, 0);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    return pthread_create(&self->worker, NULL, work, self) == 0;
}

void jobs_stop(instance *self) {
    jobs_let_go(self);
    pthread_mutex_lock(&self->lock);
    self->stopping = self->news = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->worker, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
}

NrStatus jobs_answer_later(instance *self, uint64_t sid, NrStatus status, const char *before, NrBytes body) {
    return put(self, &self->active, job_with(sid, JOB_REPLY, status, frame_of(before, body)));
}

NrStatus jobs_hold(instance *self, uint64_t sid, NrBytes body) {
    return put(self, &self->held, job_with(sid, JOB_REPLY, NR_OK, frame_of("", body)));
}

NrStatus jobs_chat(instance *self, uint64_t sid, NrBytes body) {
    return put(self, &self->active, job_with(sid, JOB_CHAT, NR_STREAM_END, frame_of("hello ", body)));
}

NrStatus jobs_stream(instance *self, uint64_t sid, job_kind kind, uint64_t at, uint64_t limit, NrStatus last,
                     const char *text) {
    job *j = job_new(sid, kind, last);
    if (j != NULL) {
        j->at = at;
        j->limit = limit;
        j->text = text;
    }
    return put(self, &self->active, j);
}

uint64_t jobs_let_go(instance *self) {
    uint64_t count = 0;
    pthread_mutex_lock(&self->lock);
    job **end = &self->active;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = self->held;
    self->held = NULL;
    for (const job *j = *end; j != NULL; j = j->next) {
        count++;
    }
    self->news = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    return count;
}

/* A stream whose input is open; the lock is held. */
static job *find(instance *self, uint64_t sid) {
    for (job *j = self->active; j != NULL; j = j->next) {
        if (j->sid == sid && j->kind != JOB_REPLY && !j->closed) {
            return j;
        }
    }
    return NULL;
}

static NrStatus push_upper(job *j, NrBytes data) {
    frame *f = frame_of("", data);
    if (f == NULL) {
        return NR_ERR;
    }
    for (size_t i = 0; i < f->len; i++) {
        if (f->data[i] >= 'a' && f->data[i] <= 'z') {
            f->data[i] = (uint8_t)(f->data[i] - ('a' - 'A'));
        }
    }
    *j->end = f;
    j->end = &f->next;
    return NR_OK;
}

NrStatus jobs_data(instance *self, uint64_t sid, NrBytes data) {
    pthread_mutex_lock(&self->lock);
    job *j = find(self, sid);
    NrStatus answer = NR_INVALID;
    if (j != NULL) {
        answer = j->kind == JOB_CHAT ? push_upper(j, data) : NR_UNSUPPORTED;
        self->news = true;
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return answer;
}

NrStatus jobs_close(instance *self, uint64_t sid) {
    pthread_mutex_lock(&self->lock);
    job *j = find(self, sid);
    if (j != NULL) {
        j->closed = self->news = true;
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return j != NULL ? NR_OK : NR_INVALID;
}
