#include "runtime.h"

#include "clock.h"
#include "forked.h"
#include "instance.h"
#include "module.h"
#include "monitor.h"
#include "owned.h"
#include "threads.h"
#include "watched.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A waiting thread gets the GIL from a computing one after 50 us instead of CPython's 5 ms: a proxy's thread must not
 * stand behind a Python loop. Only set where the interpreter is ours. */
#define SWITCH_INTERVAL_S 0.00005

#define EXIT_WAIT_S 0.4
enum { EXIT_HANDLERS_MS = 300 };

_Atomic bool nrpy_runtime_dead;

/* Held across the whole start: Py_IsInitialized() is true long before an interpreter is usable. */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool started;              /* guarded by start_lock */
static char *running_prefix;      /* sys.prefix of this process's Python; set once under start_lock */
static bool is_guest;             /* the interpreter belongs to somebody else; set once under start_lock */
static PyThreadState *home_state; /* the runtime thread's, Python's main one unless a guest; set before `started` */
static sem_t exit_answered;
static _Atomic bool answers_exit; /* the runtime thread is there to answer */

/* What the runtime thread is told, and how it went. Lives on the starter's stack. */
typedef struct start_order {
    const nrpy_open_args *args;
    sem_t done;
    bool failed;
} start_order;

static void set_error(const nrpy_open_args *args, const char *what, const char *detail) {
    snprintf(args->error, args->error_size, "%s%s%s", what, detail != NULL ? ": " : "", detail != NULL ? detail : "");
}

/* ---- before Python starts ---- */

/* A missing venv silently becomes the base Python, and a venv of another minor version has no site-packages for this
 * one; both must be seen before anything is initialised. */
static int check_venv(const nrpy_open_args *args) {
    char text[4096];
    snprintf(text, sizeof text, "%s/pyvenv.cfg", args->prefix);
    FILE *file = fopen(text, "re");
    if (file == NULL) {
        return 0; /* no venv: the prefix is compared once Python runs */
    }
    unsigned major = 0;
    unsigned minor = 0;
    while (fgets(text, sizeof text, file) != NULL) {
        const char *equals = strchr(text, '=');
        if (strncmp(text, "version", 7) == 0 && equals != NULL && sscanf(equals + 1, " %u.%u", &major, &minor) == 2) {
            break;
        }
    }
    fclose(file);
    if (major != 0 && (major != PY_MAJOR_VERSION || minor != PY_MINOR_VERSION)) {
        snprintf(args->error, args->error_size,
                 "the environment %s is now Python %u.%u, the plugin needs %d.%d; build the plugin again for it",
                 args->prefix, major, minor, PY_MAJOR_VERSION, PY_MINOR_VERSION);
        return -1;
    }
    return 0;
}

/* A host that has closed its standard descriptors opens its next sockets under their numbers, and what Python, a library
 * or this file says would go there. So what is closed at the start is taken. */
static void hold_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            int taken = open("/dev/null", O_RDWR); /* the lowest that is free; for child processes, too */
            if (taken > STDERR_FILENO) {
                close(taken); /* somebody else was faster */
            }
        }
    }
}

static PyStatus configure(PyConfig *config, const nrpy_open_args *args) {
    config->install_signal_handlers = 0;
    config->configure_c_stdio = 0;
    config->user_site_directory = 0;
    config->parse_argv = 0;
    PyStatus status = PyConfig_SetBytesString(config, &config->executable, args->executable);
    if (!PyStatus_Exception(status)) {
        status = PyConfig_SetBytesString(config, &config->program_name, args->executable);
    }
    if (!PyStatus_Exception(status)) {
        status = PyWideStringList_Append(&config->argv, L"");
    }
    return status;
}

/* These two an isolated Python obeys as well: they say where its environment is, and so its library. Python itself takes
 * the second out of the process's environment. */
static void drop_steering_variables(void) {
    static const char *const names[] = {"PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL) {
            fprintf(stderr, "nylon-ring: %s=%s is taken out of the environment: Python would run from there\n",
                    names[i], value);
            (void)unsetenv(names[i]);
        }
    }
}

