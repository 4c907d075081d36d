/* The thread that answers pooled calls and runs streams: one call, then one frame of one stream, and round again. */
#include "native.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- calls ---- */

static call *copy_of(const call *c) {
    call *copy = malloc(sizeof *copy + c->body.len);
    if (copy != NULL) {
        uint8_t *body = (uint8_t *)(copy + 1);
        *copy = (call){.sid = c->sid, .run = c->run, .body = {.ptr = body, .len = c->body.len}};
        if (c->body.len > 0) {
            memcpy(body, c->body.ptr, c->body.len);
        }
    }
    return copy;
}

/* With the lock held. */
static void push(instance *self, call *c) {
    c->next = NULL;
    if (self->last != NULL) {
        self->last->next = c;
    } else {
        self->first = c;
    }
    self->last = c;
    pthread_cond_broadcast(&self->changed);
}

static call *pop(instance *self) {
    call *c = self->first;
    if (c != NULL) {
        self->first = c->next;
        self->last = c->next != NULL ? self->last : NULL;
    }
    return c;
}

NrStatus native_defer(instance *self, const call *c) {
    call *copy = copy_of(c);
    if (copy == NULL) {
        return NR_ERR;
    }
    pthread_mutex_lock(&self->lock);
    push(self, copy);
    pthread_mutex_unlock(&self->lock);
    return NR_OK;
}

void native_hold(instance *self, const call *c) {
    call *copy = copy_of(c);
    if (copy == NULL) {
        native_text(self, c->sid, NR_ERR, "MemoryError");
        return;
    }
    pthread_mutex_lock(&self->lock);
    copy->next = self->held;
    self->held = copy;
    pthread_mutex_unlock(&self->lock);
}

static void echo(instance *self, call *c) {
    native_send(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

uint64_t native_let_go(instance *self) {
    uint64_t count = 0;
    pthread_mutex_lock(&self->lock);
    for (call *c = self->held, *next; c != NULL; c = next, count++) {
        next = c->next;
        c->run = echo;
        push(self, c);
    }
    self->held = NULL;
    pthread_mutex_unlock(&self->lock);
    return count;
}

/* ---- the worker ---- */

static void wait_for_work(instance *self, uint64_t due_ns) {
    if (due_ns == 0) {
        pthread_cond_wait(&self->changed, &self->lock);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u)};
    pthread_cond_timedwait(&self->changed, &self->lock, &until);
}

static void *work(void *given) {
    instance *self = given;
    pthread_mutex_lock(&self->lock);
    while (self->state == LIVE || self->state == GIVEN) { /* GIVEN: init has not returned yet */
        bool sent;
        uint64_t due_ns;
        call *c = pop(self);
        if (c != NULL) {
            pthread_mutex_unlock(&self->lock);
            c->run(self, c);
            free(c);
            pthread_mutex_lock(&self->lock);
            if (self->state != LIVE) {
                break;
            }
        }
        if (!native_send_one(self, &sent, &due_ns)) {
            break;
        }
        if (c == NULL && !sent && self->state <= LIVE) {
            wait_for_work(self, due_ns);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

bool native_worker_start(instance *self) {
    self->has_worker = pthread_create(&self->worker, NULL, work, self) == 0;
    return self->has_worker;
}

static void refuse_all(instance *self, call *c) {
    while (c != NULL) {
        call *next = c->next;
        native_text(self, c->sid, NR_ERR, "shutting down");
        free(c);
        c = next;
    }
}

void native_worker_stop(instance *self) {
    bool on_its_stack = pthread_equal(self->worker, pthread_self());
    if (!on_its_stack) {
        pthread_join(self->worker, NULL);
        self->has_worker = false;
    }
    pthread_mutex_lock(&self->lock);
    self->drained = true;
    call *calls = self->first, *held = self->held;
    stream *streams = self->streams;
    self->first = self->last = self->held = NULL;
    self->streams = NULL;
    pthread_mutex_unlock(&self->lock);
    refuse_all(self, calls);
    refuse_all(self, held);
    while (streams != NULL) {
        stream *next = streams->next;
        /* One whose terminal was refused still waits for it; one whose terminal is being sent below us does not. */
        if (!streams->ended || streams->refused != NULL) {
            native_text(self, streams->sid, NR_ERR, "shutting down");
        }
        native_stream_free(streams);
        streams = next;
    }
}
