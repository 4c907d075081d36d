/*
 * Which Python, and where it is. Nothing here includes Python.h: the answers come from the boot record, from the
 * interpreter itself (asked in a child process), and from the symbols of what is already in the process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "find_python.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- what the interpreter says of itself ---- */

static void copy_string(char *to, size_t size, const char *from) {
    snprintf(to, size, "%s", from != NULL ? from : "");
}

static void take_fact(nrpy_python *python, const char *key, const char *value) {
    if (strcmp(key, "python") == 0) {
        copy_string(python->executable, sizeof python->executable, value);
    } else if (strcmp(key, "python_version") == 0) {
        copy_string(python->version, sizeof python->version, value);
    } else if (strcmp(key, "libpython") == 0) {
        copy_string(python->libpython, sizeof python->libpython, value);
    } else if (strcmp(key, "core") == 0) {
        copy_string(python->core, sizeof python->core, value);
    } else if (strcmp(key, "prefix") == 0) {
        copy_string(python->prefix, sizeof python->prefix, value);
    } else if (strcmp(key, "libpython_tried") == 0) {
        copy_string(python->tried, sizeof python->tried, value);
    } else if (strcmp(key, "free_threaded") == 0) {
        python->free_threaded = strcmp(value, "1") == 0;
    }
}

/* The environment without what could steer a Python, isolated or not; NULL: no memory. The caller frees the array. */
static char **neutral_environment(void) {
    size_t count = 0;
    while (environ != NULL && environ[count] != NULL) {
        count++;
    }
    char **kept = malloc((count + 1) * sizeof *kept);
    if (kept == NULL) {
        return NULL;
    }
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "PYTHON", 6) != 0 && strncmp(environ[i], "__PYVENV_LAUNCHER__=", 20) != 0) {
            kept[taken++] = environ[i];
        }
    }
    kept[taken] = NULL;
    return kept;
}

/* Runs `executable -I -m nylon_ring_py._probe`, which prints key=value lines. The host may reap children by itself, so
 * the answer is judged by what was read and never by the exit status. */