/* Never Py_ExitStatusException: that ends the host. */
static int start_python(const nrpy_open_args *args) {
    drop_steering_variables();
    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1;
    if (NRPY_IS_WATCHED) {
        preconfig.allocator = PYMEM_ALLOCATOR_MALLOC;
    }
    PyStatus status = Py_PreInitialize(&preconfig);
    if (!PyStatus_Exception(status)) {
        PyConfig config;
        PyConfig_InitIsolatedConfig(&config);
        status = configure(&config, args);
        if (!PyStatus_Exception(status)) {
            status = Py_InitializeFromConfig(&config);
        }
        PyConfig_Clear(&config);
    }
    if (PyStatus_Exception(status)) {
        set_error(args, "Python does not start", status.err_msg != NULL ? status.err_msg : "it asked to exit");
        return -1;
    }
    return 0;
}

/* ---- once Python runs ---- */

static void set_python_error(const nrpy_open_args *args, const char *what) {
    PyObject *exception = nrpy_take_exception();
    PyObject *text = exception != NULL ? PyObject_Str(exception) : NULL;
    set_error(args, what, text != NULL ? PyUnicode_AsUTF8(text) : "no reason given");
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(exception);
}

static int note_prefix(const nrpy_open_args *args) {
    PyObject *prefix = PySys_GetObject("prefix"); /* Borrowed reference */
    const char *text = prefix != NULL ? PyUnicode_AsUTF8(prefix) : NULL;
    running_prefix = text != NULL ? strdup(text) : NULL;
    if (running_prefix == NULL) {
        set_python_error(args, "sys.prefix cannot be read");
        return -1;
    }
    return 0;
}

/* Wherever SIGINT is at its default, the first import of _signal takes it for KeyboardInterrupt, whatever the
 * configuration says; Ctrl-C would no longer end the host. So that import is made here, and SIGINT given back. */
static PyObject *import_signal(void) {
    struct sigaction before;
    bool is_default =
        sigaction(SIGINT, NULL, &before) == 0 && (before.sa_flags & SA_SIGINFO) == 0 && before.sa_handler == SIG_DFL;
    PyObject *module = PyImport_ImportModule("_signal");
    if (is_default) {
        (void)sigaction(SIGINT, &before, NULL);
    }
    return module;
}

/* Nothing is collected meanwhile: what is made here stays, and the package's part has the collector pass it over from
 * then on. */
static int prepare_own(const nrpy_open_args *args) {
    bool collects = PyGC_Disable() != 0;
    PyObject *interval = PySys_GetObject("setswitchinterval"); /* Borrowed reference */
    PyObject *set = interval != NULL ? PyObject_CallFunction(interval, "d", SWITCH_INTERVAL_S) : NULL;
    PyObject *signals = set != NULL ? import_signal() : NULL;
    PyObject *session = signals != NULL ? PyImport_ImportModule("nylon_ring_py._session") : NULL;
    PyObject *prepared = session != NULL ? PyObject_CallMethod(session, "prepare_runtime", NULL) : NULL;
    int failed = prepared == NULL ? -1 : 0;
    if (failed != 0) {
        set_python_error(args, "nylon_ring_py cannot be imported");
    }
    if (collects) {
        PyGC_Enable();
    }
    Py_XDECREF(prepared);
    Py_XDECREF(session);
    Py_XDECREF(signals);
    Py_XDECREF(set);
    return failed;
}

static PyObject *close_all(PyObject *self, PyObject *ignored) {
    (void)self;
    (void)ignored;
    PyThreadState *state = PyEval_SaveThread();
    nrpy_instance_close_all();
    PyEval_RestoreThread(state);
    if (is_guest) {
        atomic_store(&nrpy_runtime_dead, true); /* threads that end later must not enter what is being finalized */
    }
    Py_RETURN_NONE;
}

