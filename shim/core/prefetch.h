/*
 * Cache lines that are asked for before they are needed: what another core has written last takes some 100 ns to come.
 */
#ifndef NRPY_PREFETCH_H
#define NRPY_PREFETCH_H

#include <stddef.h>

#define NRPY_CACHE_LINE 64

/* A call's head and a usual request. */
enum { NRPY_CALL_LINES = 6 };

/* `memory` may be NULL: no page is looked for then. */
static inline void nrpy_prefetch(const void *memory, int lines) {
    for (int line = 0; memory != NULL && line < lines; line++) {
        __builtin_prefetch((const char *)memory + line * NRPY_CACHE_LINE);
    }
}

/* For lines that are about to be written: they come as this core's own. Compilers have the instruction only for
 * processors that are named to them; those of x86 that do not know it pass it over. */
static inline void nrpy_prefetch_to_write(const void *memory, int lines) {
    for (int line = 0; memory != NULL && line < lines; line++) {
        const char *at = (const char *)memory + line * NRPY_CACHE_LINE;
#if defined(__x86_64__)
        __asm__ volatile("prefetchw %0" : : "m"(*at));
#else
        __builtin_prefetch(at, 1);
#endif
    }
}

#endif /* NRPY_PREFETCH_H */
