/*
 * Frames that wait: in an exchange's outbox for its host, or in its inbox for its handler.
 */
#ifndef NRPY_FRAMES_H
#define NRPY_FRAMES_H

#include "abi/nylon_ring_v1.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct nrpy_frame {
    struct nrpy_frame *next;
    NrStatus status; /* of an outgoing frame */
    bool is_close;   /* an incoming one that ends the input */
    uint64_t length;
    unsigned char bytes[];
} nrpy_frame;

typedef struct nrpy_frames {
    nrpy_frame *first;
    nrpy_frame *last;
    size_t count;
} nrpy_frames;

/* A copy of the bytes, or NULL without memory. Freed by free(). */
nrpy_frame *nrpy_frame_new(NrStatus status, const void *bytes, uint64_t length);

void nrpy_frames_push(nrpy_frames *frames, nrpy_frame *frame);

/* The first of them, or NULL. */
nrpy_frame *nrpy_frames_pop(nrpy_frames *frames);

/* Puts `frames`, which are not none, before those that are in `outbox`, and leaves `frames` empty. */
void nrpy_frames_put_back(nrpy_frames *outbox, nrpy_frames *frames);

#endif /* NRPY_FRAMES_H */