/* The owner of a borrowed interpreter may finalize it: our instances must have ended by then. */
static int register_atexit(const nrpy_open_args *args) {
    static PyMethodDef definition = {"nylon_ring_close_all", close_all, METH_NOARGS, NULL};
    PyObject *atexit_module = PyImport_ImportModule("atexit");
    PyObject *function = PyCFunction_New(&definition, NULL);
    PyObject *done = atexit_module != NULL && function != NULL
                         ? PyObject_CallMethod(atexit_module, "register", "O", function)
                         : NULL;
    int failed = done == NULL ? -1 : 0;
    if (failed != 0) {
        set_python_error(args, "no atexit callback could be registered");
    }
    Py_XDECREF(done);
    Py_XDECREF(function);
    Py_XDECREF(atexit_module);
    return failed;
}

/* ---- the end of the process ---- */

/*
 * On the runtime thread, while another one is in exit(). Library destructors are about to run: a thread inside numpy then
 * hangs or crashes the host. So handlers are asked to stop, and the GIL is kept from everybody for good.
 */
static void seize_python(void) {
    PyEval_RestoreThread(home_state);
    struct timespec pause = {.tv_nsec = 1000000};
    for (int waited = 0; waited < EXIT_HANDLERS_MS; waited++) {
        bool busy = false;
        for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL; thread = thread->next) {
            PyThreadState *state = thread->state;
            if (state != NULL && nrpy_is_in_handler(thread)) {
                busy = true;
                if (waited == 0) {
                    PyThreadState_SetAsyncExc(state->thread_id, PyExc_SystemExit);
                }
            }
        }
        if (!busy) {
            break;
        }
        PyThreadState *state = PyEval_SaveThread();
        nanosleep(&pause, NULL);
        PyEval_RestoreThread(state);
    }
    sem_post(&exit_answered);
    for (;;) {
        pause.tv_sec = 3600;
        nanosleep(&pause, NULL);
    }
}

static void on_exit_of_process(void) {
    if (atomic_load(&nrpy_runtime_dead)) {
        return;
    }
    bool attached = nrpy_thread_cached != NULL && nrpy_is_attached(nrpy_thread_cached);
    atomic_store(&nrpy_runtime_dead, true);
    nrpy_instance_abandon_all();
    if (is_guest || !atomic_load(&answers_exit)) {
        return; /* its owner finalizes it, and our atexit callback closed the instances; or Python never started */
    }
    if (attached) {
        PyEval_SaveThread();
    }
    nrpy_monitor_interrupt();
    (void)nrpy_sem_wait_for(&exit_answered, EXIT_WAIT_S);
}

static int count_images(struct dl_phdr_info *info, size_t size, void *count) {
    (void)size;
    *(unsigned long long *)count = info->dlpi_adds - info->dlpi_subs;
    return 1;
}

/* Handlers run in the reverse order. A library that came with an import (OpenSSL) has its own, which must not run before
 * handlers have left that library; so wherever the process holds more images than ever, we go to the front again. */
void nrpy_runtime_be_first_at_exit(void) {
    static _Atomic unsigned long long most;
    unsigned long long images = 0;
    dl_iterate_phdr(count_images, &images);
    unsigned long long before = atomic_load(&most);
    if (images > before && atomic_compare_exchange_strong(&most, &before, images) && !is_guest && nrpy_is_alive()) {
        (void)atexit(on_exit_of_process); /* without memory for it the first registration remains */
    }
}

/* The child has one thread, and locks as they were: everything is refused there. */
static void on_fork_in_child(void) {
    atomic_store(&nrpy_forked, true);
    atomic_store(&nrpy_runtime_dead, true);
    nrpy_instance_abandon_all();
}

/* ---- the runtime thread ---- */

static void tidy(void) {
    nrpy_runtime_be_first_at_exit();
    bool any = nrpy_owned_is_any(&nrpy_owned_returned_plain) || nrpy_owned_is_any(&nrpy_owned_returned_other);
    if (any && nrpy_is_alive()) {
        PyEval_RestoreThread(home_state);
        nrpy_owned_drop(&nrpy_owned_returned_plain);
        nrpy_owned_drop(&nrpy_owned_returned_other);
        PyEval_SaveThread();
    }
}

