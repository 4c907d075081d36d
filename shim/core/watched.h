/*
 * Whether a tool watches memory: AddressSanitizer, ThreadSanitizer, or valgrind, for which the build is told so. Such a
 * tool sees what malloc and free do; whoever keeps blocks for the next use hides them from it.
 */
#ifndef NRPY_WATCHED_H
#define NRPY_WATCHED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NRPY_MEMCHECK)
#define NRPY_IS_WATCHED 1
#else
#define NRPY_IS_WATCHED 0
#endif

#endif
