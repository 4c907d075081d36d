/* Calls from the driver: those in progress are held by sid until they are waited for or dropped. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "drive.h"

typedef struct held_call {
    nrhost *host;
    nrhost_call *call;
    struct held_call *next;
} held_call;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static held_call *held; /* newest first */

static bool hold(nrhost *host, nrhost_call *call) {
    held_call *h = malloc(sizeof *h);
    if (h == NULL) {
        return false;
    }
    pthread_mutex_lock(&lock);
    *h = (held_call){.host = host, .call = call, .next = held};
    held = h;
    pthread_mutex_unlock(&lock);
    return true;
}

/* Takes a call out of the list, the oldest of that sid; sid 0 means any. */
static nrhost_call *take(nrhost *host, uint64_t sid) {
    held_call **match = NULL;
    pthread_mutex_lock(&lock);
    for (held_call **link = &held; *link != NULL; link = &(*link)->next) {
        if ((*link)->host == host && (sid == 0 || nrhost_call_sid((*link)->call) == sid)) {
            match = link;
        }
    }
    nrhost_call *call = NULL;
    if (match != NULL) {
        held_call *h = *match;
        call = h->call;
        *match = h->next;
        free(h);
    }
    pthread_mutex_unlock(&lock);
    return call;
}

void calls_forget(nrhost *host) {
    for (nrhost_call *call; (call = take(host, 0)) != NULL;) {
        nrhost_call_release(call);
    }
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Calls with another plugin_ctx go past the library: nothing is expected to come of them but a status. */
static NrStatus handle_with_ctx(const command *c, nrhost *host, const nrhost_request *request) {
    const nrhost_functions *plugin = nrhost_functions_of(host);
    if (request->raw && plugin->handle_raw != NULL) {
        return plugin->handle_raw(plugin_ctx_of(c, host), request->entry, request->sid, request->payload);
    }
    const NrRequest *metadata = request->raw ? NULL : request->metadata;
    return plugin->handle(plugin_ctx_of(c, host), request->entry, request->sid, metadata, request->payload);
}

static void call_fast(const command *c, nrhost *host, const nrhost_request *request, json *out) {
    nrhost_frame reply;
    uint64_t before = now_ns();
    nrhost_outcome outcome = nrhost_call_fast(host, request, &reply);
    json_u64(out, "handle_ns", now_ns() - before);
    json_u64(out, "handle", outcome == NRHOST_REFUSED ? reply.status : NR_OK);
    json_open(out, "frames", '[');
    if (outcome == NRHOST_FRAME) {
        json_frame(out, NULL, &reply, command_flag(c, "full"));
        frame_done(c, &reply);
    }
    json_close(out, ']');
    json_bool(out, "ended", outcome == NRHOST_FRAME);
    json_bool(out, "timeout", false);
}

static void call_waiting(const command *c, nrhost *host, const nrhost_request *request, json *out, bool wait) {
    nrhost_call *call;
    uint64_t before = now_ns();
    NrStatus status = nrhost_submit(host, request, &call);
    json_u64(out, "handle_ns", now_ns() - before);
    json_u64(out, "handle", status);
    bool ended = false;
    if (call == NULL) {
        json_open(out, "frames", '[');
        json_close(out, ']');
        json_bool(out, "ended", false);
        json_bool(out, "timeout", false);
        return;
    }
    if (wait) {
        ended = frames_take(c, call, out);
    }
    if (ended || !hold(host, call)) {
        nrhost_call_release(call);
    }
}

typedef enum manner { TO_THE_END, SUBMIT, FIRE } manner;

static void run_call(const command *c, json *out, manner how) {
    fields f;
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    nrhost *host = slot->host;
    bool with_ctx = is_ctx_given(c, host, out);
    if (out->failed || !fields_read(&f, c, out)) {
        plugin_done(slot);
        return;
    }
    fields_resolve(&f, c, host);
    if (f.request.sid == 0) {
        f.request.sid = nrhost_next_sid(host);
    }
    json_u64(out, "sid", f.request.sid);
    if (with_ctx) {
        json_u64(out, "handle", handle_with_ctx(c, host, &f.request));
    } else if (how == FIRE) {
        json_u64(out, "handle", nrhost_fire(host, &f.request));
    } else if (strcmp(command_text(c, "door", "handle"), "fast") == 0) {
        call_fast(c, host, &f.request, out);
    } else {
        call_waiting(c, host, &f.request, out, how == TO_THE_END);
    }
    fields_free(&f);
    plugin_done(slot);
}

/* call entry= [door=handle|raw|fast|id] [kind=unary|stream] [sid=] fields…: submit, then wait for the end. */
void verb_call(const command *c, json *out) {
    run_call(c, out, TO_THE_END);
}

void verb_submit(const command *c, json *out) {
    run_call(c, out, SUBMIT);
}

/* fire entry= …: nobody waits for a reply, now or later. */
void verb_fire(const command *c, json *out) {
    run_call(c, out, FIRE);
}

/* wait sid= [frames=N] [timeout=]: the frames that came; the call is forgotten once its end was met. */
void verb_wait(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    uint64_t sid = command_u64(c, "sid", 0);
    nrhost_call *call = take(slot->host, sid);
    if (call == NULL) {
        json_fail(out, "no call with sid %llu is waited for", (unsigned long long)sid);
    } else {
        if (frames_take(c, call, out) || !hold(slot->host, call)) {
            nrhost_call_release(call);
        }
    }
    plugin_done(slot);
}

/* drop sid=: the receiver goes; an open stream is closed at the plugin. */
void verb_drop(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    uint64_t sid = command_u64(c, "sid", 0);
    nrhost_call *call = take(slot->host, sid);
    if (call == NULL) {
        json_fail(out, "no call with sid %llu is waited for", (unsigned long long)sid);
    } else {
        nrhost_call_release(call);
    }
    plugin_done(slot);
}

/* stream_data sid= body=… [raw.data=POINTER:LENGTH] [ctx=]: `status` is the plugin's answer. */
void verb_stream_data(const command *c, json *out) {
    fields f;
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    bool with_ctx = is_ctx_given(c, slot->host, out);
    if (!out->failed && fields_read(&f, c, out)) {
        const void *ptr = f.request.payload.ptr;
        fields_override(c, "data", &ptr, &f.request.payload.len);
        NrBytes data = {.ptr = ptr, .len = f.request.payload.len};
        uint64_t sid = command_u64(c, "sid", 0);
        uint64_t before = now_ns();
        NrStatus status = with_ctx
                              ? nrhost_functions_of(slot->host)->stream_data(plugin_ctx_of(c, slot->host), sid, data)
                              : nrhost_send_stream_data(slot->host, sid, data);
        json_u64(out, "call_ns", now_ns() - before);
        json_u64(out, "status", status);
        fields_free(&f);
    }
    plugin_done(slot);
}

/* stream_close sid= [ctx=] */
void verb_stream_close(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    uint64_t sid = command_u64(c, "sid", 0);
    if (is_ctx_given(c, slot->host, out)) {
        json_u64(out, "status", nrhost_functions_of(slot->host)->stream_close(plugin_ctx_of(c, slot->host), sid));
    } else if (!out->failed) {
        json_u64(out, "status", nrhost_close_stream(slot->host, sid));
    }
    plugin_done(slot);
}
