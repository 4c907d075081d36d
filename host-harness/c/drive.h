/* `nrhost drive`: what its files share. One verb is one function of the shape `verb`. */
#ifndef NRHOST_DRIVE_H
#define NRHOST_DRIVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "nrhost.h"
#include "text.h"

/* Writes its answer's members, or json_fail. May run on any thread, beside others. */
typedef void verb(const command *c, json *out);

int drive_main(void);
/* Ends the thread that watches the limits: a process whose main thread leaves by pthread_exit waits for it. */
void drive_watch_stop(void);

/* ---- places.c: the thread a verb runs on ---- */
void place_run(verb *run, const char *line, json *out);
verb verb_join;
/* Starts a thread with a stack of `stack` bytes (0: the usual). 0 or an errno. */
int place_thread(pthread_t *thread, size_t stack, void *(*run)(void *), void *given);

/* ---- drive_plugins.c: loaded plugins by name ---- */
typedef struct plugin_slot {
    char name[64];
    char *path;
    nrhost_options options;
    nrhost *host;
    uint64_t lineage;      /* an instance that `reload` puts in another's place has the same */
    atomic_bool stopping;  /* set before shutdown is called */
    int references;        /* one while it is in the list, one for each verb that uses it */
    int callers;           /* calls of `storm entry=`, `lane` and `reload` in progress */
    nrhost_report earlier; /* of the instances that this one has replaced. Guarded by the lock in drive_plugins.c */
    struct plugin_slot *next;
} plugin_slot;

/* The plugin that `plugin=` names ("main" without); NULL after json_fail. Give it back with plugin_done. */
plugin_slot *plugin_find(const command *c, json *out);
void plugin_done(plugin_slot *slot);
/* The plugin of that name for one call of a caller; NULL when it is gone or another was loaded since. */
plugin_slot *plugin_enter(const char *name, uint64_t lineage);
void plugin_leave(plugin_slot *slot);
/* Puts a new instance in the plugin's place and ends the old one; what that one broke is added to `broken`. */
bool plugin_reload(const command *c, bool drain, json *broken, json *out);
void plugins_unload_all(void);
/* The ledgers of all instances that have had this place. False where it has none. */
bool plugin_report(plugin_slot *slot, nrhost_report *report);
/* Calls `look` with each loaded plugin. */
void plugins_each(void (*look)(void *given, plugin_slot *slot), void *given);
verb verb_load, verb_init, verb_info, verb_shutdown, verb_unload;

/* ---- drive_saw.c: what the host knows of a plugin ---- */
verb verb_ledger, verb_ledger_reset, verb_state_get, verb_state_count, verb_leases, verb_resolve;
void json_report(json *out, const char *key, const nrhost_report *report);
/* The broken promises of a host in words, as members of an array. */
void json_broken(json *out, nrhost *host);

/* ---- drive_fields.c: a request out of a command ---- */
typedef struct fields {
    nrhost_request request;
    NrRequest metadata;
    NrHeader *headers;
    uint8_t *body; /* owned when not NULL */
    char *names;   /* owned: the texts of synthetic headers */
} fields;

/* False after json_fail. Borrows from the command. */
bool fields_read(fields *f, const command *c, json *out);
void fields_free(fields *f);
/* Whether the command has `ctx=`; json_fail where the plugin's ABI has no such thing. */
bool is_ctx_given(const command *c, nrhost *host, json *out);
/* The plugin_ctx that `ctx=` asks for; the plugin's own without. */
void *plugin_ctx_of(const command *c, const nrhost *host);
/* With door=id: asks the plugin for the entry's number, unless id= gives one. */
void fields_resolve(fields *f, const command *c, nrhost *host);
/* A view as `raw.NAME=POINTER:LENGTH` asks: see drive.c's protocol. */
void fields_override(const command *c, const char *name, const void **ptr, uint64_t *len);

/* ---- drive_calls.c ---- */
verb verb_call, verb_submit, verb_fire, verb_wait, verb_drop, verb_stream_data, verb_stream_close;
/* Gives up the calls still held of one host. */
void calls_forget(nrhost *host);

/* ---- drive_frames.c ---- */
void json_frame(json *out, const char *key, const nrhost_frame *frame, bool whole);
/* Takes frames as `frames=` `timeout=` `full=` `keep=` ask, and writes them. True when the call's end was met. */
bool frames_take(const command *c, nrhost_call *call, json *out);
/* Frees a frame, or with keep=1 keeps it until free_frames. Takes the frame. */
void frame_done(const command *c, nrhost_frame *frame);
verb verb_free_frames;

/* ---- drive_callback.c: what send_result does besides ---- */
uint64_t callback_on_send(void *user);
void callback_on_result(void *user, nrhost *host, uint64_t sid, NrStatus status, uint64_t ticket);
verb verb_callback, verb_parked, verb_release, verb_callback_report;

/* ---- drive_echo.c: a call whose entry gives its body back ---- */
typedef struct echo_call {
    nrhost_request request; /* the payload is the body */
    bool fast;              /* by nrhost_call_fast */
    uint64_t pieces;        /* 0: the body goes with the call; else it is sent to the open stream, in so many pieces */
    bool may_fail;          /* Err is right as well */
    uint64_t
        take; /* not 0: the stream gives the body again and again, and its receiver is dropped after so many frames */
    unsigned pause_us; /* before each frame is taken */
    double timeout_s;  /* for each frame; 0: the usual */
} echo_call;

typedef struct echo_result {
    bool accepted, replied, wrong; /* replied: the terminal reply came */
    bool failed, dropped;          /* it was Err; the receiver was dropped before it came */
    NrStatus refused;              /* what handle answered, where that was not Ok */
    uint64_t sid;
    char fault[96]; /* what was wrong with the first wrong frame */
    uint64_t frames;
} echo_result;

/* A body that no other call has. */
void echo_fill(uint8_t *body, size_t len, uint64_t number);
/* The same as a JSON object {"number":N,"text":"…"} of at least ECHO_JSON_MIN bytes. */
enum { ECHO_JSON_MIN = 48 };
void echo_fill_json(uint8_t *body, size_t len, uint64_t number);
echo_result echo_once(plugin_slot *slot, const echo_call *what);

/* ---- trouble.c: the first disagreement of the process, and what led to it ---- */
/* Notes what is wrong, unless something was before, and freezes the ledgers' events; those of the plugin it was found in
 * are dumped (NULL: of none). Any thread. */
void trouble(plugin_slot *slot, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool trouble_found(void);
/* Whether the plugin's ledger has a broken promise, which is trouble; with `over`, an open call is one. */
void trouble_look(plugin_slot *slot, bool over);
verb verb_trouble;

/* ---- lane*.c: see lane.h ---- */
verb verb_lane, verb_lanes, verb_lane_stop, verb_churn;

/* ---- drive_callers.c ---- */
verb verb_storm_entry, verb_reload;

/* ---- drive_storm.c, drive_cycle.c, drive_process.c ---- */
verb verb_storm, verb_cycle, verb_rss, verb_signals, verb_malloc_trim, verb_env, verb_fork;
/* Resident memory of this process, in KiB. */
uint64_t process_rss_kib(void);
/* Ends the process as `exit how=…` says; does not return. Takes both. */
void process_exit(command *c, char *line) __attribute__((noreturn));

/* The longest wait, in seconds, of a verb without `timeout=`. */
#define DRIVE_TIMEOUT_S 30.0

#endif /* NRHOST_DRIVE_H */
