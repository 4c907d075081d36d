#include "loop.h"

#include "call.h"
#include "clock.h"
#include "forked.h"
#include "instance.h"
#include "loop_watch.h"
#include "module.h"
#include "owned.h"
#include "runner.h"
#include "runners.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* So many items at once; then the event loop's other work gets its turn. */
enum { BATCH = 256 };

static void close_wake(nrpy_loop *loop) {
    pthread_mutex_lock(&loop->wake_lock);
    if (loop->wake_fd >= 0) {
        close(loop->wake_fd);
    }
    loop->wake_fd = -1;
    pthread_mutex_unlock(&loop->wake_lock);
}

int nrpy_loop_init(nrpy_loop *loop, nrpy_instance *instance, unsigned number, uint64_t limit, int64_t slow_ns) {
    memset(loop, 0, sizeof *loop);
    loop->instance = instance;
    loop->number = number;
    loop->slow_ns = slow_ns;
    nrpy_loop_watch_init(loop);
    sem_init(&loop->started, 0, 0);
    pthread_mutex_init(&loop->wake_lock, NULL);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        return errno;
    }
    if (!nrpy_queue_init(&loop->queue, limit)) {
        close_wake(loop);
        return ENOMEM;
    }
    return 0;
}

void nrpy_loop_destroy(nrpy_loop *loop) {
    close_wake(loop);
    pthread_mutex_destroy(&loop->wake_lock);
    nrpy_queue_destroy(&loop->queue);
    sem_destroy(&loop->started);
}

