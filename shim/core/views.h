/*
 * Checks of what a host passes in: lengths against pointers, and UTF-8 where text is due. Wild pointers are beyond any
 * check.
 */
#ifndef NRPY_VIEWS_H
#define NRPY_VIEWS_H

#include "abi/nylon_ring_v1.h"

#include <stdbool.h>
#include <string.h>

/* Whether `length` bytes can lie at `ptr`: not null, not past the end of the address space, within Python's sizes. */
static inline bool nrpy_can_hold(const void *ptr, uint64_t length) {
    return length == 0 || (ptr != NULL && length <= PTRDIFF_MAX && (uintptr_t)ptr <= UINTPTR_MAX - length);
}

/* The same of fewer than 2**32 bytes: a null pointer less one is past every end. */
static inline bool nrpy_can_hold_text(NrStr text) {
    return (uintptr_t)text.ptr - 1 < UINTPTR_MAX - text.len || text.len == 0;
}

/* The whole check; most text is ASCII and does not need it. */
bool nrpy_is_utf8(const uint8_t *text, size_t length);

static inline uint64_t nrpy_load8(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t nrpy_load4(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Reads the last word over again instead of a byte at a time: names and paths are short. */
static inline bool nrpy_is_ascii(const uint8_t *text, size_t length) {
    uint64_t bits = 0;
    if (length >= 8) {
        bits = nrpy_load8(text) | nrpy_load8(text + length - 8);
        for (size_t at = 8; at + 8 < length; at += 8) {
            bits |= nrpy_load8(text + at);
        }
    } else if (length >= 4) {
        bits = nrpy_load4(text) | nrpy_load4(text + length - 4);
    } else if (length > 0) {
        bits = text[0] | text[length / 2] | text[length - 1];
    }
    return (bits & 0x8080808080808080u) == 0;
}

/* Text a host passed: a possible view, and UTF-8. */
static inline bool nrpy_is_text(NrStr text) {
    return nrpy_can_hold_text(text) &&
           (__builtin_expect(nrpy_is_ascii(text.ptr, text.len), 1) || nrpy_is_utf8(text.ptr, text.len));
}

/* Everything in `req` that must hold before a byte of it is used. `req` is not NULL. */
bool nrpy_is_valid_request(const NrRequest *req);

#endif /* NRPY_VIEWS_H */
