/* Frames in the driver's answers, and those it keeps: a frame whose bytes are the plugin's may outlive the plugin. */
#include <stdlib.h>

#include "drive.h"

#define SHOWN_BYTES (64u << 10) /* longer payloads are answered by length and CRC-32 unless full=1 */

typedef struct kept_frame {
    nrhost_frame frame;
    struct kept_frame *next;
} kept_frame;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static kept_frame *kept; /* newest first */

void json_frame(json *out, const char *key, const nrhost_frame *frame, bool whole) {
    json_open(out, key, '{');
    json_u64(out, "status", frame->status);
    json_u64(out, "len", frame->len);
    json_u64(out, "crc32", crc32_of(frame->data, frame->len));
    if (whole || frame->len <= SHOWN_BYTES) {
        json_hex(out, "hex", frame->data, frame->len);
    }
    json_close(out, '}');
}

void frame_done(const command *c, nrhost_frame *frame) {
    kept_frame *k = command_flag(c, "keep") ? malloc(sizeof *k) : NULL;
    if (k == NULL) {
        nrhost_frame_free(frame);
        return;
    }
    pthread_mutex_lock(&lock);
    *k = (kept_frame){.frame = *frame, .next = kept};
    kept = k;
    pthread_mutex_unlock(&lock);
}

bool frames_take(const command *c, nrhost_call *call, json *out) {
    uint64_t wanted = command_u64(c, "frames", UINT64_MAX);
    double timeout_s = command_seconds(c, "timeout", DRIVE_TIMEOUT_S);
    nrhost_outcome outcome = NRHOST_FRAME;
    json_open(out, "frames", '[');
    for (uint64_t n = 0; n < wanted; n++) {
        nrhost_frame frame;
        outcome = nrhost_call_next(call, timeout_s, &frame);
        if (outcome != NRHOST_FRAME) {
            break;
        }
        json_frame(out, NULL, &frame, command_flag(c, "full"));
        frame_done(c, &frame);
    }
    json_close(out, ']');
    json_bool(out, "ended", outcome == NRHOST_ENDED);
    json_bool(out, "timeout", outcome == NRHOST_TIMEOUT);
    return outcome == NRHOST_ENDED;
}

/* free_frames: shows the frames kept with keep=1 once more, oldest last, and frees them. */
void verb_free_frames(const command *c, json *out) {
    pthread_mutex_lock(&lock);
    kept_frame *k = kept;
    kept = NULL;
    pthread_mutex_unlock(&lock);
    json_open(out, "frames", '[');
    while (k != NULL) {
        kept_frame *next = k->next;
        json_frame(out, NULL, &k->frame, command_flag(c, "full"));
        nrhost_frame_free(&k->frame);
        free(k);
        k = next;
    }
    json_close(out, ']');
}