static int probe(const char *executable, nrpy_python *python, char *error, size_t error_size) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        snprintf(error, error_size, "no pipe to ask %s with: %s", executable, strerror(errno));
        return -1;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    char *argv[] = {(char *)(uintptr_t)executable, "-I", "-m", "nylon_ring_py._probe", NULL};
    pid_t pid = -1;
    char **environment = neutral_environment();
    int failed = environment != NULL ? posix_spawn(&pid, executable, &actions, NULL, argv, environment) : ENOMEM;
    free(environment);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (failed != 0) {
        close(fds[0]);
        snprintf(error, error_size, "cannot run %s: %s; name an existing Python with NYLON_RING_PYTHON", executable,
                 strerror(failed));
        return -1;
    }
    static const size_t limit = 8 * NRPY_PATH_MAX;
    char *answer = malloc(limit + 1);
    size_t length = 0;
    while (answer != NULL && length < limit) {
        ssize_t got = read(fds[0], answer + length, limit - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    close(fds[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (answer == NULL) {
        snprintf(error, error_size, "no memory to ask %s", executable);
        return -1;
    }
    answer[length] = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(answer, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *equals = strchr(line, '=');
        if (equals != NULL) {
            *equals = '\0';
            take_fact(python, line, equals + 1);
        }
    }
    free(answer);
    if (python->version[0] == '\0' || python->core[0] == '\0') {
        snprintf(error, error_size,
                 "%s does not have nylon_ring_py (its own words stand above); install it there: %s -m pip install "
                 "nylon-ring-py",
                 executable, executable);
        return -1;
    }
    return 0;
}

static bool recorded_files_exist(const nrpy_python *python) {
    return access(python->executable, X_OK) == 0 && access(python->core, R_OK) == 0 &&
           (python->libpython[0] == '\0' || access(python->libpython, R_OK) == 0);
}

/* In a process with more rights than whoever started it (set-group-ID, file capabilities), his choice is none. */
static const char *chosen_python(void) {
    static const char name[] = "NYLON_RING_PYTHON";
    const char *chosen = secure_getenv(name);
    if (chosen == NULL && getenv(name) != NULL) {
        fprintf(stderr, "nylon-ring: %s is ignored: this process has rights that whoever started it has not\n", name);
    }
    return chosen;
}

int nrpy_find_python(const nrpy_payload *payload, nrpy_python *python, char *error, size_t error_size) {
    memset(python, 0, sizeof *python);
    const char *chosen = chosen_python();
    if (chosen != NULL && chosen[0] != '\0') {
        if (chosen[0] != '/') {
            snprintf(error, error_size,
                     "NYLON_RING_PYTHON=%s is no absolute path: where it leads would hang on the working directory",
                     chosen);
            return -1;
        }
        return probe(chosen, python, error, error_size);
    }
    static const char *const facts[] = {"python", "python_version", "libpython", "core", "prefix", "free_threaded"};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        const char *value = nrpy_payload_get(payload, facts[i]);
        if (value == NULL) {
            snprintf(error, error_size, "the boot record has no '%s'; build the plugin again", facts[i]);
            return -1;
        }
        take_fact(python, facts[i], value);
    }
    const char *const paths[] = {python->executable, python->libpython, python->core, python->prefix};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (paths[i][0] != '/' && paths[i][0] != '\0') {
            snprintf(error, error_size, "the boot record's path %s is not absolute; build the plugin again", paths[i]);
            return -1;
        }
    }
    if (recorded_files_exist(python)) {
        return 0;
    }
    char recorded[NRPY_PATH_MAX];
    copy_string(recorded, sizeof recorded, python->executable);
    if (access(recorded, X_OK) != 0) {
        snprintf(error, error_size,
                 "the Python it was built for is gone: %s. Make that environment again, build the plugin again with "
                 "--python, or set NYLON_RING_PYTHON to a Python that has nylon_ring_py",
                 recorded);
        return -1;
    }
    memset(python, 0, sizeof *python);
    return probe(recorded, python, error, error_size);
}

/* ---- the Python of this process ---- */

static void version_text(unsigned long hex, char *out, size_t size) {
    snprintf(out, size, "%lu.%lu", (hex >> 24) & 0xffu, (hex >> 16) & 0xffu);
}

static int find_mapped(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    const char *slash = info->dlpi_name != NULL ? strrchr(info->dlpi_name, '/') : NULL;
    if (slash == NULL || strncmp(slash + 1, "libpython3.", 11) != 0 || strlen(info->dlpi_name) >= NRPY_PATH_MAX) {
        return 0;
    }
    copy_string(found, NRPY_PATH_MAX, info->dlpi_name);
    return 1;
}

/* Py_Version is a data symbol of 3.11 and later; Py_GetVersion() races on 3.12+ while Python starts. */
static int check_version(void *scope, const char *what, const nrpy_python *python, char *error, size_t error_size) {
    const unsigned long *hex = dlsym(scope, "Py_Version");
    if (hex == NULL) {
        snprintf(error, error_size, "%s is older than Python 3.11; this plugin needs Python %s", what, python->version);
        return -1;
    }
    char found[16];
    version_text(*hex, found, sizeof found);
    if (strcmp(found, python->version) != 0) {
        snprintf(error, error_size,
                 "%s is Python %s, the plugin's Python is %s (%s); one process runs one Python. Build the plugin for "
                 "%s, or name one environment that serves all plugins with NYLON_RING_PYTHON",
                 what, found, python->version, python->executable, found);
        return -1;
    }
    return 0;
}

/* Extension modules carry no reference to libpython: its symbols must be global before the first of them is opened, and
 * must stay. */
static int promote(const char *path, char *error, size_t error_size) {
    if (dlopen(path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) == NULL) {
        snprintf(error, error_size, "cannot make %s global: %s", path, dlerror());
        return -1;
    }
    return 0;
}

/* musl opens this file, which asks for little, and then not a libpython made for glibc. */
static const char *hint_at_libc(void) {
#ifdef __GLIBC__
    if (dlsym(RTLD_DEFAULT, "gnu_get_libc_version") == NULL) {
        return ". This host runs on another C library (musl?) than the plugin's Python, which is made for glibc: link "
               "the "
               "host against glibc";
    }
#endif
    return "";
}

static int open_libpython(const nrpy_python *python, char *error, size_t error_size) {
    if (dlsym(RTLD_DEFAULT, "Py_IsInitialized") != NULL) {
        return check_version(RTLD_DEFAULT, "the Python already in this process", python, error, error_size);
    }
    char mapped[NRPY_PATH_MAX];
    if (dl_iterate_phdr(find_mapped, mapped) != 0) {
        void *handle = dlopen(mapped, RTLD_LAZY | RTLD_NOLOAD);
        if (handle == NULL) {
            snprintf(error, error_size, "cannot join %s: %s", mapped, dlerror());
            return -1;
        }
        int failed = check_version(handle, mapped, python, error, error_size);
        if (failed == 0) {
            failed = promote(mapped, error, error_size);
        }
        dlclose(handle);
        return failed;
    }
    if (python->libpython[0] == '\0') {
        snprintf(error, error_size,
                 "%s has no shared libpython (looked at: %s). On Debian: apt-get install libpython%s; with pyenv: "
                 "PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install",
                 python->executable, python->tried, python->version);
        return -1;
    }
    /* Local first: a wrong file must not put its symbols into everybody's scope. */
    void *handle = dlopen(python->libpython, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        snprintf(error, error_size, "cannot open %s: %s%s", python->libpython, dlerror(), hint_at_libc());
        return -1;
    }
    if (check_version(handle, python->libpython, python, error, error_size) != 0) {
        dlclose(handle);
        return -1;
    }
    int failed = promote(python->libpython, error, error_size);
    dlclose(handle);
    return failed;
}

/* ---- the core ---- */

static int check_core(const nrpy_core_table *table, const nrpy_python *python, char *error, size_t error_size) {
    if (table->magic != NRPY_CORE_MAGIC || table->major != NRPY_CORE_MAJOR || table->minor < NRPY_CORE_MINOR) {
        snprintf(
            error, error_size,
            "the core in %s speaks version %u.%u, this plugin was built for %u.%u; build the plugin again with the "
            "installed nylon_ring_py",
            python->core, table->major, table->minor, NRPY_CORE_MAJOR, NRPY_CORE_MINOR);
        return -1;
    }
    char built[16];
    version_text(table->py_version_hex, built, sizeof built);
    if (strcmp(built, python->version) != 0 || (table->free_threaded != 0) != python->free_threaded) {
        snprintf(
            error, error_size,
            "the core %s was compiled for Python %s%s, the plugin's Python is %s%s (%s); install nylon_ring_py into "
            "that Python again",
            table->core_path != NULL ? table->core_path : python->core, built,
            table->free_threaded != 0 ? " free-threaded" : "", python->version,
            python->free_threaded ? " free-threaded" : "", python->executable);
        return -1;
    }
    return 0;
}

/* Local first: a core that does not fit must not stay in the way of the next plugin's. */
static int load_core(const nrpy_python *python, char *error, size_t error_size) {
    void *handle = dlopen(python->core, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        snprintf(error, error_size,
                 "cannot open the core %s: %s; install nylon_ring_py again: %s -m pip install "
                 "--force-reinstall nylon-ring-py",
                 python->core, dlerror(), python->executable);
        return -1;
    }
    const nrpy_core_table *table = dlsym(handle, NRPY_CORE_SYMBOL);
    int failed = table != NULL ? check_core(table, python, error, error_size) : -1;
    if (table == NULL) {
        snprintf(error, error_size, "%s is no nylon-ring core: it has no symbol " NRPY_CORE_SYMBOL, python->core);
    }
    if (failed == 0) {
        failed = promote(python->core, error, error_size);
    }
    dlclose(handle);
    return failed;
}

const nrpy_core_table *nrpy_open_core(const nrpy_python *python, char *error, size_t error_size) {
    if (open_libpython(python, error, error_size) != 0) {
        return NULL;
    }
    if (dlsym(RTLD_DEFAULT, NRPY_CORE_SYMBOL) == NULL && load_core(python, error, error_size) != 0) {
        return NULL;
    }
    /* By RTLD_DEFAULT: whichever core became global first answers, also when two stubs race. */
    const nrpy_core_table *table = dlsym(RTLD_DEFAULT, NRPY_CORE_SYMBOL);
    if (table == NULL) {
        snprintf(error, error_size, "the core %s did not become global", python->core);
        return NULL;
    }
    return check_core(table, python, error, error_size) == 0 ? table : NULL;
}
