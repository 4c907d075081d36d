/*
 * A host that ends, or splits, while its plugin is at work.
 *
 *   ending_host PLUGIN ENTRY COUNT HOW CODE
 *
 * Makes COUNT calls of ENTRY and waits until the plugin's entry `begun` says that so many handlers run. Then, by HOW:
 * return, exit_thread: main returns CODE, or another thread calls exit(CODE), without any shutdown;
 * fork: a child asks for an answer and leaves by exit(CODE), then this process goes on and ends in order;
 * sigpipe: starts the plugin with SIGPIPE at its default, and calls ENTRY once;
 * sigterm: sends itself SIGTERM while main blocks it, then lets it through, and ends in order. The handler, set before
 * the plugin started, must run on main, and not before.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nrhost.h"

static int code;

static nrhost_outcome ask(nrhost *host, const char *entry, nrhost_frame *reply) {
    nrhost_request request = {.entry = nrhost_str(entry), .raw = true};
    *reply = (nrhost_frame){0};
    return nrhost_call_unary(host, &request, 20.0, reply);
}

/* What an entry answers as a number; -1 for no answer. */
static long number(nrhost *host, const char *entry) {
    nrhost_frame reply;
    char text[32] = "-1";
    if (ask(host, entry, &reply) == NRHOST_FRAME && reply.status == NR_OK && reply.len < sizeof text) {
        memcpy(text, reply.data, reply.len);
        text[reply.len] = '\0';
    }
    nrhost_frame_free(&reply);
    return strtol(text, NULL, 10);
}

static void *exit_here(void *unused) {
    (void)unused;
    exit(code);
}

static int run_child(nrhost *host) {
    nrhost_frame reply;
    if (ask(host, "begun", &reply) != NRHOST_REFUSED || reply.status != NR_ERR) {
        fprintf(stderr, "ending_host: the child was answered\n");
        return 90;
    }
    nrhost_unload(host);
    return code;
}

static int split(nrhost *host) {
    pid_t child = nrhost_fork(host);
    if (child == 0) {
        exit(run_child(host));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        fprintf(stderr, "ending_host: the child did not end by exit: status %d\n", status);
        return 91;
    }
    if (number(host, "begun") < 0) {
        fprintf(stderr, "ending_host: the parent cannot go on\n");
        return 92;
    }
    nrhost_unload(host);
    return WEXITSTATUS(status);
}

static volatile sig_atomic_t handled_by;

static void note_handler(int number) {
    (void)number;
    handled_by = (sig_atomic_t)gettid();
}

static int take_sigterm(nrhost *host) {
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    kill(getpid(), SIGTERM);
    bool waits = number(host, "begun") >= 0 && handled_by == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL); /* delivered before this returns */
    if (!waits || handled_by != getpid()) {
        fprintf(stderr, "ending_host: SIGTERM was taken by thread %ld, which is not main, or did not wait\n",
                (long)handled_by);
        return 93;
    }
    nrhost_unload(host);
    return code;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        return 2;
    }
    const char *how = argv[4];
    code = atoi(argv[5]);
    char why[256];
    nrhost *host = nrhost_open(argv[1], NULL, why, sizeof why);
    if (host == NULL) {
        fprintf(stderr, "ending_host: %s\n", why);
        return 3;
    }
    if (strcmp(how, "sigpipe") == 0) {
        signal(SIGPIPE, SIG_DFL); /* nrhost_open ignores it */
    }
    if (strcmp(how, "sigterm") == 0) {
        signal(SIGTERM, note_handler);
    }
    if (nrhost_init(host) != NR_OK) {
        return 3;
    }
    long count = atol(argv[3]);
    for (long i = 0; i < count; i++) {
        nrhost_call *call;
        nrhost_request request = {.entry = nrhost_str(argv[2])};
        if (nrhost_submit(host, &request, &call) != NR_OK) {
            return 4;
        }
    }
    for (long begun = 0; begun < count; begun = number(host, "begun")) {
        if (begun < 0) {
            return 5;
        }
    }
    if (strcmp(how, "fork") == 0) {
        return split(host);
    }
    if (strcmp(how, "sigterm") == 0) {
        return take_sigterm(host);
    }
    if (strcmp(how, "sigpipe") == 0) {
        long answer = number(host, argv[2]);
        nrhost_unload(host);
        return (int)answer;
    }
    if (strcmp(how, "exit_thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, exit_here, NULL);
        pthread_join(thread, NULL);
    }
    return code;
}
