/* One call of a caller, which waits for its end: whether what came back is the body that went in. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "drive.h"

/* A call in progress. */
typedef struct exchange {
    const plugin_slot *slot;
    const echo_call *what;
    nrhost_call *call;
    uint64_t came; /* bytes of the body that came back */
    uint64_t frames;
    bool wrong, failed;
    char fault[96];
} exchange;

/* Every byte tells the call and its own place: a frame of another call, or in another's place, is seen. */
void echo_fill(uint8_t *body, size_t len, uint64_t number) {
    for (size_t i = 0; i < len; i++) {
        body[i] = (uint8_t)(i < 8 ? number >> (i * 8) : (number + i) % 251);
    }
}

void echo_fill_json(uint8_t *body, size_t len, uint64_t number) {
    static const char end[] = "\"}";
    char head[ECHO_JSON_MIN];
    int used = snprintf(head, sizeof head, "{\"number\":%llu,\"text\":\"", (unsigned long long)number);
    memcpy(body, head, (size_t)used);
    for (size_t i = (size_t)used; i < len; i++) {
        body[i] = (uint8_t)('a' + (number + i) % 26);
    }
    memcpy(body + len - (sizeof end - 1), end, sizeof end - 1);
}

/* Whether the frame is the next part of the body. */
static bool goes_on(exchange *e, const nrhost_frame *frame) {
    NrBytes body = e->what->request.payload;
    if (e->what->take > 0 && e->came == body.len) {
        e->came = 0;
    }
    bool same = frame->len <= body.len - e->came &&
                (frame->len == 0 || memcmp(frame->data, (const uint8_t *)body.ptr + e->came, frame->len) == 0);
    e->came += same ? frame->len : 0;
    return same;
}

static bool is_right(exchange *e, const nrhost_frame *frame) {
    bool stream = e->what->request.kind == NRHOST_STREAM;
    if (frame->status == NR_ERR) {
        e->failed = true;
        return e->what->may_fail ||
               atomic_load(&e->slot->stopping); /* the answer to what is in progress at a shutdown */
    }
    if (stream && frame->status == NR_STREAM_END) {
        bool none_yet = e->came == 0 && e->what->take > 0; /* it may end before it has begun */
        return frame->len == 0 && (none_yet || e->came == e->what->request.payload.len);
    }
    return frame->status == NR_OK && goes_on(e, frame) && (stream || e->came == e->what->request.payload.len);
}

static void look(exchange *e, const nrhost_frame *frame) {
    bool stopping = atomic_load(&e->slot->stopping);
    if (!is_right(e, frame) && !e->wrong) {
        e->wrong = true;
        snprintf(e->fault, sizeof e->fault, "frame %llu, %s, %zu bytes, after %llu bytes%s",
                 (unsigned long long)e->frames, nrhost_status_name(frame->status), frame->len,
                 (unsigned long long)e->came, stopping ? ", in a shutdown" : "");
    }
}

/* Takes a frame and looks at it. */
static nrhost_outcome take(exchange *e) {
    nrhost_frame frame;
    if (e->what->pause_us > 0) {
        nanosleep(&(struct timespec){.tv_nsec = (long)e->what->pause_us * 1000}, NULL);
    }
    double timeout_s = e->what->timeout_s > 0 ? e->what->timeout_s : DRIVE_TIMEOUT_S;
    nrhost_outcome outcome = nrhost_call_next(e->call, timeout_s, &frame);
    if (outcome == NRHOST_FRAME) {
        e->frames++;
        look(e, &frame);
        nrhost_frame_free(&frame);
    }
    return outcome;
}

/* The body in pieces, then the close. A piece that the plugin has no room for goes again once there was a frame. */
static void send_body(exchange *e) {
    NrBytes body = e->what->request.payload;
    uint64_t sid = nrhost_call_sid(e->call), piece = body.len / e->what->pieces, sent = 0;
    piece = piece > 0 ? piece : 1;
    while (sent < body.len) {
        uint64_t len = body.len - sent < piece ? body.len - sent : piece;
        NrBytes data = {.ptr = (const uint8_t *)body.ptr + sent, .len = len};
        NrStatus status = nrhost_send_stream_data(e->slot->host, sid, data);
        if (status == NR_OK) {
            sent += len;
        } else if ((status != NR_ERR && status != NR_BACKPRESSURE) || take(e) != NRHOST_FRAME) {
            return; /* it has ended: its last frame says how */
        }
    }
    nrhost_close_stream(e->slot->host, sid); /* what is wrong with that shows in the end that does not come */
}

static echo_result echo_fast(exchange *e) {
    nrhost_frame reply;
    nrhost_request request = e->what->request;
    request.sid = nrhost_next_sid(e->slot->host);
    nrhost_outcome outcome = nrhost_call_fast(e->slot->host, &request, &reply);
    echo_result r = {.accepted = outcome != NRHOST_REFUSED, .replied = outcome == NRHOST_FRAME};
    r.refused = reply.status;
    r.sid = request.sid;
    if (r.replied) {
        e->frames = 1;
        look(e, &reply);
    }
    r.wrong = e->wrong;
    r.failed = e->failed;
    r.frames = e->frames;
    memcpy(r.fault, e->fault, sizeof r.fault);
    nrhost_frame_free(&reply);
    return r;
}

echo_result echo_once(plugin_slot *slot, const echo_call *what) {
    exchange e = {.slot = slot, .what = what};
    nrhost_request request = what->request;
    nrhost_outcome outcome;
    if (what->fast) {
        return echo_fast(&e);
    }
    if (what->pieces > 0) {
        request.payload = (NrBytes){0};
    }
    NrStatus status = nrhost_submit(slot->host, &request, &e.call);
    if (e.call == NULL) {
        return (echo_result){.refused = status};
    }
    if (what->pieces > 0) {
        send_body(&e);
    }
    bool dropped = false;
    do {
        outcome = take(&e);
        dropped = outcome == NRHOST_FRAME && what->take > 0 && e.frames == what->take;
    } while (outcome == NRHOST_FRAME && !dropped);
    echo_result r = {.accepted = true,
                     .replied = outcome == NRHOST_ENDED,
                     .wrong = e.wrong,
                     .failed = e.failed,
                     .dropped = dropped,
                     .sid = nrhost_call_sid(e.call),
                     .frames = e.frames};
    memcpy(r.fault, e.fault, sizeof r.fault);
    nrhost_call_release(e.call);
    return r;
}
