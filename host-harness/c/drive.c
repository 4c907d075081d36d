/*
 * `nrhost drive`: commands on stdin, answers on stdout, one line each.
 *
 *   verb key=value key=value …      values percent-encoded; a key may come again (hkey, hval)
 *   {"ok": true, …}                 or {"error": "…"}
 *
 * Every verb takes
 *   plugin=NAME          which plugin, "main" without
 *   on=main|thread|pool:N  the thread it runs on; stack=BYTES for a fresh one
 *   async=1              answers {"job": n} at once; `join job=n` gives the real answer
 *   limit=SECONDS        after which the process says so and ends: a hang is an error line, never a hang
 *
 * A view can be replaced by hand: raw.NAME=POINTER:LENGTH, NAME one of entry payload path method query
 * headers hkeyN hvalN data; POINTER `null`, `keep`, `top` (the last byte of the address space) or a number;
 * LENGTH `keep` or a number. ctx=null|host|own+N|NUMBER replaces plugin_ctx.
 */
#include "drive.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static FILE *answers;

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t watch_changed;
static struct timespec watch_deadline; /* tv_sec 0: nothing to watch. Guarded by watch_lock */
static char watch_verb[64];
static bool watch_over;
static pthread_t watcher;

static void *watch(void *unused) {
    (void)unused;
    pthread_mutex_lock(&watch_lock);
    while (!watch_over) {
        if (watch_deadline.tv_sec == 0) {
            pthread_cond_wait(&watch_changed, &watch_lock);
            continue;
        }
        struct timespec until = watch_deadline, now;
        pthread_cond_timedwait(&watch_changed, &watch_lock, &until);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (watch_deadline.tv_sec != 0 && now.tv_sec > watch_deadline.tv_sec) {
            fprintf(answers, "{\"error\": \"%s did not return within its limit; the host ends here\"}\n", watch_verb);
            fflush(answers);
            _exit(70);
        }
    }
    pthread_mutex_unlock(&watch_lock);
    return NULL;
}

void drive_watch_stop(void) {
    pthread_mutex_lock(&watch_lock);
    watch_over = true;
    pthread_cond_signal(&watch_changed);
    pthread_mutex_unlock(&watch_lock);
    pthread_join(watcher, NULL);
}

static void watch_set(const char *verb_name, double limit_s) {
    pthread_mutex_lock(&watch_lock);
    if (verb_name == NULL) {
        watch_deadline.tv_sec = 0;
    } else {
        clock_gettime(CLOCK_MONOTONIC, &watch_deadline);
        watch_deadline.tv_sec += (time_t)limit_s;
        snprintf(watch_verb, sizeof watch_verb, "%s", verb_name);
    }
    pthread_cond_signal(&watch_changed);
    pthread_mutex_unlock(&watch_lock);
}

/* Everything the conformance suite may ask for. */
static void verb_hello(const command *c, json *out) {
    (void)c;
    json_string(out, "host", "nrhost (C)");
    json_open(out, "abi", '[');
    for (nrhost_abi abi = NRHOST_V1; abi <= NRHOST_V2; abi++) {
        json_string(out, NULL, nrhost_abi_name(abi));
    }
    json_close(out, ']');
    json_open(out, "cannot", '{');
    json_close(out, '}');
}

static void verb_ping(const command *c, json *out) {
    json_u64(out, "pid", (uint64_t)getpid());
    json_string(out, "text", command_text(c, "text", ""));
    json_u64(out, "late_sends", nrhost_late_sends());
}

static const struct {
    const char *name;
    verb *run;
} verbs[] = {
    {"hello", verb_hello},
    {"ping", verb_ping},
    {"load", verb_load},
    {"init", verb_init},
    {"info", verb_info},
    {"shutdown", verb_shutdown},
    {"unload", verb_unload},
    {"call", verb_call},
    {"submit", verb_submit},
    {"fire", verb_fire},
    {"wait", verb_wait},
    {"drop", verb_drop},
    {"stream_data", verb_stream_data},
    {"stream_close", verb_stream_close},
    {"join", verb_join},
    {"callback", verb_callback},
    {"parked", verb_parked},
    {"release", verb_release},
    {"callback_report", verb_callback_report},
    {"storm", verb_storm},
    {"reload", verb_reload},
    {"lane", verb_lane},
    {"lanes", verb_lanes},
    {"lane_stop", verb_lane_stop},
    {"churn", verb_churn},
    {"trouble", verb_trouble},
    {"signals", verb_signals},
    {"cycle", verb_cycle},
    {"ledger", verb_ledger},
    {"ledger_reset", verb_ledger_reset},
    {"state_get", verb_state_get},
    {"state_count", verb_state_count},
    {"leases", verb_leases},
    {"resolve", verb_resolve},
    {"free_frames", verb_free_frames},
    {"rss", verb_rss},
    {"malloc_trim", verb_malloc_trim},
    {"env", verb_env},
    {"fork", verb_fork},
};

static verb *find_verb(const char *name) {
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return verbs[i].run;
        }
    }
    return NULL;
}

static void answer(const command *c, const char *line) {
    json out = {0};
    json_open(&out, NULL, '{');
    json_bool(&out, "ok", true);
    verb *run = find_verb(c->verb);
    if (run == NULL) {
        json_fail(&out, "unknown verb %s", c->verb);
    } else {
        double limit_s = command_seconds(c, "timeout", DRIVE_TIMEOUT_S) + 90.0;
        watch_set(c->verb, command_seconds(c, "limit", limit_s));
        place_run(run, line, &out);
        watch_set(NULL, 0);
    }
    json_close(&out, '}');
    fprintf(answers, "%s\n", out.text);
    fflush(answers);
    json_free(&out);
}

/* Plugins print where they like: what they write to stdout goes to stderr, the answers keep the real one. */
static bool keep_stdout(void) {
    int real = dup(STDOUT_FILENO);
    if (real < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        return false;
    }
    answers = fdopen(real, "w");
    return answers != NULL;
}

int drive_main(void) {
    pthread_condattr_t monotonic;
    if (!keep_stdout()) {
        perror("nrhost drive: stdout");
        return 1;
    }
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watch_changed, &monotonic);
    if (place_thread(&watcher, 0, watch, NULL) != 0) {
        fprintf(stderr, "nrhost drive: cannot start its watching thread\n");
        return 1;
    }

    char *line = NULL;
    size_t room = 0;
    int code = 0;
    while (getline(&line, &room, stdin) > 0) {
        command c;
        if (command_parse(&c, line)) {
            bool leave = strcmp(c.verb, "exit") == 0;
            if (strcmp(c.verb, "quit") == 0 || (leave && strcmp(command_text(&c, "how", "return"), "return") == 0)) {
                code = (int)command_u64(&c, "code", 0);
                command_free(&c);
                break;
            }
            if (leave) {
                process_exit(&c, line);
            }
            answer(&c, line);
        }
        command_free(&c);
    }
    free(line);
    plugins_unload_all();
    drive_watch_stop();
    fclose(answers);
    return code;
}
