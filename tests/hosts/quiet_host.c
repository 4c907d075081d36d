/*
 * A host that lets a plugin file do next to nothing before `init`.
 *
 *   quiet_host PLUGIN.so
 *
 * From before dlopen on, the kernel ends it at the first system call that reads or changes anything but the file's own
 * mapping: no thread, no process, no socket, no file to write, no signal handler. From before the first get_plugin on no
 * file may be opened at all. Prints the plugin's name, or the number of the call it was ended for (exit code 3).
 */
#define _GNU_SOURCE
#include "nylon_ring_v1.h"
#include "nylon_ring_v2.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOW_WORD(index) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[index]))
#define TRAP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

/* What malloc, a pipe and this host's own last words need. */
#define MEMORY                                                                                                         \
    ALLOW(__NR_brk), ALLOW(__NR_munmap), ALLOW(__NR_mprotect), ALLOW(__NR_mremap), ALLOW(__NR_madvise),                \
        ALLOW(__NR_futex), ALLOW(__NR_exit_group), ALLOW(__NR_getrandom), ALLOW(__NR_rt_sigreturn)
#define PIPE ALLOW(__NR_pipe2), ALLOW(__NR_read), ALLOW(__NR_write), ALLOW(__NR_close), ALLOW(__NR_fcntl)

/* dlopen reads and maps files; none is opened to be written. */
static struct sock_filter while_opening[] = {
    LOAD(nr),
    MEMORY,
    PIPE,
    ALLOW(__NR_mmap),
    ALLOW(__NR_pread64),
    ALLOW(__NR_fstat),
    ALLOW(__NR_newfstatat),
    ALLOW(__NR_prctl),
    ALLOW(__NR_seccomp),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat, 0, 3),
    LOW_WORD(2),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    TRAP,
};

static struct sock_filter while_asking[] = {
    LOAD(nr),
    MEMORY,
    PIPE,
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 0, 3),
    LOW_WORD(3),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    TRAP,
};

static void forbid_the_rest(struct sock_filter *filter, size_t count) {
    struct sock_fprog program = {.len = (unsigned short)count, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("seccomp");
        _exit(2);
    }
}

static void say(const char *words, int number) {
    char text[64];
    int length = snprintf(text, sizeof text, "%s %d\n", words, number);
    if (write(STDOUT_FILENO, text, (size_t)length) != length) {
        _exit(2);
    }
}

static void on_forbidden(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    say("it wanted the system call", info->si_syscall);
    _exit(3);
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) != -1;
    }
    return count;
}

#define FORBID_ALL_BUT(filter) forbid_the_rest(filter, sizeof(filter) / sizeof(filter)[0])

int main(int argc, char **argv) {
    struct sigaction action = {.sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO};
    if (argc != 2 || sigaction(SIGSYS, &action, NULL) != 0) {
        return 2;
    }
    int before = open_descriptors();
    FORBID_ALL_BUT(while_opening);
    void *image = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (image == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    const NrPluginInfo *(*doors[])(void) = {
        (const NrPluginInfo *(*)(void))dlsym(image, "nylon_ring_get_plugin_v1"),
        (const NrPluginInfo *(*)(void))dlsym(image, "nylon_ring_get_plugin"),
    };
    FORBID_ALL_BUT(while_asking);
    for (unsigned door = 0; door < 2; door++) {
        for (unsigned again = 0; doors[door] != NULL && again < 100; again++) {
            const NrPluginInfo *info = doors[door]();
            if (again == 99 && info != NULL && write(STDOUT_FILENO, info->name.ptr, info->name.len) < 0) {
                _exit(2);
            }
        }
    }
    if (dlclose(image) != 0) {
        _exit(2);
    }
    say(": descriptors left", open_descriptors() - before);
    _exit(0);
}
