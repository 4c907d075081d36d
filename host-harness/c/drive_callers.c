/*
 * Callers that go on while the plugin under them is unloaded or loaded anew: `storm entry=` and `reload`. Each call asks
 * for the plugin by name again, and holds it until it is answered.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define THREADS_MAX 256u

typedef struct callers {
    const char *plugin, *entry, *door, *kind;
    uint64_t lineage; /* a plugin loaded later under the same name is another one */
    uint64_t pieces;  /* of a body that is sent to a duplex stream */
    size_t body;
    bool json;
    uint64_t calls;
    _Atomic uint64_t next;
    atomic_bool over;
    pthread_mutex_t lock; /* guards the counts */
    uint64_t accepted, refused, replies, wrong, lost;
    size_t started;
    pthread_t threads[THREADS_MAX];
} callers;

/* False when the plugin is there no more. */
static bool call_once(callers *s, uint8_t *body, uint64_t number) {
    plugin_slot *slot = plugin_enter(s->plugin, s->lineage);
    if (slot == NULL) {
        return false;
    }
    bool duplex = strcmp(s->kind, "duplex") == 0;
    (s->json ? echo_fill_json : echo_fill)(body, s->body, number);
    echo_call what = {
        .request =
            {
                .entry = nrhost_str(s->entry),
                .payload = nrhost_bytes(body, s->body),
                .kind = duplex || strcmp(s->kind, "stream") == 0 ? NRHOST_STREAM : NRHOST_UNARY,
                .raw = strcmp(s->door, "raw") == 0,
                .by_id = strcmp(s->door, "id") == 0,
            },
        .fast = strcmp(s->door, "fast") == 0,
        .pieces = duplex ? s->pieces : 0,
    };
    if (what.request.by_id) {
        what.request.id = nrhost_resolve(slot->host, what.request.entry);
    }
    echo_result r = echo_once(slot, &what);
    plugin_leave(slot);
    pthread_mutex_lock(&s->lock);
    s->accepted += r.accepted;
    s->refused += !r.accepted;
    s->replies += r.replied;
    s->lost += r.accepted && !r.replied;
    s->wrong += r.wrong;
    pthread_mutex_unlock(&s->lock);
    return true;
}

static void *call_on(void *given) {
    callers *s = given;
    uint8_t *body = malloc(s->body + 1);
    for (bool going = body != NULL; going && !atomic_load(&s->over);) {
        uint64_t number = atomic_fetch_add(&s->next, 1);
        going = number < s->calls && call_once(s, body, number);
    }
    free(body);
    return NULL;
}

/* `threads` callers for what the command describes. False after json_fail. End with callers_end. */
static bool callers_begin(callers *s, const command *c, json *out, size_t threads, uint64_t calls) {
    *s = (callers){
        .plugin = command_text(c, "plugin", "main"),
        .entry = command_text(c, "entry", ""),
        .door = command_text(c, "door", "handle"),
        .kind = command_text(c, "kind", "unary"),
        .pieces = command_u64(c, "pieces", 8),
        .body = (size_t)command_u64(c, "body_size", 64),
        .json = command_flag(c, "json"),
        .calls = calls,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    if (s->pieces == 0 || (s->json && s->body < ECHO_JSON_MIN)) {
        json_fail(out, "a body has at least one piece, and with json=1 at least %d bytes", ECHO_JSON_MIN);
        return false;
    }
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return false;
    }
    s->lineage = slot->lineage;
    plugin_done(slot);
    while (s->started < threads && s->started < THREADS_MAX &&
           place_thread(&s->threads[s->started], 0, call_on, s) == 0) {
        s->started++;
    }
    if (s->started < threads) {
        json_fail(out, "only %zu of %zu callers could be started (at most %u)", s->started, threads, THREADS_MAX);
    }
    return s->started == threads;
}

static void callers_end(callers *s) {
    for (size_t i = 0; i < s->started; i++) {
        pthread_join(s->threads[i], NULL);
    }
}

static void write_counts(const callers *s, json *out) {
    json_u64(out, "accepted", s->accepted);
    json_u64(out, "refused", s->refused);
    json_u64(out, "replies", s->replies);
    json_u64(out, "wrong", s->wrong);
    json_u64(out, "lost", s->lost);
}

/*
 * storm entry= [kind=unary|stream|duplex] [door=] [threads=8] [calls=1000] [body_size=64] [pieces=8] [json=1]
 *       [until=unload]
 */
void verb_storm_entry(const command *c, json *out) {
    callers s;
    bool forever = strcmp(command_text(c, "until", ""), "unload") == 0;
    bool begun = callers_begin(&s, c, out, (size_t)command_u64(c, "threads", 8),
                               forever ? UINT64_MAX : command_u64(c, "calls", 1000));
    if (!begun) {
        atomic_store(&s.over, true);
    }
    callers_end(&s);
    if (begun) {
        write_counts(&s, out);
    }
}

/*
 * reload [n=1] [entry= threads=2 …] [drain=0]: meanwhile the callers of storm go on. The new instance is initialised,
 * then the old one gets no new calls; once those in progress are over, or at once with drain=0, it is shut down.
 */
void verb_reload(const command *c, json *out) {
    callers s;
    bool calling = command_find(c, "entry") != NULL;
    uint64_t rounds = command_u64(c, "n", 1), tenth = rounds < 10 ? 1 : rounds / 10, done = 0;
    bool drain = command_u64(c, "drain", 1) != 0;
    bool begun = callers_begin(&s, c, out, calling ? (size_t)command_u64(c, "threads", 2) : 0, UINT64_MAX);
    json broken = {0};
    if (!begun) {
        atomic_store(&s.over, true);
        callers_end(&s);
        return;
    }
    json_open(out, "rss_kib", '[');
    while (done < rounds && plugin_reload(c, drain, &broken, out)) {
        if (++done % tenth == 0) {
            json_u64(out, NULL, process_rss_kib());
        }
    }
    atomic_store(&s.over, true);
    callers_end(&s);
    if (!out->failed) {
        json_close(out, ']');
        json_u64(out, "reloads", done);
        write_counts(&s, out);
        json_open(out, "broken", '[');
        json_raw(out, &broken);
        json_close(out, ']');
    }
    json_free(&broken);
}
