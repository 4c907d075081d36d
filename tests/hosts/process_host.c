/*
 * A v1 host that does to its process what hosts do: forks, executes, ends, lets the plugin's file go.
 *
 *   process_host PLUGIN STEP...
 *
 * Steps, done in order on the main thread:
 *   load             dlopen and init
 *   call:ENTRY       handle; thread:ENTRY the same on a thread of its own
 *   begun:N          asks the synchronous entry `begun` until it answers N or more
 *   replies:N        waits for so many replies in all
 *   fork:HOW         forks; the child does HOW, and this process waits for it
 *   in_send:HOW      the next send_result forks, and waits; sent: waits until it has
 *   shutdown, dlclose
 *   threads:N        waits until this process has no more threads than that
 *   leave_main       main ends by pthread_exit; the other steps are done on another thread
 *   end:HOW:CODE     return, exit, _exit, quick_exit, abort, pthread_exit
 * What a child does: exit, _exit, dlclose (and exits), exec (which lists its descriptors), call (asks the plugin, shuts it down, exits), fork
 * (forks again, and that child calls), return (goes on).
 *
 * Each thing that happens is a line on stdout, those in other processes than the first with "child" in front.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nylon_ring_v1.h"

enum { CHILD_LIMIT_MS = 20000 };

static pid_t first_process;
static void *file;
static const NrPluginInfo *plugin;
static const NrPluginVTable *functions;
static const char *path;
static _Atomic unsigned replies;
static _Atomic long last_number; /* of the last reply, where it is one */
static _Atomic unsigned sids;
static const char *_Atomic next_in_send;
static _Atomic bool split_in_send;

/* In one write, so that lines of several processes do not mix. */
static void say(const char *format, ...) {
    char line[512];
    int length = snprintf(line, sizeof line, "%s", getpid() == first_process ? "" : "child ");
    va_list args;
    va_start(args, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, args);
    va_end(args);
    line[length++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)length) != length) {
        abort();
    }
}

static void pause_ms(long milliseconds) {
    nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000}, NULL);
}

static NrStatus handle(const char *entry) {
    uint64_t sid = atomic_fetch_add(&sids, 1) + 1;
    NrStr name = {.ptr = (const uint8_t *)entry, .len = (uint32_t)strlen(entry)};
    return functions->handle(plugin->plugin_ctx, name, sid, NULL, (NrBytes){.ptr = NULL});
}

/* ---- children ---- */

static void wait_for(pid_t child) {
    int status = 0;
    for (int waited = 0; waited < CHILD_LIMIT_MS; waited += 5) {
        if (waitpid(child, &status, WNOHANG) == child) {
            say(WIFSIGNALED(status) ? "signal %d" : "exited %d",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            return;
        }
        pause_ms(5);
    }
    say("hung");
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
}

static void split(const char *how);

static void be_child(const char *how) {
    if (strcmp(how, "exec") == 0) {
        execl("/proc/self/exe", "process_host", "descriptors", (char *)NULL);
        abort();
    } else if (strcmp(how, "_exit") == 0) {
        _exit(5);
    } else if (strcmp(how, "fork") == 0) {
        split("call");
        exit(5);
    } else if (strcmp(how, "call") == 0) {
        say("handle %u", handle("begun"));
        functions->shutdown(plugin->plugin_ctx);
        exit(5);
    } else if (strcmp(how, "dlclose") == 0) {
        exit(dlclose(file) == 0 ? 5 : 6);
    } else if (strcmp(how, "exit") == 0) {
        exit(5);
    }
}

static void split(const char *how) {
    pid_t child = fork();
    if (child == 0) {
        be_child(how);
    } else {
        wait_for(child);
    }
}

/* What is inherited beside stdin, stdout and stderr. The listing's own descriptor is the one that comes next. */
static int list_descriptors(void) {
    for (int number = 3; number < 1024; number++) {
        char link[64], target[256];
        snprintf(link, sizeof link, "/proc/self/fd/%d", number);
        ssize_t length = readlink(link, target, sizeof target - 1);
        if (length > 0) {
            target[length] = '\0';
            printf("descriptor %d %s\n", number, target);
        }
    }
    return 5;
}

/* ---- the host ---- */

static void send_result(void *ctx, uint64_t sid, NrStatus status, NrBytes payload) {
    (void)ctx;
    char text[128] = "";
    memcpy(text, payload.ptr, payload.len < sizeof text ? payload.len : sizeof text - 1);
    say("sent %u %u %s", (unsigned)sid, status, text);
    const char *how = atomic_exchange(&next_in_send, NULL);
    if (how != NULL) {
        split(how);
        atomic_store(&split_in_send, true);
    }
    atomic_store(&last_number, strtol(text, NULL, 10));
    atomic_fetch_add(&replies, 1);
}

static const NrHostVTable host_functions = {.send_result = send_result};

static void load(void) {
    static int context;
    file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    NrGetPluginFn get_plugin = NULL;
    void *symbol = file != NULL ? dlsym(file, NR_GET_PLUGIN_V1_SYMBOL) : NULL;
    memcpy(&get_plugin, &symbol, sizeof get_plugin);
    if (get_plugin == NULL) {
        fprintf(stderr, "process_host: %s\n", dlerror());
        exit(3);
    }
    plugin = get_plugin();
    functions = plugin->vtable;
    say("init %u", functions->init(plugin->plugin_ctx, &context, &host_functions));
}

static void *run_call(void *entry) {
    say("handle %u", handle(entry));
    return NULL;
}

static void call_on_thread(char *entry) {
    pthread_t id;
    pthread_create(&id, NULL, run_call, entry);
    pthread_detach(id);
}

static void end(const char *how, int code) {
    if (strcmp(how, "_exit") == 0) {
        _exit(code);
    } else if (strcmp(how, "quick_exit") == 0) {
        quick_exit(code);
    } else if (strcmp(how, "abort") == 0) {
        abort();
    } else if (strcmp(how, "pthread_exit") == 0) {
        pthread_exit(NULL);
    }
    exit(code);
}

static unsigned count_threads(void) {
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        count += task->d_name[0] != '.';
    }
    closedir(tasks);
    return count;
}

