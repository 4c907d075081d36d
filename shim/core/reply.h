/*
 * How replies leave: made of what handlers return, sent to the host, and protected from shutdown meanwhile.
 */
#ifndef NRPY_REPLY_H
#define NRPY_REPLY_H

#include "host.h"
#include "instance.h"
#include "threads.h"

/* What a handler's result comes to: bytes to send, and what keeps them alive. */
typedef struct nrpy_reply {
    NrStatus status;
    const void *bytes; /* borrowed from `owner` or `view` */
    uint64_t length;
    PyObject *owner; /* owned; may be NULL */
    Py_buffer view;  /* `view.obj` is NULL where none is held */
} nrpy_reply;

/* Where a result came from, for messages: "entry 'name'". */
typedef struct nrpy_source {
    nrpy_instance *instance;
    const char *kind;
    const char *name;
    int name_length;
    uint64_t sid;
} nrpy_source;

/*
 * From what Python code returned, or from the exception that is set where `result` is NULL. Takes `result`. Always gives
 * a reply: a failure becomes one, and goes to the plugin's log. Needs the GIL; leaves no exception set.
 */
void nrpy_reply_make(nrpy_reply *reply, const nrpy_source *source, PyObject *result);

/* The usual case of it: bytes. Takes `result` where it returns true; else it is another thing's, or there is none. */
static inline bool nrpy_reply_take_bytes(nrpy_reply *reply, PyObject *result) {
    if (__builtin_expect(result == NULL || !PyBytes_CheckExact(result), 0)) {
        return false;
    }
    reply->status = NR_OK;
    reply->bytes = PyBytes_AS_STRING(result);
    reply->length = (uint64_t)PyBytes_GET_SIZE(result);
    reply->owner = result;
    reply->view.obj = NULL;
    return true;
}

/* The same for a value that an author sends, raising instead. Borrows `data`. `status` comes from nrpy_status_from; -1: that
 * of a Response, else Ok. Returns 0 or -1. */
int nrpy_reply_from_data(nrpy_reply *reply, PyObject *data, int status);

/* take_response_type(type): what of that type is returned or sent says its status. Its module calls it. */
PyObject *nrpy_take_response_type(PyObject *module, PyObject *type);

/* Drops what the reply holds. Needs the GIL. */
void nrpy_reply_clear(nrpy_reply *reply);

/* Rundown protection: false once the host is gone. While a visit is open, shutdown waits, unless it runs inside it. */
bool nrpy_visit_begin(nrpy_visit *visit, nrpy_instance *instance);
void nrpy_visit_end(nrpy_visit *visit);

/* Keeps the reply of a plain unary call that the host has no room for, until it has. */
void nrpy_exchange_hold_reply(nrpy_instance *instance, uint64_t sid, NrStatus status, const void *bytes,
                              uint64_t length);

/* Sends the one reply of a unary call; it is kept where the host has no room for it. Protected by a visit, or by the
 * caller's running slot. Must not hold the GIL. */
static inline void nrpy_host_answer(nrpy_instance *instance, uint64_t sid, NrStatus status, const void *bytes,
                                    uint64_t length) {
    nrpy_state_drop(&instance->state, sid);
    NrBytes payload = {.ptr = bytes, .len = length};
    if (__builtin_expect(nrpy_host_deliver(&instance->host, sid, status, payload) == NRPY_HELD_BACK, 0)) {
        nrpy_exchange_hold_reply(instance, sid, status, bytes, length);
    }
}

/* Shorter replies are copied sooner than handed over and taken back: docs/adr/0011. */
enum { NRPY_OWNED_MIN = 8 * 1024 };

/* The same for what a handler returned: a long one goes out without a copy, where the host can keep it. Its object is
 * then the host's, and no longer the reply's. */
void nrpy_host_answer_long(nrpy_instance *instance, uint64_t sid, nrpy_reply *reply);

static inline void nrpy_host_answer_reply(nrpy_instance *instance, uint64_t sid, nrpy_reply *reply) {
    if (__builtin_expect(reply->length < NRPY_OWNED_MIN, 1)) {
        nrpy_host_answer(instance, sid, reply->status, reply->bytes, reply->length);
    } else {
        nrpy_host_answer_long(instance, sid, reply);
    }
}

/* Whether this thread may send for `sid` now: no host waits below it for another call. */
bool nrpy_may_send(const nrpy_thread *thread, const nrpy_instance *instance, uint64_t sid);

/*
 * Answers the unary call that runs on some thread under `sid`, if one does: claims it and sends, here or by a worker.
 * Needs the GIL, and gives it up while it sends. Returns 1, 0 where there was none, or -1 without memory: then nothing
 * has happened.
 */
int nrpy_answer_running(nrpy_instance *instance, uint64_t sid, const nrpy_reply *reply);

/* Whether a call with `sid` has begun and has not had its terminal reply. */
bool nrpy_is_sid_open(nrpy_instance *instance, uint64_t sid);

/* A reply for the sid of a call that is already claimed, kept until a worker sends it. */
typedef struct nrpy_post {
    nrpy_item item;
    uint64_t sid;
    NrStatus status;
    uint64_t length;
    unsigned char bytes[];
} nrpy_post;

/* Sends and frees it. Must not hold the GIL. */
void nrpy_post_deliver(nrpy_instance *instance, nrpy_post *post);

/* Sends Err with `text` for a call that never started. */
void nrpy_refuse_late(nrpy_instance *instance, uint64_t sid, const char *text);

#endif /* NRPY_REPLY_H */