/*
 * Starts or joins Python, and stays: to Python it is the main thread, which then never goes away, has a full stack and
 * takes no signals. Afterwards it is the monitor.
 */
static void *run_runtime(void *argument) {
    start_order *order = argument;
    const nrpy_open_args *args = order->args;
    int failed = 0;
    is_guest = Py_IsInitialized() != 0;
    if (is_guest) {
        home_state = nrpy_new_state();
        if (home_state != NULL) {
            PyEval_RestoreThread(home_state);
        } else {
            set_error(args, "no memory for a thread state", NULL);
            failed = -1;
        }
    } else {
        failed = start_python(args);
        if (failed == 0) {
            home_state = PyThreadState_Get();
            failed = prepare_own(args);
        }
    }
    if (failed == 0 && (note_prefix(args) != 0 || register_atexit(args) != 0)) {
        failed = -1;
    }
    if (home_state != NULL) {
        PyEval_SaveThread();
    }
    order->failed = failed != 0;
    atomic_store(&answers_exit, failed == 0);
    sem_post(&order->done);
    if (failed == 0) {
        nrpy_threads_make_fence_quick();
        nrpy_monitor_run(seize_python, tidy);
    }
    return NULL;
}

/* start_lock is held. */
static int start(const nrpy_open_args *args) {
    static bool prepared;
    if (!prepared) {
        int failed = nrpy_threads_start();
        if (failed == 0) {
            failed = pthread_atfork(NULL, NULL, on_fork_in_child);
        }
        if (failed == 0) {
            sem_init(&exit_answered, 0, 0);
            nrpy_monitor_init();
            failed = atexit(on_exit_of_process);
        }
        if (failed != 0) {
            set_error(args, "the process has no room for a thread key or an exit handler", strerror(failed));
            return -1;
        }
        prepared = true;
    }
    hold_standard_descriptors();
    if (check_venv(args) != 0) {
        return -1;
    }
    start_order order = {.args = args};
    sem_init(&order.done, 0, 0);
    pthread_t id;
    int failed = nrpy_spawn(&id, run_runtime, &order);
    if (failed != 0) {
        set_error(args, "no thread for the Python runtime", strerror(failed));
    } else {
        while (sem_wait(&order.done) != 0) {
        }
        pthread_detach(id);
        failed = order.failed;
    }
    sem_destroy(&order.done);
    return failed != 0 ? -1 : 0;
}

static bool is_same_directory(const char *one, const char *other) {
    if (strcmp(one, other) == 0) {
        return true;
    }
    char *real_one = realpath(one, NULL);
    char *real_other = realpath(other, NULL);
    bool same = real_one != NULL && real_other != NULL && strcmp(real_one, real_other) == 0;
    free(real_one);
    free(real_other);
    return same;
}

bool nrpy_runtime_is_ours(void) {
    return !is_guest && home_state != NULL;
}

bool nrpy_runtime_is_elsewhere(void) {
    /* In a child of fork the state is gone. */
    return nrpy_runtime_is_ours() && !nrpy_is_forked() && home_state->thread_id != PyThread_get_thread_ident();
}

int nrpy_runtime_start(const nrpy_open_args *args) {
    if (!nrpy_is_alive()) {
        set_error(args, "this process was forked after Python had started, or is exiting; load plugins after the fork",
                  NULL);
        return -1;
    }
    pthread_mutex_lock(&start_lock);
    int failed = 0;
    if (!started) {
        failed = start(args);
        started = failed == 0;
    }
    pthread_mutex_unlock(&start_lock);
    if (failed == 0 && !is_same_directory(running_prefix, args->prefix)) {
        snprintf(
            args->error, args->error_size,
            "this process's Python runs in %s, the plugin was built for %s; build all plugins of a process with one "
            "environment, or name one that serves all with NYLON_RING_PYTHON",
            running_prefix, args->prefix);
        failed = -1;
    }
    return failed;
}
