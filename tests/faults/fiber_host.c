/*
 * A host whose calls are made by fibers: several on one thread, which change places inside send_result.
 *
 *   fiber_host PLUGIN STACK_KIB ROUNDS ENTRY…
 *
 * Starts the plugin on a fiber; then FIBERS of them, and the thread itself, call the entries in turn, ROUNDS times each.
 * Every reply that comes on the thread gives the next fiber its turn before send_result returns: so sends end in another
 * order than they began. One fiber calls shutdown. Prints how many calls were answered once, of how many.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "nylon_ring_v1.h"

enum { FIBERS = 6, CALLS = 100000 };

typedef struct fiber {
    ucontext_t context;
    void (*run)(struct fiber *self);
    bool done;
} fiber;

static const NrPluginInfo *info;
static const NrPluginVTable *plugin;
static char **entries;
static int entry_count;
static int rounds;
static size_t stack_size;

static fiber fibers[FIBERS + 1]; /* the last is the thread itself */
static int current = FIBERS;
static pthread_t thread;
static _Atomic unsigned char replies[CALLS];
static int accepted[CALLS]; /* sids that handle took */
static int accepted_count;
static uint64_t last_sid;
static unsigned started;

/* ---- turns ---- */

static void turn_to(int next) {
    int from = current;
    current = next;
    swapcontext(&fibers[from].context, &fibers[next].context);
}

/* Whoever is not done comes next; the thread itself is one of them. */
static void yield(void) {
    for (int step = 1; step <= FIBERS + 1; step++) {
        int next = (current + step) % (FIBERS + 1);
        if (next == current) {
            return;
        }
        if (!fibers[next].done) {
            turn_to(next);
            return;
        }
    }
}

static void fiber_main(void) {
    fiber *self = &fibers[current];
    self->run(self);
    self->done = true;
    yield();
    abort(); /* nobody comes back here */
}

/* Ends in an inaccessible page. */
static void start_fiber(int number, void (*run)(fiber *self)) {
    fiber *self = &fibers[number];
    char *memory = mmap(NULL, stack_size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE) != 0 || getcontext(&self->context) != 0) {
        abort();
    }
    self->context.uc_stack.ss_sp = memory + 4096;
    self->context.uc_stack.ss_size = stack_size;
    self->context.uc_link = NULL;
    self->run = run;
    self->done = false;
    makecontext(&self->context, fiber_main, 0);
}

/* ---- the host ---- */

static void send_result(void *host_ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    (void)host_ctx;
    (void)payload;
    if (status != NR_OK || sid >= CALLS) {
        fprintf(stderr, "fiber_host: sid %llu: status %u, %.*s\n", (unsigned long long)sid, status, (int)payload.len,
                (const char *)payload.ptr);
    }
    atomic_fetch_add(&replies[sid], 1);
    if (pthread_equal(pthread_self(), thread)) {
        yield();
    }
}

static const NrHostVTable functions = {.send_result = send_result};
static int host;

static void call_all(fiber *self) {
    (void)self;
    for (int i = 0; i < rounds * entry_count; i++) {
        const char *name = entries[i % entry_count];
        uint64_t sid = ++last_sid;
        NrStr entry = {.ptr = (const uint8_t *)name, .len = (uint32_t)strlen(name)};
        NrBytes body = {.ptr = (const uint8_t *)"body", .len = 4};
        NrStatus status = plugin->handle(info->plugin_ctx, entry, sid, NULL, body);
        if (status == NR_OK) {
            accepted[accepted_count++] = (int)sid;
        } else {
            fprintf(stderr, "fiber_host: %s was refused: %u\n", name, status);
        }
        yield();
    }
}

static void start(fiber *self) {
    (void)self;
    started = plugin->init(info->plugin_ctx, &host, &functions);
}

static void stop(fiber *self) {
    (void)self;
    plugin->shutdown(info->plugin_ctx);
}

/* The thread is the last to be done: it turns to the others until all are. */
static void run_fibers(int count, void (*run)(fiber *self), bool join_in) {
    for (int i = 0; i < FIBERS; i++) {
        fibers[i].done = true;
    }
    for (int i = 0; i < count; i++) {
        start_fiber(i, run);
    }
    if (join_in) {
        run(&fibers[FIBERS]);
    }
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < count; i++) {
            more |= !fibers[i].done;
        }
        if (more) {
            yield();
        }
    }
}

static int count_answered(void) {
    int once = 0;
    for (int i = 0; i < accepted_count; i++) {
        while (atomic_load(&replies[accepted[i]]) == 0) {
            sched_yield(); /* from a thread of the plugin's: soon. Where it never comes, the test kills this host */
        }
        once += atomic_load(&replies[accepted[i]]) == 1;
    }
    return once;
}

int main(int argc, char **argv) {
    void *file = argc > 4 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    NrGetPluginFn get_plugin = NULL;
    void *symbol = file != NULL ? dlsym(file, NR_GET_PLUGIN_V1_SYMBOL) : NULL;
    memcpy(&get_plugin, &symbol, sizeof get_plugin);
    if (get_plugin == NULL) {
        return 2;
    }
    info = get_plugin();
    plugin = info->vtable;
    stack_size = strtoul(argv[2], NULL, 10) << 10;
    rounds = atoi(argv[3]);
    entries = argv + 4;
    entry_count = argc - 4;
    thread = pthread_self();
    run_fibers(1, start, false);
    if (started != NR_OK) {
        return 3;
    }
    run_fibers(FIBERS, call_all, true);
    int once = count_answered();
    run_fibers(1, stop, false);
    printf("%d of %d of %d\n", once, accepted_count, (int)last_sid);
    return dlclose(file);
}
