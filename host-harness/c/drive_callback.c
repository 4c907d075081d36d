/*
 * What the host does inside send_result besides taking the reply: hosts call back, join threads, block, or shut
 * the plugin down there, and the plugin has to bear it.
 */
#include <string.h>

#include "drive.h"

typedef enum mode { MODE_NONE, MODE_REENTER, MODE_JOIN, MODE_BLOCK, MODE_SHUTDOWN } mode;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static mode current;
static uint64_t orders; /* `callback` verbs so far: a send that began before the last one is none of its */
static char entry[256];
static uint64_t budget; /* how many more replies get the treatment */
static uint64_t only_sid;
static uint64_t parked;
static uint64_t busy; /* replies being treated, the parked ones too */
static bool released;
static uint64_t inner_calls, inner_replies, inner_refused, shutdowns;

static _Thread_local unsigned depth;
static unsigned depth_max;

static void call_inside(nrhost *host) {
    nrhost_frame reply;
    char name[sizeof entry]; /* the next command may come while the plugin still reads it */
    pthread_mutex_lock(&lock);
    memcpy(name, entry, sizeof name);
    pthread_mutex_unlock(&lock);
    nrhost_request request = {.entry = nrhost_str(name), .payload = nrhost_bytes("inner", 5), .raw = true};
    nrhost_call *call;
    NrStatus status = nrhost_submit(host, &request, &call);
    bool answered = false;
    if (call != NULL) {
        /* Whoever blocks here holds a thread of the plugin's: it may need that one for the answer. Ask, don't wait. */
        answered = nrhost_call_next(call, 0, &reply) == NRHOST_FRAME;
        nrhost_frame_free(&reply);
        nrhost_call_release(call);
    }
    pthread_mutex_lock(&lock);
    inner_calls++;
    inner_replies += answered;
    inner_refused += status != NR_OK;
    pthread_mutex_unlock(&lock);
}

typedef struct inner_thread {
    nrhost *host;
    unsigned depth; /* goes on counting over the threads, so that joins end too */
} inner_thread;

static void *call_from_thread(void *given) {
    const inner_thread *inner = given;
    depth = inner->depth;
    call_inside(inner->host);
    return NULL;
}

static void park(void) {
    pthread_mutex_lock(&lock);
    parked++;
    pthread_cond_broadcast(&changed);
    while (!released) {
        pthread_cond_wait(&changed, &lock);
    }
    parked--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static mode draw(uint64_t sid, uint64_t ticket) {
    mode drawn = MODE_NONE;
    pthread_mutex_lock(&lock);
    if (current != MODE_NONE && ticket == orders && budget > 0 && depth < depth_max &&
        (only_sid == 0 || only_sid == sid)) {
        drawn = current;
        budget--;
        busy++;
    }
    pthread_mutex_unlock(&lock);
    return drawn;
}

uint64_t callback_on_send(void *user) {
    (void)user;
    pthread_mutex_lock(&lock);
    uint64_t ticket = orders;
    pthread_mutex_unlock(&lock);
    return ticket;
}

void callback_on_result(void *user, nrhost *host, uint64_t sid, NrStatus status, uint64_t ticket) {
    (void)user;
    (void)status;
    pthread_t thread;
    depth++;
    mode drawn = draw(sid, ticket);
    switch (drawn) {
    case MODE_NONE:
        break;
    case MODE_REENTER:
        call_inside(host);
        break;
    case MODE_JOIN:
        if (place_thread(&thread, 0, call_from_thread, &(inner_thread){.host = host, .depth = depth}) == 0) {
            pthread_join(thread, NULL);
        }
        break;
    case MODE_BLOCK:
        park();
        break;
    case MODE_SHUTDOWN:
        nrhost_shutdown(host);
        pthread_mutex_lock(&lock);
        shutdowns++;
        pthread_mutex_unlock(&lock);
        break;
    }
    depth--;
    if (drawn != MODE_NONE) {
        pthread_mutex_lock(&lock);
        busy--;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
}

/*
 * callback mode=none|reenter|join|block|shutdown [entry=] [budget=N replies] [sid=only this one] [depth=]
 * For sends that begin after it: who has seen a reply may know nothing of the end of its send.
 */
void verb_callback(const command *c, json *out) {
    static const char *const names[] = {"none", "reenter", "join", "block", "shutdown"};
    const char *wanted = command_text(c, "mode", "none");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], wanted) == 0) {
            pthread_mutex_lock(&lock);
            current = (mode)i;
            orders++;
            snprintf(entry, sizeof entry, "%s", command_text(c, "entry", "echo"));
            budget = command_u64(c, "budget", UINT64_MAX);
            only_sid = command_u64(c, "sid", 0);
            depth_max = (unsigned)command_u64(c, "depth", 1) + 1;
            released = false;
            inner_calls = inner_replies = inner_refused = shutdowns = 0;
            pthread_mutex_unlock(&lock);
            return;
        }
    }
    json_fail(out, "callback has no mode %s", wanted);
}

static void wait_count(const command *c, json *out, const uint64_t *counter, bool at_least) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)command_seconds(c, "timeout", DRIVE_TIMEOUT_S);
    uint64_t wanted = command_u64(c, "count", at_least ? 1 : 0);
    int fault = 0;
    pthread_mutex_lock(&lock);
    while (fault == 0 && (at_least ? *counter < wanted : *counter > wanted)) {
        fault = pthread_cond_timedwait(&changed, &lock, &until);
    }
    uint64_t seen = *counter;
    pthread_mutex_unlock(&lock);
    if (fault != 0) {
        json_fail(out, "%llu threads are parked in send_result, not %llu", (unsigned long long)seen,
                  (unsigned long long)wanted);
    } else {
        json_u64(out, "count", seen);
    }
}

/* parked [count=N]: waits until at least N threads are parked. */
void verb_parked(const command *c, json *out) {
    wait_count(c, out, &parked, true);
}

/* release: lets parked threads go, waits until they have left, and parks no more. */
void verb_release(const command *c, json *out) {
    pthread_mutex_lock(&lock);
    released = true;
    current = MODE_NONE;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    wait_count(c, out, &parked, false);
}

static bool is_report_due(const command *c) {
    return busy <= parked && inner_calls >= command_u64(c, "inner_calls", 0) &&
           shutdowns >= command_u64(c, "shutdowns", 0);
}

/* callback_report [inner_calls=N] [shutdowns=N]: waits until send_result does nothing more but hold parked threads, and
 * at least so much has been done: a reply is there for who waits for it before its send_result does what it is told to. */
void verb_callback_report(const command *c, json *out) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)command_seconds(c, "timeout", DRIVE_TIMEOUT_S);
    int fault = 0;
    pthread_mutex_lock(&lock);
    while (fault == 0 && !is_report_due(c)) {
        fault = pthread_cond_timedwait(&changed, &lock, &until);
    }
    json_u64(out, "inner_calls", inner_calls);
    json_u64(out, "inner_replies", inner_replies);
    json_u64(out, "inner_refused", inner_refused);
    json_u64(out, "shutdowns", shutdowns);
    json_u64(out, "parked", parked);
    pthread_mutex_unlock(&lock);
}
