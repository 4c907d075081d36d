/* Many threads that come and go, calling; then the count of what became of each call. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define WINDOW_MAX 1024u
#define STATUSES 8u

typedef struct storm {
    nrhost *host;
    const char *entries[4]; /* unary, raw, fast, stream; NULL: none of that kind */
    bool check_echo;
    bool to_refusal; /* each thread ends at its first call that is refused */
    size_t window;
    size_t body;
    uint64_t calls;
    double timeout_s;
    _Atomic uint64_t next;
    pthread_mutex_t lock; /* guards the counts */
    uint64_t accepted, terminals, frames, wrong, timeouts, no_reply;
    uint64_t refused[STATUSES];
} storm;

typedef struct flight {
    nrhost_call *call;
    uint64_t number;
} flight;

enum { UNARY, RAW, FAST, STREAM };

/* A payload no other call has: its number, again and again. */
static void fill(uint8_t *body, size_t len, uint64_t number) {
    for (size_t i = 0; i < len; i++) {
        body[i] = (uint8_t)(number >> (i % 8 * 8));
    }
}

static bool is_echo(const storm *s, const nrhost_frame *frame, uint64_t number) {
    uint8_t *expected = malloc(s->body + 1);
    if (expected == NULL) {
        return false;
    }
    fill(expected, s->body, number);
    bool same = frame->status == NR_OK && frame->len == s->body &&
                (s->body == 0 || memcmp(frame->data, expected, s->body) == 0);
    free(expected);
    return same;
}

static void count(storm *s, uint64_t *counter, uint64_t n) {
    pthread_mutex_lock(&s->lock);
    *counter += n;
    pthread_mutex_unlock(&s->lock);
}

static void land(storm *s, flight *f, bool stream) {
    nrhost_frame frame;
    nrhost_outcome outcome;
    uint64_t frames = 0;
    bool wrong = false;
    while ((outcome = nrhost_call_next(f->call, s->timeout_s, &frame)) == NRHOST_FRAME) {
        frames++;
        if (stream) {
            wrong = wrong || (frame.status != NR_OK && frame.status != NR_STREAM_END);
        } else {
            wrong = wrong || frames > 1 || (s->check_echo && !is_echo(s, &frame, f->number));
        }
        nrhost_frame_free(&frame);
    }
    nrhost_call_release(f->call);
    count(s, &s->frames, frames);
    count(s, outcome == NRHOST_ENDED ? &s->terminals : &s->timeouts, 1);
    count(s, &s->wrong, wrong);
}

static void refuse(storm *s, NrStatus status) {
    count(s, &s->refused[status < STATUSES ? status : STATUSES - 1], 1);
}

/* False where it was refused. */
static bool call_fast(storm *s, const nrhost_request *request, uint64_t number) {
    nrhost_frame reply;
    nrhost_outcome outcome = nrhost_call_fast(s->host, request, &reply);
    switch (outcome) {
    case NRHOST_FRAME:
        count(s, &s->accepted, 1);
        count(s, &s->terminals, 1);
        count(s, &s->wrong, s->check_echo && !is_echo(s, &reply, number));
        break;
    case NRHOST_REFUSED:
        refuse(s, reply.status);
        break;
    default:
        count(s, &s->accepted, 1);
        count(s, &s->no_reply, 1);
        break;
    }
    nrhost_frame_free(&reply);
    return outcome != NRHOST_REFUSED;
}

static int pick_kind(const storm *s, uint64_t number) {
    int kind = (int)(number % 4);
    while (s->entries[kind] == NULL) {
        kind = (kind + 1) % 4;
    }
    return kind;
}

typedef struct worker {
    storm *s;
    uint64_t share; /* calls this thread makes before it ends */
    pthread_t thread;
} worker;

