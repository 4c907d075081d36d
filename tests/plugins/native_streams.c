/* Streams: what comes in, what goes out, and what to do when the host does not take it. */
#include "native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAITING_MAX 1024u        /* frames in of a duplex stream that are not out yet */
#define BACKOFF_FIRST_NS 500000u /* after a frame that the host did not take */
#define BACKOFF_MAX_NS 50000000u
#define ENDLESS_PAUSE_NS 200000u /* v1 hosts take all there is: not so fast */

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- streams, with the lock held ---- */

static stream *find(instance *self, uint64_t sid) {
    stream *s = self->streams;
    while (s != NULL && (s->sid != sid || s->ended)) {
        s = s->next;
    }
    return s;
}

static bool has_streams(void) {
    for (size_t i = 0; i < native_entry_count; i++) {
        if (native_entries[i].kind == STREAM) {
            return true;
        }
    }
    return false;
}

static frame *frame_of(NrStatus status, const void *data, uint64_t len) {
    frame *f = malloc(sizeof *f + len);
    if (f != NULL) {
        *f = (frame){.status = status, .len = len};
        if (len > 0) {
            memcpy(f->bytes, data, len);
        }
    }
    return f;
}

void native_stream_free(stream *s) {
    for (frame *f = s->first, *next; f != NULL; f = next) {
        next = f->next;
        free(f);
    }
    free(s->refused);
    free(s);
}

static void take_out(instance *self, stream *s) {
    stream **link = &self->streams;
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    native_stream_free(s);
}

NrStatus native_open(instance *self, stream *s) {
    pthread_mutex_lock(&self->lock);
    bool fresh = find(self, s->sid) == NULL;
    if (fresh) {
        s->next = self->streams;
        self->streams = s;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    if (!fresh) {
        native_stream_free(s);
    }
    return fresh ? NR_OK : NR_INVALID;
}

static void append(stream *s, frame *f) {
    if (s->last != NULL) {
        s->last->next = f;
    } else {
        s->first = f;
    }
    s->last = f;
    s->waiting++;
}

bool native_append(stream *s, const void *data, uint64_t len) {
    frame *f = frame_of(NR_OK, data, len);
    if (f != NULL) {
        append(s, f);
    }
    return f != NULL;
}

static NrStatus take_input(instance *self, stream *s, NrBytes data) {
    if (s->kind != DUPLEX) {
        return NR_UNSUPPORTED;
    }
    if (s->closing) {
        return NR_INVALID;
    }
    frame *f = s->waiting < WAITING_MAX ? frame_of(NR_OK, data.ptr, data.len) : NULL;
    if (f == NULL) {
        return self->v2 ? NR_BACKPRESSURE : NR_ERR;
    }
    for (uint64_t i = 0; i < f->len && !s->as_is; i++) {
        f->bytes[i] = (uint8_t)(f->bytes[i] >= 'a' && f->bytes[i] <= 'z' ? f->bytes[i] - 32 : f->bytes[i]);
    }
    append(s, f);
    pthread_cond_broadcast(&self->changed);
    return NR_OK;
}

NrStatus native_stream_data(instance *self, uint64_t sid, NrBytes data) {
    if (!has_streams()) {
        return NR_UNSUPPORTED;
    }
    pthread_mutex_lock(&self->lock);
    stream *s = find(self, sid);
    NrStatus status = s != NULL ? take_input(self, s, data) : NR_INVALID;
    pthread_mutex_unlock(&self->lock);
    return status;
}

NrStatus native_stream_close(instance *self, uint64_t sid) {
    if (!has_streams()) {
        return NR_UNSUPPORTED;
    }
    pthread_mutex_lock(&self->lock);
    stream *s = find(self, sid);
    NrStatus status = s != NULL && !s->closing ? NR_OK : NR_INVALID;
    if (status == NR_OK) {
        s->closing = true;
        s->due_ns = 0;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

/* ---- output ---- */

/* The stream's next frame; NULL for none now. Takes it from what waits. */
static frame *next_frame(stream *s) {
    char number[24];
    frame *f = s->refused;
    s->refused = NULL;
    if (f != NULL) {
        return f;
    }
    if (s->first != NULL) {
        f = s->first;
        s->first = f->next;
        s->last = s->first != NULL ? s->last : NULL;
        s->waiting--;
        return f;
    }
    if (s->closing) {
        return frame_of(NR_STREAM_END, NULL, 0);
    }
    if (s->kind == DUPLEX) {
        return NULL;
    }
    if (s->kind == COUNT && s->sent == s->count) {
        static const char fault[] = "RuntimeError: broken";
        return s->fails ? frame_of(NR_ERR, fault, sizeof fault - 1) : frame_of(NR_STREAM_END, NULL, 0);
    }
    int len = snprintf(number, sizeof number, "%llu", (unsigned long long)s->sent);
    return frame_of(NR_OK, number, (uint64_t)len);
}

static void count_ended(instance *self, stream *s) {
    self->endless_ended += s->kind == ENDLESS && !s->ended;
    s->ended = true;
}

static void after_refusal(stream *s, frame *f) {
    s->refused = f;
    s->backoff_ns = s->backoff_ns == 0 ? BACKOFF_FIRST_NS : s->backoff_ns * 2;
    s->backoff_ns = s->backoff_ns < BACKOFF_MAX_NS ? s->backoff_ns : BACKOFF_MAX_NS;
    s->due_ns = now_ns() + s->backoff_ns;
}

/* With the lock held, which is let go for the send. False when the worker was stopped from there. */
static bool send_frame(instance *self, stream *s, frame *f) {
    bool terminal = f->status != NR_OK;
    if (terminal) {
        count_ended(self, s); /* before anyone can see it, and use the sid again */
    }
    uint64_t sid = s->sid;
    pthread_mutex_unlock(&self->lock);
    NrStatus answer = native_send(self, sid, f->status, f->bytes, f->len);
    pthread_mutex_lock(&self->lock);
    if (self->drained) {
        free(f);
        return false;
    }
    if (answer == NR_BACKPRESSURE) {
        after_refusal(s, f);
        return true;
    }
    free(f);
    if (terminal || answer != NR_OK) { /* Invalid: nobody wants more */
        count_ended(self, s);
        take_out(self, s);
        return true;
    }
    s->sent++;
    s->backoff_ns = 0;
    s->due_ns = s->kind == ENDLESS && !self->v2 && !s->closing ? now_ns() + ENDLESS_PAUSE_NS : 0;
    return true;
}

bool native_send_one(instance *self, bool *sent, uint64_t *due_ns) {
    uint64_t now = now_ns();
    *sent = false;
    *due_ns = 0;
    for (stream **link = &self->streams; *link != NULL; link = &(*link)->next) {
        stream *s = *link;
        if (s->due_ns > now) {
            *due_ns = *due_ns == 0 || s->due_ns < *due_ns ? s->due_ns : *due_ns;
            continue;
        }
        frame *f = next_frame(s);
        if (f != NULL) {
            *link = s->next;
            s->next = NULL;
            while (*link != NULL) {
                link = &(*link)->next;
            }
            *link = s;
            *sent = true;
            return send_frame(self, s, f);
        }
    }
    return true;
}