static void do_step(const char *step, char *argument) {
    if (strcmp(step, "load") == 0) {
        load();
    } else if (strcmp(step, "call") == 0) {
        run_call(argument);
    } else if (strcmp(step, "thread") == 0) {
        call_on_thread(argument);
    } else if (strcmp(step, "begun") == 0) {
        do {
            pause_ms(1);
            handle("begun");
        } while (atomic_load(&last_number) < atol(argument));
    } else if (strcmp(step, "replies") == 0) {
        while (atomic_load(&replies) < (unsigned)atol(argument)) {
            pause_ms(1);
        }
    } else if (strcmp(step, "fork") == 0) {
        split(argument);
    } else if (strcmp(step, "in_send") == 0) {
        atomic_store(&next_in_send, argument);
        atomic_store(&split_in_send, false);
    } else if (strcmp(step, "sent") == 0) {
        while (!atomic_load(&split_in_send)) {
            pause_ms(1);
        }
    } else if (strcmp(step, "shutdown") == 0) {
        functions->shutdown(plugin->plugin_ctx);
        say("shut down");
    } else if (strcmp(step, "dlclose") == 0) {
        say("dlclose %d", dlclose(file));
    } else if (strcmp(step, "threads") == 0) {
        while (count_threads() > (unsigned)atol(argument)) {
            pause_ms(1);
        }
    } else if (strcmp(step, "end") == 0) {
        char *code = strchr(argument, ':');
        *code = '\0';
        end(argument, atoi(code + 1));
    } else {
        fprintf(stderr, "process_host: no step %s\n", step);
        exit(2);
    }
}

static void do_steps(char **steps);

static void *go_on(void *steps) {
    char state = '?';
    while (state != 'Z') { /* main is gone */
        pause_ms(1);
        FILE *stat = fopen("/proc/self/stat", "re");
        if (stat == NULL || fscanf(stat, "%*d %*s %c", &state) != 1) {
            abort();
        }
        fclose(stat);
    }
    say("main is gone");
    do_steps(steps);
    return NULL;
}

static void do_steps(char **steps) {
    for (; *steps != NULL; steps++) {
        char *colon = strchr(*steps, ':');
        if (colon != NULL) {
            *colon = '\0';
        }
        if (strcmp(*steps, "leave_main") == 0) {
            pthread_t id;
            pthread_create(&id, NULL, go_on, steps + 1);
            pthread_exit(NULL);
        }
        do_step(*steps, colon != NULL ? colon + 1 : NULL);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "descriptors") == 0) {
        return list_descriptors();
    }
    first_process = getpid();
    signal(SIGPIPE, SIG_IGN);
    path = argc > 1 ? argv[1] : "";
    do_steps(argv + 2);
    return 0;
}