static void *work(void *given) {
    const worker *w = given;
    storm *s = w->s;
    flight *flights = calloc(s->window, sizeof *flights);
    uint8_t *body = malloc(s->body + 1);
    NrRequest metadata = {.path = nrhost_str("/storm"), .method = nrhost_str("POST"), .query = nrhost_str("a=1")};
    size_t used = 0;
    bool taken = true;
    for (uint64_t i = 0; i < w->share && (taken || !s->to_refusal) && flights != NULL && body != NULL; i++) {
        uint64_t number = atomic_fetch_add(&s->next, 1);
        int kind = pick_kind(s, number);
        fill(body, s->body, number);
        nrhost_request request = {
            .entry = nrhost_str(s->entries[kind]),
            .metadata = &metadata,
            .payload = nrhost_bytes(body, s->body),
            .kind = kind == STREAM ? NRHOST_STREAM : NRHOST_UNARY,
            .raw = kind == RAW,
        };
        if (kind == FAST) {
            taken = call_fast(s, &request, number);
            continue;
        }
        flight *f = &flights[used % s->window];
        if (f->call != NULL) {
            land(s, f, pick_kind(s, f->number) == STREAM);
            f->call = NULL;
        }
        f->number = number;
        NrStatus status = nrhost_submit(s->host, &request, &f->call);
        taken = f->call != NULL;
        if (taken) {
            count(s, &s->accepted, 1);
            used++;
        } else {
            refuse(s, status);
        }
    }
    for (size_t i = 0; i < s->window && flights != NULL; i++) {
        if (flights[i].call != NULL) {
            land(s, &flights[i], pick_kind(s, flights[i].number) == STREAM);
        }
    }
    free(flights);
    free(body);
    return NULL;
}

static bool run_waves(storm *s, size_t threads, size_t waves, size_t stack, json *out) {
    worker *workers = calloc(threads, sizeof *workers);
    uint64_t left = s->calls;
    for (size_t wave = 0; wave < waves && workers != NULL; wave++) {
        uint64_t of_wave = wave + 1 == waves ? left : s->calls / waves;
        left -= of_wave;
        size_t started = 0;
        for (; started < threads; started++) {
            workers[started].s = s;
            workers[started].share = of_wave / threads + (started < of_wave % threads);
            if (place_thread(&workers[started].thread, stack, work, &workers[started]) != 0) {
                break;
            }
        }
        for (size_t i = 0; i < started; i++) {
            pthread_join(workers[i].thread, NULL);
        }
        if (started < threads) {
            json_fail(out, "only %zu of %zu threads could be started", started, threads);
            break;
        }
    }
    free(workers);
    return !out->failed;
}

/*
 * storm calls=N [threads=8] [waves=1] [window=64] [body_size=64] [stack=] [check=echo]
 *       [unary=ENTRY] [raw=ENTRY] [fast=ENTRY] [stream=ENTRY] [until=refused: each thread calls until it is]
 * With entry= it is the storm of drive_callers.c.
 */
void verb_storm(const command *c, json *out) {
    if (command_find(c, "entry") != NULL) {
        verb_storm_entry(c, out);
        return;
    }
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    bool to_refusal = strcmp(command_text(c, "until", ""), "refused") == 0;
    storm s = {
        .host = slot->host,
        .entries = {command_text(c, "unary", NULL), command_text(c, "raw", NULL), command_text(c, "fast", NULL),
                    command_text(c, "stream", NULL)},
        .check_echo = strcmp(command_text(c, "check", ""), "echo") == 0,
        .to_refusal = to_refusal,
        .window = (size_t)command_u64(c, "window", 64),
        .body = (size_t)command_u64(c, "body_size", 64),
        .calls = to_refusal ? UINT64_MAX : command_u64(c, "calls", 1000),
        .timeout_s = command_seconds(c, "timeout", DRIVE_TIMEOUT_S),
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    size_t threads = (size_t)command_u64(c, "threads", 8), waves = (size_t)command_u64(c, "waves", 1);
    if (!s.entries[UNARY] && !s.entries[RAW] && !s.entries[FAST] && !s.entries[STREAM]) {
        json_fail(out, "storm needs an entry: unary=, raw=, fast= or stream=");
    } else if (s.window == 0 || s.window > WINDOW_MAX || threads == 0 || waves == 0) {
        json_fail(out, "storm: window is 1 to %u, threads and waves are at least 1", WINDOW_MAX);
    } else if (run_waves(&s, threads, waves, (size_t)command_u64(c, "stack", 0), out)) {
        uint64_t refused = 0;
        for (size_t i = 0; i < STATUSES; i++) {
            refused += s.refused[i];
        }
        json_u64(out, "accepted", s.accepted);
        json_u64(out, "refused", refused);
        json_open(out, "refused_by_status", '{');
        for (NrStatus i = 1; i < STATUSES; i++) {
            if (s.refused[i] > 0) {
                json_u64(out, nrhost_status_name(i), s.refused[i]);
            }
        }
        json_close(out, '}');
        json_u64(out, "terminals", s.terminals);
        json_u64(out, "frames", s.frames);
        json_u64(out, "wrong", s.wrong);
        json_u64(out, "timeouts", s.timeouts);
        json_u64(out, "no_reply", s.no_reply);
        nrhost_report report;
        if (nrhost_ledger_report(slot->host, &report)) {
            json_report(out, "ledger", &report);
        }
    }
    plugin_done(slot);
}
