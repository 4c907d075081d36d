/*
 * A host under a storm of signals: timers at the process, and one at each of its threads in turn, all the time. Handlers
 * are the host's, without SA_RESTART, so that every wait of the host's threads is interrupted.
 *
 *   signal_host PLUGIN CALLS ENTRY…
 *
 * Loads the plugin, makes CALLS calls on each of four threads, two of them with 64 KiB of stack, and unloads, all within
 * the storm. Prints: answered calls, calls, whether signals came, handlers that ran on threads of the plugin's.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "nrhost.h"

enum { CALLERS = 4, SMALL = 64 << 10, PAUSE_US = 200 };

static const int kinds[] = {SIGUSR1, SIGTERM, SIGALRM, SIGPROF, SIGINT, SIGCHLD, SIGURG};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static _Thread_local bool is_host;
static _Atomic unsigned long came;
static _Atomic unsigned long strangers;
static _Atomic bool over;
static _Atomic int answered;

static nrhost *host;
static char **entries;
static int entry_count;
static int calls;

/* A thread begins with all signals blocked: none may come before it is known for a host's. */
static void become_host(void) {
    sigset_t none;
    is_host = true;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

static void on_signal(int number) {
    (void)number;
    int before = errno;
    atomic_fetch_add(&came, 1);
    if (!is_host) {
        atomic_fetch_add(&strangers, 1);
    }
    errno = before;
}

static void signal_each_thread(unsigned round) {
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *each; folder != NULL && (each = readdir(folder)) != NULL;) {
        int task = atoi(each->d_name);
        if (task > 0) {
            syscall(SYS_tgkill, getpid(), task, kinds[round++ % KINDS]);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

static void *storm(void *unused) {
    (void)unused;
    become_host();
    for (unsigned round = 0; !atomic_load(&over); round++) {
        signal_each_thread(round);
        usleep(PAUSE_US);
    }
    return NULL;
}

static void *call_all(void *unused) {
    (void)unused;
    become_host();
    for (int i = 0; i < calls; i++) {
        nrhost_request request = {.entry = nrhost_str(entries[i % entry_count]), .payload = nrhost_bytes("body", 4)};
        nrhost_frame reply = {.status = NR_ERR};
        if (nrhost_call_unary(host, &request, 60.0, &reply) == NRHOST_FRAME && reply.status == NR_OK) {
            atomic_fetch_add(&answered, 1);
        }
        nrhost_frame_free(&reply);
    }
    return NULL;
}

static pthread_t start(size_t stack, void *(*run)(void *)) {
    pthread_t id;
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    if (stack > 0) {
        pthread_attr_setstacksize(&attributes, stack);
    }
    if (pthread_create(&id, &attributes, run, NULL) != 0) {
        abort();
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return id;
}

int main(int argc, char **argv) {
    char why[256];
    if (argc < 4) {
        return 2;
    }
    is_host = true;
    calls = atoi(argv[2]);
    entries = argv + 3;
    entry_count = argc - 3;
    struct sigaction action = {.sa_handler = on_signal};
    for (int i = 0; i < KINDS; i++) {
        sigaction(kinds[i], &action, NULL);
    }
    struct itimerval often = {{0, 300}, {0, 300}};
    setitimer(ITIMER_REAL, &often, NULL);
    setitimer(ITIMER_PROF, &often, NULL);
    pthread_t stormer = start(0, storm);
    nrhost_options options = {.abi = NRHOST_V1, .ledger = true};
    host = nrhost_load(argv[1], &options, why, sizeof why);
    if (host == NULL) {
        fprintf(stderr, "signal_host: %s\n", why);
        return 3;
    }
    pthread_t callers[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = start(i % 2 == 0 ? 0 : SMALL, call_all);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
    }
    nrhost_report report;
    bool clean = nrhost_ledger_report(host, &report) && nrhost_report_clean(&report);
    nrhost_unload(host);
    atomic_store(&over, true);
    pthread_join(stormer, NULL);
    printf("%d of %d, %s, %s, %lu on threads of the plugin's\n", answered, CALLERS * calls, clean ? "clean" : "unclean",
           came > 100 ? "signals came" : "no signals", strangers);
    return 0;
}
