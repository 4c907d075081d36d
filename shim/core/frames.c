#include "frames.h"

#include <stdlib.h>
#include <string.h>

nrpy_frame *nrpy_frame_new(NrStatus status, const void *bytes, uint64_t length) {
    nrpy_frame *frame = malloc(sizeof *frame + length);
    if (frame != NULL) {
        frame->next = NULL;
        frame->status = status;
        frame->is_close = false;
        frame->length = length;
        if (length > 0) {
            memcpy(frame->bytes, bytes, length);
        }
    }
    return frame;
}

void nrpy_frames_push(nrpy_frames *frames, nrpy_frame *frame) {
    if (frames->first == NULL) {
        frames->first = frame;
    } else {
        frames->last->next = frame;
    }
    frames->last = frame;
    frames->count++;
}

nrpy_frame *nrpy_frames_pop(nrpy_frames *frames) {
    nrpy_frame *frame = frames->first;
    if (frame != NULL) {
        frames->first = frame->next;
        frames->count--;
    }
    return frame;
}

void nrpy_frames_put_back(nrpy_frames *outbox, nrpy_frames *frames) {
    frames->last->next = outbox->first;
    outbox->first = frames->first;
    if (outbox->count == 0) {
        outbox->last = frames->last;
    }
    outbox->count += frames->count;
    memset(frames, 0, sizeof *frames);
}
