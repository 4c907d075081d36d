#include "reply.h"

#include "body.h"
#include "exchange.h"
#include "forked.h"
#include "host.h"
#include "module.h"
#include "owned.h"
#include "running.h"
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the host's side ---- */

bool nrpy_visit_begin(nrpy_visit *visit, nrpy_instance *instance) {
    nrpy_thread *thread = nrpy_thread_self();
    atomic_fetch_add(&instance->visitors, 1);
    if (thread == NULL || atomic_load(&instance->host_gone)) {
        atomic_fetch_sub(&instance->visitors, 1);
        return false;
    }
    visit->instance = instance;
    visit->exchange = NULL;
    visit->outer = thread->visits;
    thread->visits = visit;
    return true;
}

void nrpy_visit_end(nrpy_visit *visit) {
    /* The first, unless the host has fibers: then a visit may end before one that began later on the same thread. */
    nrpy_visit **link = &nrpy_thread_cached->visits;
    while (*link != visit) {
        link = &(*link)->outer;
    }
    *link = visit->outer;
    atomic_fetch_sub(&visit->instance->visitors, 1);
}

void nrpy_host_answer_long(nrpy_instance *instance, uint64_t sid, nrpy_reply *reply) {
    /* Only what nobody can change may be left with the host: a bytes object, or a str. */
    if (reply->owner == NULL || instance->host.v2.send_result_owned == NULL) {
        nrpy_host_answer(instance, sid, reply->status, reply->bytes, reply->length);
        return;
    }
    nrpy_state_drop(&instance->state, sid);
    nrpy_owned_bytes payload = {.object = reply->owner, .bytes = reply->bytes, .length = reply->length};
    bool kept;
    nrpy_delivery delivery = nrpy_owned_send(&instance->host, sid, reply->status, &payload, &kept);
    if (kept) {
        reply->owner = NULL;
    } else if (delivery == NRPY_HELD_BACK) {
        nrpy_exchange_hold_reply(instance, sid, reply->status, reply->bytes, reply->length);
    }
}

bool nrpy_may_send(const nrpy_thread *thread, const nrpy_instance *instance, uint64_t sid) {
    const nrpy_host_frame *frame = thread->frames;
    return frame == NULL || (frame->has_call && frame->instance == instance && frame->sid == sid);
}

void nrpy_refuse_late(nrpy_instance *instance, uint64_t sid, const char *text) {
    nrpy_visit visit;
    if (nrpy_visit_begin(&visit, instance)) {
        nrpy_host_answer(instance, sid, NR_ERR, text, strlen(text));
        nrpy_visit_end(&visit);
    }
}

/* ---- answers from elsewhere ---- */

void nrpy_post_deliver(nrpy_instance *instance, nrpy_post *post) {
    nrpy_visit visit;
    if (nrpy_visit_begin(&visit, instance)) {
        nrpy_host_answer(instance, post->sid, post->status, post->bytes, post->length);
        nrpy_visit_end(&visit);
    }
    free(post);
}

static nrpy_post *new_post(uint64_t sid, NrStatus status, const void *bytes, uint64_t length) {
    nrpy_post *made = malloc(sizeof *made + length);
    if (made != NULL) {
        made->item.kind = NRPY_ITEM_POST;
        made->sid = sid;
        made->status = status;
        made->length = length;
        if (length > 0) {
            memcpy(made->bytes, bytes, length);
        }
    }
    return made;
}

static void post(nrpy_instance *instance, nrpy_post *made) {
    if (nrpy_lane_push(&instance->workers, &made->item, false) == NRPY_PUSHED) {
        return;
    }
    nrpy_item *newest = atomic_load(&instance->late_posts);
    do {
        made->item.next = newest;
    } while (!atomic_compare_exchange_weak(&instance->late_posts, &newest, &made->item));
}

/* Claims the call if this thread runs it now. Needs the GIL: the thread does not go on to another call meanwhile. */
static bool claim(nrpy_thread *thread, nrpy_instance *instance, uint64_t sid) {
    return nrpy_running_is_open(thread, instance, sid) && nrpy_running_claim(thread, NRPY_TAKEN);
}

static bool claim_anywhere(nrpy_thread *self, nrpy_instance *instance, uint64_t sid) {
    bool claimed = claim(self, instance, sid); /* most often a handler answers for itself */
    for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL && !claimed; thread = thread->next) {
        claimed = claim(thread, instance, sid);
    }
    return claimed;
}

