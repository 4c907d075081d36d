/*
 * What a thread does between two looks at a word that another thread is about to write.
 */
#ifndef NRPY_PAUSE_H
#define NRPY_PAUSE_H

static inline void nrpy_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif /* NRPY_PAUSE_H */
