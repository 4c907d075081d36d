/*
 * What a fuzz target offers, and what it may use. libFuzzer calls the two functions below; replay.c calls them for files.
 */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that is broken: says which, and ends the process so that the input is kept. */
#define DEMAND(holds, ...)                                                                                             \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #holds);                                        \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* With NRPY_FUZZ_TRACE set, what an input does is said on stderr. */
#define TRACE(...)                                                                                                     \
    do {                                                                                                               \
        if (getenv("NRPY_FUZZ_TRACE") != NULL) {                                                                       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
        }                                                                                                              \
    } while (0)

/* An input is read from its front. Where it has ended, all that follows is zero. */
typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static inline uint8_t input_byte(input *in) {
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static inline uint64_t input_u64(input *in) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value |= (uint64_t)input_byte(in) << (8 * i);
    }
    return value;
}

/* The next bytes, fewer where the input ends before. */
static inline const uint8_t *input_bytes(input *in, size_t *length) {
    const uint8_t *bytes = in->at;
    *length = *length < in->left ? *length : in->left;
    in->at += *length;
    in->left -= *length;
    return bytes;
}

/* ---- guard.c: memory that ends where nothing may be read ---- */

/* Regions for one thread. */
typedef struct guard guard;

/* Ends the process where there is no memory. */
guard *guard_new(unsigned regions, size_t room);
void guard_free(guard *g);

/* A copy of the bytes, with a page without access right behind its last one. NULL: no region is left, or no room. */
void *guard_copy(guard *g, const void *bytes, size_t length);

/* The same with such a page right before its first byte. */
void *guard_copy_behind(guard *g, const void *bytes, size_t length);

/* What guard_copy gave may not be looked at any more: its pages lose their access until they are given again. */
void guard_end(guard *g);

#endif /* FUZZ_TARGET_H */
