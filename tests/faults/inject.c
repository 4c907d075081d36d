/*
 * Faults of the machine, for a host process: loaded with LD_PRELOAD, steered through a file that the test maps too.
 *
 * Every call of a watched kind that is made by the plugin's own parts is counted; after `skip` of them, `count` fail.
 * The plugin's own parts are the core, and plugin files named fault_*.so: what libc, Python or the host do for
 * themselves goes through. Whose call it is tells the return address.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum kind { MEMORY = 1, THREAD = 2, DESCRIPTOR = 4, PYTHON_MEMORY = 8, PYTHON_THREAD = 16 };

/* tests/faults/injector.py maps the same words. */
typedef struct control {
    _Atomic uint64_t kinds; /* what is watched; 0: nothing */
    _Atomic uint64_t skip;
    _Atomic uint64_t count;
    _Atomic uint64_t seen;         /* watched calls since it was armed */
    _Atomic uint64_t failed;       /* how many of them failed */
    _Atomic uint64_t caller;       /* where the first that failed was called, as an offset in its file */
    _Atomic int64_t clock_jump_ns; /* added to what CLOCK_REALTIME shows */
    char file[232];                /* the name of that file */
} control;

static control nobody;
static control *shared = &nobody;

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("FAULTS_CONTROL");
    int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0) {
        return;
    }
    void *mapped = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) {
        shared = mapped;
    }
}

/* ---- whose call it is ---- */

/* Takes no lock and no memory. */
static const char *file_of(const void *address, struct dl_find_object *found) {
    if (_dl_find_object((void *)(uintptr_t)address, found) != 0) {
        return "";
    }
    const char *name = found->dlfo_link_map->l_name;
    const char *slash = strrchr(name, '/');
    return slash != NULL ? slash + 1 : name;
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static bool count_down(const char *file, uint64_t offset) {
    uint64_t number = atomic_fetch_add(&shared->seen, 1);
    uint64_t skip = atomic_load(&shared->skip);
    if (number < skip || number - skip >= atomic_load(&shared->count)) {
        return false;
    }
    if (atomic_fetch_add(&shared->failed, 1) == 0) {
        atomic_store(&shared->caller, offset);
        snprintf(shared->file, sizeof shared->file, "%s", file);
    }
    return true;
}

static bool fails(enum kind kind, const void *caller) {
    if ((atomic_load_explicit(&shared->kinds, memory_order_relaxed) & kind) == 0) {
        return false;
    }
    struct dl_find_object found;
    const char *file = file_of(caller, &found);
    bool watched = kind == PYTHON_THREAD ? begins(file, "libpython") : begins(file, "_core.") || begins(file, "fault_");
    return watched && count_down(file, (uint64_t)((uintptr_t)caller - (uintptr_t)found.dlfo_map_start));
}

#define FAILS(kind) fails(kind, __builtin_return_address(0))

/* ---- memory ---- */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size) {
    return FAILS(MEMORY) ? no_memory() : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return FAILS(MEMORY) ? no_memory() : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    return FAILS(MEMORY) ? no_memory() : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return FAILS(MEMORY) ? no_memory() : __libc_memalign(alignment, size);
}

char *strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = FAILS(MEMORY) ? no_memory() : __libc_malloc(size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (FAILS(MEMORY)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

/* ---- threads ---- */

typedef int create_function(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    if (FAILS(THREAD) || FAILS(PYTHON_THREAD)) {
        return EAGAIN;
    }
    static _Atomic(create_function *) real;
    create_function *function = atomic_load(&real);
    if (function == NULL) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&function, &symbol, sizeof function);
        atomic_store(&real, function);
    }
    return function(id, attributes, run, argument);
}

/* ---- descriptors ---- */

static int no_descriptor(void) {
    errno = EMFILE;
    return -1;
}

int eventfd(unsigned value, int flags) {
    return FAILS(DESCRIPTOR) ? no_descriptor() : (int)syscall(SYS_eventfd2, value, flags);
}

int pipe2(int fds[2], int flags) {
    return FAILS(DESCRIPTOR) ? no_descriptor() : (int)syscall(SYS_pipe2, fds, flags);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return FAILS(DESCRIPTOR) ? no_descriptor() : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* ---- the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    int64_t jump_ns = clock == CLOCK_REALTIME ? atomic_load(&shared->clock_jump_ns) : 0;
    if (failed == 0 && jump_ns != 0) {
        int64_t shown = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + jump_ns;
        *now = (struct timespec){.tv_sec = shown / 1000000000, .tv_nsec = shown % 1000000000};
    }
    return failed;
}

/* ---- Python's memory ---- */

/* As Python.h has them since 3.5; this file is built without it. */
typedef struct python_allocator {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t count, size_t size);
    void *(*realloc)(void *ctx, void *old, size_t size);
    void (*free)(void *ctx, void *memory);
} python_allocator;

typedef void allocator_function(int domain, python_allocator *allocator);

enum { DOMAINS = 3 };

static python_allocator below[DOMAINS];

static bool python_fails(void) {
    return (atomic_load_explicit(&shared->kinds, memory_order_relaxed) & PYTHON_MEMORY) != 0 &&
           count_down("Python's allocator", 0);
}

static void *python_malloc(void *ctx, size_t size) {
    const python_allocator *real = ctx;
    return python_fails() ? NULL : real->malloc(real->ctx, size);
}

static void *python_calloc(void *ctx, size_t count, size_t size) {
    const python_allocator *real = ctx;
    return python_fails() ? NULL : real->calloc(real->ctx, count, size);
}

static void *python_realloc(void *ctx, void *old, size_t size) {
    const python_allocator *real = ctx;
    return python_fails() ? NULL : real->realloc(real->ctx, old, size);
}

static void python_free(void *ctx, void *memory) {
    const python_allocator *real = ctx;
    real->free(real->ctx, memory);
}

/* Called with the GIL, by way of ctypes.PyDLL. Returns 0, or -1 where there is no Python, or it was done before. */
__attribute__((visibility("default"))) int faults_watch_python(void) {
    void *get = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    void *set = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    if (get == NULL || set == NULL || below[0].malloc != NULL) {
        return -1;
    }
    allocator_function *get_allocator;
    allocator_function *set_allocator;
    memcpy(&get_allocator, &get, sizeof get_allocator);
    memcpy(&set_allocator, &set, sizeof set_allocator);
    for (int domain = 0; domain < DOMAINS; domain++) {
        get_allocator(domain, &below[domain]);
        python_allocator watched = {&below[domain], python_malloc, python_calloc, python_realloc, python_free};
        set_allocator(domain, &watched);
    }
    return 0;
}
