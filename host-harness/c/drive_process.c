/* Of the process itself: memory, threads, files, environment, fork, and the ways to end. */
#include <dirent.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drive.h"

static uint64_t status_field(const char *name) {
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            value = strtoull(line + strlen(name), NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}

static uint64_t entries_in(const char *folder) {
    uint64_t n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        n += entry->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static uint64_t count_children(void) {
    char path[64];
    uint64_t n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    for (int pid; file != NULL && fscanf(file, "%d", &pid) == 1;) {
        n++;
    }
    if (file != NULL) {
        fclose(file);
    }
    return n;
}

uint64_t process_rss_kib(void) {
    return status_field("VmRSS:");
}

void verb_rss(const command *c, json *out) {
    (void)c;
    json_u64(out, "rss_kib", process_rss_kib());
    json_u64(out, "threads", status_field("Threads:"));
    json_u64(out, "fds", entries_in("/proc/self/fd") - 1); /* less the one that reads the folder */
    json_u64(out, "children", count_children());
}

void verb_malloc_trim(const command *c, json *out) {
    (void)c;
    json_u64(out, "trimmed", (uint64_t)malloc_trim(0));
}

/* env name= [value=]: sets it, or tells what it is. */
void verb_env(const command *c, json *out) {
    const char *name = command_text(c, "name", "");
    const char *value = command_text(c, "value", NULL);
    if (value != NULL && setenv(name, value, 1) != 0) {
        json_fail(out, "cannot set %s", name);
        return;
    }
    const char *now = getenv(name);
    json_bool(out, "set", now != NULL);
    json_string(out, "value", now != NULL ? now : "");
}

typedef struct child_report {
    NrStatus handle;
    uint32_t answered;
    NrStatus reply;
} child_report;

static void run_child(const command *c, nrhost *host, int to_parent) {
    json ignored = {0};
    fields f;
    child_report report = {.handle = UINT32_MAX};
    if (fields_read(&f, c, &ignored)) {
        nrhost_call *call;
        nrhost_frame frame;
        report.handle = nrhost_submit(host, &f.request, &call);
        if (call != NULL && nrhost_call_next(call, 5.0, &frame) == NRHOST_FRAME) {
            report.answered = 1;
            report.reply = frame.status;
        }
    }
    ssize_t written = write(to_parent, &report, sizeof report);
    _exit(written == (ssize_t)sizeof report ? 0 : 1);
}

/* fork entry= fields…: a child makes that call; answers how it went there, or the signal the child died of. */
void verb_fork(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    if (slot == NULL) {
        return;
    }
    int ends[2];
    pid_t pid = pipe(ends) == 0 ? nrhost_fork(slot->host) : -1;
    if (pid < 0) {
        json_fail(out, "fork failed");
        plugin_done(slot);
        return;
    }
    if (pid == 0) {
        run_child(c, slot->host, ends[1]);
    }
    close(ends[1]);
    child_report report;
    struct pollfd waiting = {.fd = ends[0], .events = POLLIN};
    double timeout_s = command_seconds(c, "timeout", DRIVE_TIMEOUT_S);
    bool hung = poll(&waiting, 1, (int)(timeout_s * 1000)) == 0;
    bool told = !hung && read(ends[0], &report, sizeof report) == (ssize_t)sizeof report;
    close(ends[0]);
    if (hung) {
        kill(pid, SIGKILL);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    json_bool(out, "hung", hung);
    json_u64(out, "signal", WIFSIGNALED(status) ? (uint64_t)WTERMSIG(status) : 0);
    if (told) {
        json_u64(out, "handle", report.handle);
        json_bool(out, "answered", report.answered);
        json_u64(out, "reply", report.reply);
    }
    plugin_done(slot);
}

/*
 * exit how=return|exit_without_shutdown|_exit|pthread_exit|abort [code=] [shutdown=1]; "return" is drive_main's.
 * Takes the command and the line: a main thread that leaves by pthread_exit must not lose them.
 */
void process_exit(command *c, char *line) {
    char how[32];
    snprintf(how, sizeof how, "%s", command_text(c, "how", ""));
    int code = (int)command_u64(c, "code", 0);
    bool shut_down = command_flag(c, "shutdown");
    command_free(c);
    free(line);
    if (shut_down) {
        plugins_unload_all();
    }
    if (strcmp(how, "_exit") == 0) {
        _exit(code);
    }
    if (strcmp(how, "abort") == 0) {
        abort();
    }
    if (strcmp(how, "pthread_exit") == 0) {
        drive_watch_stop();
        pthread_exit(NULL);
    }
    exit(code);
}

static void do_nothing(int number) {
    (void)number;
}

/* signals: SIGUSR1 is caught from now on, and interrupts what a host's thread waits in; not the one of the commands. */
void verb_signals(const command *c, json *out) {
    struct sigaction action = {.sa_handler = do_nothing};
    sigset_t set;
    (void)c;
    sigemptyset(&action.sa_mask);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    json_bool(out, "caught", sigaction(SIGUSR1, &action, NULL) == 0 && pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}