int nrpy_answer_running(nrpy_instance *instance, uint64_t sid, const nrpy_reply *reply) {
    nrpy_before_host();
    nrpy_thread *self = nrpy_thread_self();
    bool may_send = self != NULL && nrpy_may_send(self, instance, sid);
    nrpy_post *made = self != NULL && !may_send ? new_post(sid, reply->status, reply->bytes, reply->length) : NULL;
    if (!may_send && made == NULL) {
        return -1; /* before the call is claimed: whoever claims it owes the answer */
    }
    nrpy_visit visit; /* before the claim too: with the host gone, the answer would be nobody's */
    if (!nrpy_visit_begin(&visit, instance)) {
        free(made);
        return 0;
    }
    bool claimed = claim_anywhere(self, instance, sid);
    if (!claimed) {
        free(made);
        nrpy_visit_end(&visit);
        return 0;
    }
    PyThreadState *state = PyEval_SaveThread();
    if (made != NULL) {
        post(instance, made);
    } else {
        nrpy_host_answer(instance, sid, reply->status, reply->bytes, reply->length);
    }
    nrpy_visit_end(&visit);
    nrpy_back_from_host(state);
    return 1;
}

bool nrpy_is_sid_open(nrpy_instance *instance, uint64_t sid) {
    nrpy_exchange *exchange = nrpy_registry_find(&instance->registry, sid);
    if (exchange != NULL) {
        bool open = !nrpy_exchange_has_ended(exchange);
        nrpy_exchange_release(exchange);
        return open;
    }
    for (nrpy_thread *thread = nrpy_thread_first(); thread != NULL; thread = thread->next) {
        if (nrpy_running_is_open(thread, instance, sid)) {
            return true;
        }
    }
    return false;
}

/* ---- from Python objects ---- */

void nrpy_reply_clear(nrpy_reply *reply) {
    if (reply->view.obj != NULL) {
        PyBuffer_Release(&reply->view);
    }
    Py_CLEAR(reply->owner);
}

/* Fills bytes and length from plain data. Returns 1, 0 where `data` is of no type that can be sent, or -1 raising. */
static int take_data(nrpy_reply *reply, PyObject *data) {
    if (PyBytes_Check(data)) {
        reply->bytes = PyBytes_AS_STRING(data);
        reply->length = (uint64_t)PyBytes_GET_SIZE(data);
        reply->owner = Py_NewRef(data);
        return 1;
    }
    if (data == Py_None) {
        reply->bytes = "";
        reply->length = 0;
        return 1;
    }
    if (PyUnicode_Check(data)) {
        Py_ssize_t length;
        reply->bytes = PyUnicode_AsUTF8AndSize(data, &length);
        if (reply->bytes == NULL) {
            return -1;
        }
        reply->length = (uint64_t)length;
        reply->owner = Py_NewRef(data);
        return 1;
    }
    if (nrpy_is_body(data)) {
        reply->owner = nrpy_body_bytes(data); /* whose call may end before this is sent */
        if (reply->owner == NULL) {
            return -1;
        }
        reply->bytes = PyBytes_AS_STRING(reply->owner);
        reply->length = (uint64_t)PyBytes_GET_SIZE(reply->owner);
        return 1;
    }
    if (PyByteArray_Check(data) || PyMemoryView_Check(data)) {
        PyObject *flat = PyMemoryView_GetContiguous(data, PyBUF_READ, 'C');
        if (flat == NULL) {
            return -1;
        }
        int failed = PyObject_GetBuffer(flat, &reply->view, PyBUF_SIMPLE);
        Py_DECREF(flat);
        if (failed != 0) {
            return -1;
        }
        reply->bytes = reply->view.buf;
        reply->length = (uint64_t)reply->view.len;
        return 1;
    }
    return 0;
}

static PyObject *response_type; /* NULL until its module is imported: there is no instance then. The GIL guards it. */

PyObject *nrpy_take_response_type(PyObject *module, PyObject *type) {
    (void)module;
    if (response_type == NULL) { /* a module that is imported once more must not take the others' Response away */
        response_type = Py_NewRef(type);
    }
    Py_RETURN_NONE;
}

/* Returns 1, 0 or -1 as take_data does. */
static int take_response(nrpy_reply *reply, PyObject *response) {
    PyObject *data = PyObject_GetAttr(response, nrpy_names.data);
    PyObject *status = data != NULL ? PyObject_GetAttr(response, nrpy_names.status) : NULL;
    int result = -1;
    if (status != NULL) {
        int number = nrpy_status_from(status);
        if (number >= 0) {
            reply->status = (NrStatus)number;
            result = take_data(reply, data);
        }
    }
    Py_XDECREF(data);
    Py_XDECREF(status);
    return result;
}

