/*
 * The start of an instance: Python is started or joined, the plugin's code imported, its entries taken, its threads made.
 */
#include "clock.h"
#include "forked.h"
#include "instance.h"
#include "instance_object.h"
#include "module.h"
#include "reply.h"
#include "runtime.h"
#include "threads.h"
#include "trust.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long an event loop of a plugin that could not start has to end. */
enum { LOOP_END_S = 5 };

static PyObject *boot_dict(const nrpy_open_args *args) {
    PyObject *dict = PyDict_New();
    const char *at = args->boot;
    const char *end = args->boot + args->boot_size;
    while (dict != NULL && at < end) {
        const char *value = at + strlen(at) + 1;
        PyObject *text = PyUnicode_DecodeFSDefault(value);
        if (text == NULL || PyDict_SetItemString(dict, at, text) != 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(text);
        at = value + strlen(value) + 1;
    }
    return dict;
}

/* The traceback goes to stderr as the package words it; args->error gets the exception in one line. */
static void report_exception(const nrpy_open_args *args) {
    PyObject *exception = nrpy_take_exception();
    PyObject *session = PyImport_ImportModule("nylon_ring_py._session");
    PyObject *text = session != NULL ? PyObject_CallMethod(session, "failure_text", "O", exception) : NULL;
    if (text != NULL && PyUnicode_Check(text)) {
        const char *utf8 = PyUnicode_AsUTF8(text);
        fprintf(stderr, "%s\n", utf8 != NULL ? utf8 : "(the traceback cannot be shown)");
    }
    PyErr_Clear();
    PyObject *message = PyObject_Str(exception);
    const char *words = message != NULL ? PyUnicode_AsUTF8(message) : NULL;
    snprintf(args->error, args->error_size, "%s: %s", Py_TYPE(exception)->tp_name, words != NULL ? words : "");
    PyErr_Clear();
    Py_XDECREF(message);
    Py_XDECREF(text);
    Py_XDECREF(session);
    Py_DECREF(exception);
}

static int read_unsigned(PyObject *session, const char *name, unsigned long *value) {
    PyObject *number = PyObject_GetAttrString(session, name);
    *value = number != NULL ? PyLong_AsUnsignedLong(number) : 0;
    Py_XDECREF(number);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

static int read_seconds(PyObject *session, const char *name, double *value) {
    PyObject *number = PyObject_GetAttrString(session, name);
    *value = number != NULL ? PyFloat_AsDouble(number) : 0;
    Py_XDECREF(number);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

static int read_handler(PyObject *session, const char *name, PyObject **handler) {
    *handler = PyObject_GetAttrString(session, name);
    if (*handler == Py_None) {
        Py_CLEAR(*handler);
    }
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* A queue and the threads that work at it. Returns 0, or -1 with an exception set. */
static int make_pool(nrpy_instance *instance, nrpy_lane *lane, nrpy_queue *queue, nrpy_pool *pool, unsigned threads,
                     unsigned long max_pending) {
    if (!nrpy_queue_init(queue, max_pending)) {
        PyErr_Format(PyExc_MemoryError, "no address space for a queue of max_pending=%lu calls", max_pending);
        return -1;
    }
    nrpy_pool_init(pool, instance, queue, threads);
    *lane = (nrpy_lane){.queue = queue, .pool = pool};
    return 0;
}

static int make_loops(nrpy_instance *instance, unsigned long count, unsigned long max_pending, double slow_s) {
    if (count == 0) {
        return 0;
    }
    instance->loops = aligned_alloc(_Alignof(nrpy_loop), count * sizeof *instance->loops);
    instance->loop_lanes = calloc(count, sizeof *instance->loop_lanes);
    if (instance->loops == NULL || instance->loop_lanes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        nrpy_loop *loop = &instance->loops[i];
        errno = nrpy_loop_init(loop, instance, i, max_pending, (int64_t)(slow_s * 1e9));
        if (errno != 0) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        instance->loop_lanes[i] = (nrpy_lane){.queue = &loop->queue, .loop = loop};
        instance->loop_count = i + 1;
    }
    return 0;
}

static int read_session(nrpy_instance *instance) {
    PyObject *session = instance->session;
    PyObject *list = PyObject_CallMethod(session, "entries", NULL);
    if (list == NULL || nrpy_entries_fill(&instance->entries, list) != 0) {
        Py_XDECREF(list);
        return -1;
    }
    Py_DECREF(list);
    unsigned long workers, max_pending, sync_streams, loops;
    double slow_s;
    if (read_seconds(session, "shutdown_timeout_s", &instance->shutdown_timeout_s) != 0 ||
        read_seconds(session, "slow_callback_s", &slow_s) != 0 || read_unsigned(session, "workers", &workers) != 0 ||
        read_unsigned(session, "max_pending", &max_pending) != 0 ||
        read_unsigned(session, "max_sync_streams", &sync_streams) != 0 ||
        read_unsigned(session, "loops", &loops) != 0 ||
        read_handler(session, "stream_data", &instance->stream_data) != 0 ||
        read_handler(session, "stream_close", &instance->stream_close) != 0) {
        return -1;
    }
    instance->has_stream_data = instance->stream_data != NULL;
    if (make_pool(instance, &instance->workers, &instance->queue, &instance->pool, (unsigned)workers, max_pending) !=
        0) {
        return -1;
    }
    if (sync_streams != 0) {
        if (make_pool(instance, &instance->stream_threads, &instance->stream_queue, &instance->stream_pool,
                      (unsigned)sync_streams, max_pending) != 0) {
            return -1;
        }
        instance->stream_threads.thread_per_item = true;
        instance->stream_limit = (unsigned)sync_streams;
    }
    return make_loops(instance, loops, max_pending, slow_s);
}

/* New reference or NULL with an exception set. */
static PyObject *session_from_archive(nrpy_instance *instance, PyObject *module, const nrpy_open_args *args) {
    PyObject *boot = boot_dict(args);
    PyObject *archive = PyBytes_FromStringAndSize(args->archive, (Py_ssize_t)args->archive_size);
    PyObject *origin = PyUnicode_DecodeFSDefault(args->origin);
    PyObject *session = NULL;
    if (boot != NULL && archive != NULL && origin != NULL) {
        session = PyObject_CallMethod(module, "start", "OOOO", instance->object, archive, boot, origin);
    }
    Py_XDECREF(boot);
    Py_XDECREF(archive);
    Py_XDECREF(origin);
    return session;
}

/* Python's part of `open`. `local` is NULL for a plugin in an archive. Needs the GIL. Returns 0, or -1 with an exception
 * set. */
static int start_session(nrpy_instance *instance, const nrpy_open_args *args, const nrpy_local *local) {
    if (nrpy_names_load() != 0) {
        return -1;
    }
    instance->object = nrpy_instance_object_new(instance);
    PyObject *module = instance->object != NULL ? PyImport_ImportModule("nylon_ring_py._session") : NULL;
    if (module != NULL) {
        instance->session = local != NULL
                                ? PyObject_CallMethod(module, "start_local", "OO", instance->object, local->plugin)
                                : session_from_archive(instance, module, args);
    }
    Py_XDECREF(module);
    nrpy_author_returned(instance->session);
    if (instance->session == NULL || read_session(instance) != 0) {
        return -1;
    }
    if (instance->loop_count > 0) {
        nrpy_clock_listen(nrpy_instance_wake_loops);
        if (nrpy_names_load_asyncio() != 0) {
            return -1;
        }
    }
    for (unsigned i = 0; i < instance->loop_count; i++) {
        if (nrpy_loop_start(&instance->loops[i]) != 0) {
            return -1;
        }
    }
    PyObject *done = PyObject_CallMethod(instance->session, "run_init", NULL);
    nrpy_author_returned(done);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

static void stop_loops_with_gil(nrpy_instance *instance) {
    PyThreadState *state = PyEval_SaveThread();
    (void)nrpy_instance_stop_loops(instance, LOOP_END_S, NULL); /* what does not end keeps the instance's memory */
    PyEval_RestoreThread(state);
}

/* With Python started: loads the plugin, with a frame that keeps other calls' replies off this thread. */
static NrStatus load(nrpy_instance *instance, const nrpy_open_args *args, nrpy_local *local) {
    nrpy_thread *thread = nrpy_thread_self();
    nrpy_attachment attachment;
    if (thread == NULL || !nrpy_attach(&attachment, thread)) {
        snprintf(args->error, args->error_size, "no memory for a thread state");
        return NR_ERR;
    }
    nrpy_host_frame frame = {.outer = thread->frames};
    thread->frames = &frame;
    sigset_t signals; /* multiprocessing unblocks SIGINT and SIGTERM when it starts its resource tracker */
    pthread_sigmask(SIG_SETMASK, NULL, &signals);
    bool trusted = local != NULL || nrpy_trust_check(args) == 0;
    int failed = trusted ? start_session(instance, args, local) : -1;
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    if (failed != 0) {
        if (local != NULL) {
            local->exception = nrpy_take_exception();
        } else if (trusted) {
            report_exception(args); /* drops the exception, whose traceback holds the plugin's modules */
        }
        stop_loops_with_gil(instance);
        nrpy_instance_unload(instance);
        PyGC_Collect();
    }
    nrpy_detach(&attachment); /* finalizers run */
    thread->frames = frame.outer;
    return failed == 0 ? NR_OK : NR_ERR;
}

/* Where this thread's stack is too small for Python, the same on a thread of ours. */
typedef struct load_order {
    nrpy_instance *instance;
    const nrpy_open_args *args;
    nrpy_local *local;
    NrStatus status;
} load_order;

static void *run_load(void *argument) {
    load_order *order = argument;
    order->status = load(order->instance, order->args, order->local);
    return NULL;
}

static NrStatus load_on_python_stack(nrpy_instance *instance, const nrpy_open_args *args, nrpy_local *local) {
    nrpy_thread *thread = nrpy_thread_self();
    if (thread == NULL || nrpy_has_python_stack(thread)) {
        return load(instance, args, local);
    }
    load_order order = {.instance = instance, .args = args, .local = local, .status = NR_ERR};
    pthread_t id;
    int failed = nrpy_spawn(&id, run_load, &order);
    if (failed != 0) {
        snprintf(args->error, args->error_size, "no thread to load on: %s", strerror(failed));
        return NR_ERR;
    }
    pthread_join(id, NULL);
    return order.status;
}

static const NrHostExt *find_state_ext(void *host_ctx) {
    NrHostExtFn find = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, NR_HOST_EXT_SYMBOL);
    memcpy(&find, &symbol, sizeof find);
    return find != NULL ? find(host_ctx) : NULL;
}

static void warn_of_sigpipe(const char *name) {
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL) {
        fprintf(stderr,
                "nylon-ring: plugin '%s': this host leaves SIGPIPE at its default: a handler on its own thread that "
                "writes to a closed socket would end the process. Ignore the signal in the host\n",
                name);
    }
}

static NrStatus open_detached(const nrpy_open_args *args, nrpy_local *local, nrpy_instance **out) {
    if (nrpy_runtime_start(args) != 0) {
        return NR_ERR;
    }
    nrpy_instance *instance = nrpy_instance_new(args->name);
    if (instance == NULL) {
        snprintf(args->error, args->error_size, "no memory for an instance");
        return NR_ERR;
    }
    instance->host = args->host;
    instance->state_ext =
        args->host.v1.send_result != NULL ? find_state_ext(args->host.ctx) : NULL; /* ABI v2 has none */
    warn_of_sigpipe(args->name);
    NrStatus status = load_on_python_stack(instance, args, local);
    if (status == NR_OK) {
        int failed = 0;
        nrpy_pools pools = nrpy_instance_pools(instance);
        for (nrpy_pool **pool = pools.of; *pool != NULL && failed == 0; pool++) {
            failed = nrpy_pool_start(*pool);
        }
        if (failed != 0) {
            snprintf(args->error, args->error_size, "no thread for a worker: %s", strerror(failed));
            for (nrpy_pool **pool = pools.of; *pool != NULL; pool++) {
                (void)nrpy_pool_stop(*pool, NULL); /* nobody has called: they have nothing to do */
            }
            nrpy_attachment attachment;
            if (nrpy_attach(&attachment, nrpy_thread_self())) {
                stop_loops_with_gil(instance);
                nrpy_instance_unload(instance);
                nrpy_detach(&attachment);
            }
            status = NR_ERR;
        }
    }
    if (status != NR_OK) {
        atomic_store(&instance->host_gone, true);
        atomic_store(&instance->phase, NRPY_CLOSED);
        nrpy_instance_release(instance);
        return status;
    }
    nrpy_runtime_be_first_at_exit();
    nrpy_instance_list(instance);
    atomic_store(&instance->phase, NRPY_OPEN);
    *out = instance;
    return NR_OK;
}

NrStatus nrpy_instance_open_local(const nrpy_open_args *args, nrpy_local *local, nrpy_instance **out) {
    /* Whoever starts Python may hold locks we wait for: never with the GIL. Before any Python there is none to hold. */
    bool attached = false;
    if (Py_IsInitialized() && nrpy_is_alive()) {
        PyThreadState *own = PyGILState_GetThisThreadState();
        attached = own != NULL && own == nrpy_current_state();
    }
    PyThreadState *state = attached ? PyEval_SaveThread() : NULL;
    NrStatus status = open_detached(args, local, out);
    if (state != NULL) {
        PyEval_RestoreThread(state);
    }
    return status;
}

NrStatus nrpy_instance_open(const nrpy_open_args *args, nrpy_instance **out) {
    return nrpy_instance_open_local(args, NULL, out);
}