void nrpy_loop_wake(nrpy_loop *loop) {
    uint64_t one = 1;
    int64_t answered = 0;
    atomic_compare_exchange_strong(&loop->wake_sent_ns, &answered, nrpy_time_ns(CLOCK_MONOTONIC_COARSE));
    nrpy_loop_watch_begin(loop);
    pthread_mutex_lock(&loop->wake_lock);
    while (loop->wake_fd >= 0 && write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_mutex_unlock(&loop->wake_lock);
}

void nrpy_loop_cancel_all(nrpy_loop *loop) {
    atomic_store(&loop->cancelling, true);
    nrpy_loop_wake(loop);
}

/* ---- on the loop's thread ---- */

static void run_item(nrpy_item *item) {
    if (item->kind == NRPY_ITEM_CANCEL) {
        nrpy_exchange *exchange = nrpy_exchange_of_cancel(item);
        nrpy_runner_pass_cancel(exchange);
        nrpy_exchange_release(exchange);
    } else {
        nrpy_exchange *exchange = nrpy_exchange_of_inbox(item); /* nothing else comes here */
        nrpy_runner_look(exchange);
        nrpy_exchange_release(exchange);
    }
}

/* An item of this turn, the caller's, or NULL. */
static nrpy_item *take_item(nrpy_loop *loop) {
    nrpy_item *item = loop->set_aside;
    loop->set_aside = NULL;
    if (item == NULL && loop->turn_left > 0) {
        item = nrpy_queue_pop(&loop->queue);
        loop->turn_left -= item != NULL;
    }
    return item;
}

nrpy_call *nrpy_loop_take_call(nrpy_loop *loop) {
    nrpy_call *call = loop->next_call;
    loop->next_call = NULL;
    nrpy_item *item = call == NULL ? take_item(loop) : NULL;
    if (item != NULL && item->kind == NRPY_ITEM_CALL) {
        call = (nrpy_call *)(void *)item;
    } else {
        loop->set_aside = item != NULL ? item : loop->set_aside; /* it is for nobody who is in a task */
    }
    return call;
}

/* Runs what is queued. Returns whether more may be there. */
static bool drain_queue(nrpy_loop *loop) {
    loop->turn_left = BATCH;
    while (loop->turn_left > 0 || loop->set_aside != NULL) {
        nrpy_item *item = take_item(loop);
        if (item == NULL) {
            if (atomic_exchange(&loop->armed, true)) {
                loop->turn_left = 0; /* who looks for a call without being woken finds none */
                return false;
            }
            /* A producer that has not seen us armed has put its item in by now. */
            atomic_thread_fence(memory_order_seq_cst);
        } else if (item->kind == NRPY_ITEM_CALL) {
            loop->next_call = (nrpy_call *)(void *)item;
            nrpy_runners_begin(loop);
        } else {
            run_item(item);
        }
    }
    return true;
}

static void acknowledge(nrpy_loop *loop) {
    uint64_t count;
    while (read(loop->wake_fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
    atomic_store_explicit(&loop->wake_sent_ns, 0, memory_order_relaxed);
}

static nrpy_loop *loop_in(PyObject *feed);

/* What the event loop calls when the eventfd is readable. */
static PyObject *feed_drain(PyObject *feed, PyObject *ignored) {
    (void)ignored;
    nrpy_loop *loop = loop_in(feed);
    nrpy_author_returned(Py_None); /* a child has the descriptor too, and must not read it */
    acknowledge(loop);
    if (loop->event_loop == NULL) {
        Py_RETURN_NONE;
    }
    if (atomic_exchange(&loop->cancelling, false)) {
        nrpy_runners_cancel(loop);
    }
    if (drain_queue(loop)) {
        nrpy_loop_wake(loop);
    }
    nrpy_owned_drop_plain();
    if (!atomic_load(&loop->stopping)) {
        Py_RETURN_NONE;
    }
    PyObject *stopped = PyObject_CallMethod(loop->event_loop, "stop", NULL);
    if (stopped == NULL) {
        nrpy_loop_wake(loop); /* no memory for it: nobody else comes back for this */
    }
    return stopped;
}

/* ---- the feed: what the session's part in Python sees of it ---- */

typedef struct {
    PyObject_HEAD
    nrpy_loop *loop; /* its instance is kept by the thread */
} loop_feed;

static nrpy_loop *loop_in(PyObject *feed) {
    return ((loop_feed *)feed)->loop;
}

static PyObject *feed_fileno(PyObject *feed, PyObject *ignored) {
    (void)ignored;
    return PyLong_FromLong(loop_in(feed)->wake_fd);
}

static PyObject *feed_bind(PyObject *feed, PyObject *event_loop) {
    nrpy_loop *loop = loop_in(feed);
    loop->event_loop = Py_NewRef(event_loop);
    atomic_store(&loop->armed, true);
    sem_post(&loop->started);
    Py_RETURN_NONE;
}

static PyObject *feed_dismiss(PyObject *feed, PyObject *ignored) {
    (void)ignored;
    nrpy_runners_dismiss(loop_in(feed));
    Py_RETURN_NONE;
}

static PyObject *feed_get_number(PyObject *feed, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLong(loop_in(feed)->number);
}

static PyObject *feed_get_stopping(PyObject *feed, void *closure) {
    (void)closure;
    return PyBool_FromLong(atomic_load(&loop_in(feed)->stopping));
}

static PyMethodDef methods[] = {
    {"drain", feed_drain, METH_NOARGS, "Begins the calls that are queued."},
    {"fileno", feed_fileno, METH_NOARGS, "The descriptor that is readable when drain() is to be called."},
    {"dismiss", feed_dismiss, METH_NOARGS, "Ends the tasks that wait for a call."},
    {"bind", feed_bind, METH_O, "The event loop is there, and about to run."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fields[] = {
    {"number", feed_get_number, NULL, "Which of the plugin's loops it is, from 0.", NULL},
    {"stopping", feed_get_stopping, NULL, "Whether the event loop is to end.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject nrpy_loop_feed_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "nylon_ring_py._core.LoopFeed",
    .tp_doc = "What feeds an event loop with calls.",
    .tp_basicsize = sizeof(loop_feed),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = methods,
    .tp_getset = fields,
};

/* ---- the thread ---- */

static PyObject *run_session_loop(nrpy_loop *loop) {
    loop_feed *feed = PyObject_New(loop_feed, &nrpy_loop_feed_type);
    if (feed == NULL) {
        return NULL;
    }
    feed->loop = loop;
    PyObject *session = Py_XNewRef(loop->instance->session);
    PyObject *done = PyObject_CallMethod(session, "run_loop", "O", feed);
    Py_XDECREF(session);
    Py_DECREF(feed);
    return done;
}

static void *run_thread(void *argument) {
    nrpy_loop *loop = argument;
    nrpy_instance *instance = loop->instance;
    nrpy_thread *thread = nrpy_thread_self();
    nrpy_attachment attachment;
    if (thread != NULL && nrpy_attach(&attachment, thread)) {
        thread->runs_loop = true;
        atomic_store(&loop->thread, thread);
        PyObject *done = run_session_loop(loop);
        if (done == NULL && loop->event_loop == NULL) {
            loop->failure = nrpy_take_exception();
        } else if (done == NULL) {
            PyErr_WriteUnraisable(NULL);
        }
        Py_XDECREF(done);
        Py_CLEAR(loop->event_loop);
        thread->runs_loop = false;
        nrpy_detach(&attachment);
        nrpy_block_flush(&thread->blocks);
    }
    close_wake(loop);
    atomic_store(&loop->has_ended, true);
    sem_post(&loop->started); /* where it has not come to that */
    nrpy_instance_release(instance);
    return NULL;
}

int nrpy_loop_start(nrpy_loop *loop) {
    nrpy_instance_retain(loop->instance);
    int failed = nrpy_spawn(&loop->id, run_thread, loop);
    if (failed != 0) {
        nrpy_instance_release(loop->instance);
        errno = failed;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    loop->is_running = true;
    PyThreadState *state = PyEval_SaveThread();
    while (sem_wait(&loop->started) != 0) {
    }
    PyEval_RestoreThread(state);
    if (!atomic_load(&loop->has_ended)) {
        return 0;
    }
    if (loop->failure != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(loop->failure), loop->failure);
        Py_CLEAR(loop->failure);
    } else {
        PyErr_SetString(PyExc_MemoryError, "no memory for the thread of an event loop");
    }
    return -1;
}

void nrpy_loop_stop(nrpy_loop *loop) {
    if (loop->is_running) {
        atomic_store(&loop->stopping, true);
        nrpy_loop_wake(loop);
        nrpy_loop_watch_stop(loop);
    }
}

void nrpy_loop_leave(nrpy_loop *loop) {
    if (loop->is_running) {
        loop->is_running = false;
        pthread_detach(loop->id);
    }
}

bool nrpy_loop_join(nrpy_loop *loop, double seconds) {
    if (!loop->is_running) {
        close_wake(loop);
        return true;
    }
    bool ended = nrpy_join_within(loop->id, seconds);
    if (ended) {
        loop->is_running = false;
    } else {
        nrpy_loop_leave(loop);
    }
    return ended;
}