static int take_value(nrpy_reply *reply, PyObject *value) {
    int is_response = response_type != NULL ? PyObject_IsInstance(value, response_type) : 0;
    if (is_response < 0) {
        return -1;
    }
    return is_response ? take_response(reply, value) : take_data(reply, value);
}

static void set_type_error(PyObject *value) {
    PyErr_Format(PyExc_TypeError, "cannot send %.100s: return bytes, bytearray, memoryview, str, None or a Response",
                 Py_TYPE(value)->tp_name);
}

int nrpy_reply_from_data(nrpy_reply *reply, PyObject *data, int status) {
    memset(reply, 0, sizeof *reply);
    int taken = take_value(reply, data);
    if (taken == 0) {
        set_type_error(data);
    }
    if (taken <= 0) {
        nrpy_reply_clear(reply);
        return -1;
    }
    if (status >= 0) {
        reply->status = (NrStatus)status;
    }
    return 0;
}

/* Where even the description of a failure fails: the exception's type is all that can be said. */
static void describe_by_type(nrpy_reply *reply, PyObject *exception) {
    PyErr_Clear();
    reply->status = NR_ERR;
    reply->owner = PyUnicode_FromString(Py_TYPE(exception)->tp_name);
    Py_ssize_t length = 0;
    reply->bytes = reply->owner != NULL ? PyUnicode_AsUTF8AndSize(reply->owner, &length) : NULL;
    reply->length = reply->bytes != NULL ? (uint64_t)length : 0;
    PyErr_Clear();
}

static void log_failure(const nrpy_source *source, PyObject *exception) {
    nrpy_instance *instance = source->instance;
    PyObject *logged = NULL;
    if (instance->session != NULL) {
        PyObject *session = Py_NewRef(instance->session);
        /* 3.11 knows no "%.*s" and would copy it. */
        PyObject *name = PyUnicode_FromStringAndSize(source->name, source->name_length);
        PyObject *where = name != NULL ? PyUnicode_FromFormat("%s '%U'", source->kind, name) : NULL;
        Py_XDECREF(name);
        if (where != NULL) {
            logged =
                PyObject_CallMethod(session, "log_exception", "OKO", where, (unsigned long long)source->sid, exception);
            Py_DECREF(where);
        }
        Py_DECREF(session);
    }
    if (logged == NULL) {
        PyErr_Clear();
        fprintf(stderr, "nylon-ring: plugin '%s': %s '%.*s' raised %s, and its log failed\n", instance->name,
                source->kind, source->name_length, source->name, Py_TYPE(exception)->tp_name);
    }
    Py_XDECREF(logged);
}

static void describe(nrpy_reply *reply, const nrpy_source *source, PyObject *exception) {
    PyObject *pair = NULL;
    if (source->instance->session != NULL) {
        pair = PyObject_CallMethod(source->instance->session, "describe_exception", "O", exception);
    }
    if (pair != NULL && PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 &&
        PyBytes_Check(PyTuple_GET_ITEM(pair, 1))) {
        long status = PyLong_AsLong(PyTuple_GET_ITEM(pair, 0));
        if (status > NR_OK && status < NR_STREAM_END) {
            reply->status = (NrStatus)status;
            if (take_data(reply, PyTuple_GET_ITEM(pair, 1)) == 1) {
                Py_DECREF(pair);
                return;
            }
        }
    }
    Py_XDECREF(pair);
    describe_by_type(reply, exception);
}

/* Takes the exception that is set. */
static void from_exception(nrpy_reply *reply, const nrpy_source *source) {
    PyObject *exception = nrpy_take_exception();
    describe(reply, source, exception);
    if (!PyErr_GivenExceptionMatches(exception, nrpy_names.handler_error)) {
        log_failure(source, exception);
    }
    Py_DECREF(exception);
    PyErr_Clear();
}

void nrpy_reply_make(nrpy_reply *reply, const nrpy_source *source, PyObject *result) {
    if (nrpy_reply_take_bytes(reply, result)) {
        return;
    }
    reply->status = NR_OK;
    reply->owner = NULL;
    reply->view.obj = NULL;
    if (result != NULL) {
        int taken = take_value(reply, result);
        if (taken == 0) {
            set_type_error(result);
        }
        Py_DECREF(result);
        if (taken == 1) {
            return;
        }
        nrpy_reply_clear(reply);
    }
    from_exception(reply, source);
}
