/*
 * A plugin in this process, and programs for it: see vtable.h. NRPY_FUZZ_PLUGINS names the folder with the plugins built
 * from plugin.py: v1.so and v1-raw.so.
 */
#include "vtable.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define KEEPS_DEAD false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPS_DEAD false
#endif
#endif
#ifndef KEEPS_DEAD
#define KEEPS_DEAD true /* a late send is counted; with AddressSanitizer it is a use of freed memory */
#endif

enum { REGIONS = 24, NOT_STARTED = 0x40 };

static char files[2][4096];

/* Of ABI v2, the same file as v1's: it exports both. */
static const char *file_of(nrhost_abi abi) {
    return files[abi == NRHOST_V1_RAW];
}

void open_instance(session *s, nrhost_abi abi) {
    char why[512];
    nrhost_options options = {.abi = abi, .ledger = true, .keep_dead_ctx = KEEPS_DEAD};
    instance *fresh = &s->instances[s->count++];
    fresh->abi = abi;
    fresh->host = nrhost_open(file_of(abi), &options, why, sizeof why);
    DEMAND(fresh->host != NULL, "%s", why);
    atomic_store(&fresh->phase, GOT);
}

void start_instance(instance *of) {
    NrStatus status = nrhost_init(of->host);
    DEMAND(status == NR_OK, "init answered %u", status);
    atomic_store(&of->phase, OPEN);
}

void shut_instance(instance *of) {
    int was = OPEN;
    if (atomic_compare_exchange_strong(&of->phase, &was, ENDING)) {
        TRACE("shutdown\n");
        nrhost_shutdown(of->host);
        atomic_store(&of->phase, ENDED);
    } else if (was == ENDED) {
        const nrhost_functions *f = nrhost_functions_of(of->host);
        if (f->v2 != NULL) {
            f->v2->shutdown();
        } else {
            f->shutdown(f->plugin_ctx);
        }
    }
}

/* The image stays: what a compiler counts in it must outlive an input. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    const char *folder = getenv("NRPY_FUZZ_PLUGINS");
    DEMAND(folder != NULL, "NRPY_FUZZ_PLUGINS must name the folder with v1.so and v1-raw.so");
    for (int i = 0; i < 2; i++) {
        snprintf(files[i], sizeof files[i], "%s/%s.so", folder, i == 0 ? "v1" : "v1-raw");
        DEMAND(dlopen(files[i], RTLD_NOW | RTLD_LOCAL) != NULL, "%s", dlerror());
    }
    /* One life before the first input: the interpreter starts, and the core is loaded. */
    const uint8_t first[] = {NRHOST_V1, 0};
    return LLVMFuzzerTestOneInput(first, sizeof first);
}

static void *actor_main(void *given) {
    run_actor(given);
    return NULL;
}

static void run_actors(actor *actors, unsigned count) {
    pthread_t threads[THREADS];
    for (unsigned i = 1; i < count; i++) {
        DEMAND(pthread_create(&threads[i], NULL, actor_main, &actors[i]) == 0, "no thread");
    }
    run_actor(&actors[0]);
    for (unsigned i = 1; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void end_session(session *s, actor *actors, unsigned count) {
    for (unsigned i = 0; i < s->count; i++) {
        if (atomic_load(&s->instances[i].phase) != ENDED) {
            shut_instance(&s->instances[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        while (actors[i].held_count > 0) {
            held *last = &actors[i].held[--actors[i].held_count];
            (void)drain(last, false);
            let_go(last);
        }
        guard_free(actors[i].memory);
    }
    for (unsigned i = 0; i < s->count; i++) {
        check_ledger(&s->instances[i]);
        nrhost_unload(s->instances[i].host);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {.at = data, .left = size};
    session s = {.count = 0};
    actor actors[THREADS] = {0};
    open_instance(&s, (nrhost_abi)(input_byte(&in) % 3));
    uint8_t how = input_byte(&in);
    unsigned count = how < 0x80 ? 1 : 2 + how % (THREADS - 1);
    s.alone = count == 1;
    if (!s.alone || (how & NOT_STARTED) == 0) {
        start_instance(&s.instances[0]);
    }
    for (unsigned i = 0; i < count; i++) {
        size_t part = in.left / (count - i);
        actors[i] = (actor){.session = &s, .thread = i, .memory = guard_new(REGIONS, VIEW_MAX)};
        actors[i].in.at = input_bytes(&in, &part);
        actors[i].in.left = part;
    }
    run_actors(actors, count);
    end_session(&s, actors, count);
    return 0;
}
