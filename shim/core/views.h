/*
 * Checks of what a host passes in: lengths against pointers, and UTF-8 where text is due. Wild pointers are beyond any
 * check.
 */
#ifndef NRPY_VIEWS_H
#define NRPY_VIEWS_H

#include "abi/nylon_ring_v1.h"

#include <stdbool.h>

/* Whether `length` bytes can lie at `ptr`: not null, not past the end of the address space, within Python's sizes. */
static inline bool nrpy_can_hold(const void *ptr, uint64_t length) {
    return length == 0 || (ptr != NULL && length <= PTRDIFF_MAX && (uintptr_t)ptr <= UINTPTR_MAX - length);
}

bool nrpy_is_utf8(const uint8_t *text, size_t length);

/* Text a host passed: a possible view, and UTF-8. */
static inline bool nrpy_is_text(NrStr text) {
    return nrpy_can_hold(text.ptr, text.len) && (text.len == 0 || nrpy_is_utf8(text.ptr, text.len));
}

/* Everything in `req` that must hold before a byte of it is used. `req` is not NULL. */
bool nrpy_is_valid_request(const NrRequest *req);

#endif /* NRPY_VIEWS_H */
