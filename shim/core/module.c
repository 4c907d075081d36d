#include "module.h"

#include "body.h"
#include "call_object.h"
#include "callback.h"
#include "children.h"
#include "clock.h"
#include "dispatch.h"
#include "entries.h"
#include "fake_host.h"
#include "forked.h"
#include "headers.h"
#include "instance.h"
#include "instance_object.h"
#include "loop.h"
#include "main_thread.h"
#include "reply.h"
#include "request.h"
#include "runner.h"
#include "runtime.h"
#include "stream_internal.h"
#include "stream_object.h"
#include "streams.h"
#include "task_type.h"
#include "waiter.h"

#include <dlfcn.h>

/* ---- what the stubs see ---- */

#ifdef Py_GIL_DISABLED
#define FREE_THREADED 1
#else
#define FREE_THREADED 0
#endif

__attribute__((visibility("default"))) nrpy_core_table nrpy_core_table_ = {
    .magic = NRPY_CORE_MAGIC,
    .struct_size = sizeof(nrpy_core_table),
    .py_version_hex = PY_VERSION_HEX,
    .free_threaded = FREE_THREADED,
    .major = NRPY_CORE_MAJOR,
    .minor = NRPY_CORE_MINOR,
    .core_path = NULL,
    .open = nrpy_instance_open,
    .handle = nrpy_handle,
    .resolve_entry = nrpy_resolve_entry,
    .handle_by_id = nrpy_handle_by_id,
    .stream_data = nrpy_stream_data,
    .stream_close = nrpy_stream_close,
    .close = nrpy_instance_close,
    .abandon = nrpy_instance_abandon,
};

__attribute__((constructor)) static void note_own_path(void) {
    Dl_info self;
    if (dladdr(&nrpy_core_table_, &self) != 0) {
        nrpy_core_table_.core_path = self.dli_fname;
    }
}

/* ---- what the core uses of the package ---- */

nrpy_python_names nrpy_names;

static PyObject *attribute_of(const char *module_name, const char *attribute) {
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *value = module != NULL ? PyObject_GetAttrString(module, attribute) : NULL;
    Py_XDECREF(module);
    return value;
}

/* The package this process imports must hold the very core that runs, or two cores would share one interpreter. */
static int check_same_core(void) {
    PyObject *image = attribute_of("nylon_ring_py._core", "_image");
    void *address = image != NULL ? PyLong_AsVoidPtr(image) : NULL;
    Py_XDECREF(image);
    if (address == &nrpy_core_table_) {
        return 0;
    }
    if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_ImportError,
                     "this Python imports another copy of nylon_ring_py than the one whose core runs (%s); use one "
                     "environment for all plugins",
                     nrpy_core_table_.core_path);
    }
    return -1;
}

int nrpy_names_load(void) {
    if (nrpy_names.state_type != NULL) {
        return 0;
    }
    if (check_same_core() != 0) {
        return -1;
    }
    nrpy_python_names names = {
        .data = PyUnicode_InternFromString("data"),
        .status = PyUnicode_InternFromString("status"),
        .handler_error = attribute_of("nylon_ring_py.errors", "HandlerError"),
        .call_ended_error = attribute_of("nylon_ring_py.errors", "CallEndedError"),
        .stream_full_error = attribute_of("nylon_ring_py.errors", "StreamFullError"),
        .request_module = PyImport_ImportModule("nylon_ring_py.request"),
        .state_type = attribute_of("nylon_ring_py.state", "State"),
        .call_variable = PyContextVar_New("nylon_ring_call", NULL),
        .no_wait = nrpy_stream_wait_new(NULL, NRPY_WAIT_NOTHING, NULL),
    };
    if (PyErr_Occurred()) {
        return -1;
    }
    nrpy_names = names;
    return 0;
}

/* A tuple of interned names. New reference, or NULL with an exception set. */
static PyObject *keywords_of_task(void) {
    static const char *const names[] = {
        "loop",
        "name",
        "context",
#if PY_VERSION_HEX >= 0x030c0000
        "eager_start",
#endif
    };
    Py_ssize_t count = (Py_ssize_t)(sizeof names / sizeof names[0]);
    PyObject *keywords = PyTuple_New(count);
    for (Py_ssize_t i = 0; keywords != NULL && i < count; i++) {
        PyObject *name = PyUnicode_InternFromString(names[i]);
        if (name == NULL) {
            Py_CLEAR(keywords);
        } else {
            PyTuple_SET_ITEM(keywords, i, name);
        }
    }
    return keywords;
}

int nrpy_names_load_asyncio(void) {
    if (nrpy_names.task_type != NULL) {
        return 0;
    }
    PyObject *keywords = keywords_of_task();
    PyObject *no_name = PyUnicode_FromString("");
    PyObject *context = Py_BuildValue("(s)", "context");
    PyObject *cancelled = attribute_of("asyncio", "CancelledError");
    PyObject *base = attribute_of("asyncio", "Task");
    PyObject *task = base != NULL ? nrpy_task_type_new(base) : NULL;
    Py_XDECREF(base);
    if (keywords == NULL || no_name == NULL || context == NULL || cancelled == NULL || task == NULL) {
        Py_XDECREF(keywords);
        Py_XDECREF(no_name);
        Py_XDECREF(context);
        Py_XDECREF(cancelled);
        Py_XDECREF(task);
        return -1;
    }
    nrpy_names.task_keywords = keywords;
    nrpy_names.no_name = no_name;
    nrpy_names.context_keyword = context;
    nrpy_names.cancelled_error = cancelled;
    nrpy_names.task_type = task;
    return 0;
}

PyObject *nrpy_call_helper(const char *helper, PyObject *argument) {
    /* An author's test makes requests where no plugin was ever loaded. */
    PyObject *module = nrpy_names.request_module != NULL ? Py_NewRef(nrpy_names.request_module)
                                                         : PyImport_ImportModule("nylon_ring_py.request");
    PyObject *result = module != NULL ? PyObject_CallMethod(module, helper, "(O)", argument) : NULL;
    Py_XDECREF(module);
    return result;
}

PyObject *nrpy_make_state(PyObject *instance, uint64_t sid) {
    PyObject *type =
        nrpy_names.state_type != NULL ? Py_NewRef(nrpy_names.state_type) : attribute_of("nylon_ring_py.state", "State");
    PyObject *state = type != NULL ? PyObject_CallFunction(type, "OK", instance, (unsigned long long)sid) : NULL;
    Py_XDECREF(type);
    return state;
}

/* ---- the module ---- */

static PyObject *clock_seconds(PyObject *self, PyObject *ignored) {
    (void)self;
    (void)ignored;
    return PyFloat_FromDouble((double)nrpy_clock_ns() / 1e9);
}

static PyObject *runs_python(PyObject *self, PyObject *ignored) {
    (void)self;
    (void)ignored;
    return PyBool_FromLong(nrpy_runtime_is_ours());
}

static PyMethodDef functions[] = {
    {"current_call", nrpy_current_call, METH_NOARGS, "current_call() -> Call: the call this thread or task works for."},
    {"call_on_main_thread", nrpy_call_on_main_thread, METH_O,
     "call_on_main_thread(function): what it returns or raises there; None: it runs later."},
    {"runs_python", runs_python, METH_NOARGS, "runs_python() -> bool: whether the core has started this Python."},
    {"take_response_type", nrpy_take_response_type, METH_O, "take_response_type(type): what says its own status."},
    {"handler_left", nrpy_handler_left, METH_NOARGS, "handler_left(): ends a child of fork that a handler has left."},
    {"fork_exec", nrpy_fork_exec, METH_VARARGS,
     "fork_exec(*args) -> int: _posixsubprocess's, with the host's signals."},
    {"clock", clock_seconds, METH_NOARGS, "clock() -> float: the time in seconds that deadlines are kept by."},
    {NULL, NULL, 0, NULL},
};

static int add_types(PyObject *module) {
    PyTypeObject *types[] = {&nrpy_request_type,   &nrpy_callback_type,    &nrpy_instance_type, &nrpy_call_type,
                             &nrpy_stream_type,    &nrpy_stream_wait_type, &nrpy_waiter_type,   &nrpy_runner_type,
                             &nrpy_loop_feed_type, &nrpy_fake_host_type,   &nrpy_body_type,     &nrpy_headers_type};
    if (nrpy_request_types_ready() != 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (PyModule_AddType(module, types[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

static int fill_module(PyObject *module) {
    /* Py_mod_multiple_interpreters, below, is new in 3.12, and looked at by isolated interpreters only. */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "module nylon_ring_py._core does not support loading in subinterpreters: its "
                        "types and the runtime are the process's; import it in the main interpreter");
        return -1;
    }
    if (add_types(module) != 0 || PyModule_AddIntConstant(module, "SYNC", NRPY_SYNC) != 0 ||
        PyModule_AddIntConstant(module, "RAW", NRPY_RAW) != 0 ||
        PyModule_AddIntConstant(module, "GENERATOR", NRPY_GENERATOR) != 0 ||
        PyModule_AddIntConstant(module, "STREAM", NRPY_STREAM) != 0 ||
        PyModule_AddIntConstant(module, "CALLBACK", NRPY_CALLBACK) != 0 ||
        PyModule_AddIntConstant(module, "ASYNC", NRPY_ASYNC) != 0 ||
        PyModule_AddIntConstant(module, "DUPLEX", NRPY_DUPLEX) != 0 ||
        PyModule_AddIntConstant(module, "BORROW", NRPY_BORROW) != 0) {
        return -1;
    }
    PyObject *image = PyLong_FromVoidPtr(&nrpy_core_table_);
    int failed = image == NULL || PyModule_AddObjectRef(module, "_image", image) != 0;
    Py_XDECREF(image);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)fill_module},
#if PY_VERSION_HEX >= 0x030c0000
    /* The types and the one runtime are the process's: an interpreter of its own cannot have them. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nylon_ring_py._core",
    .m_doc = "The compiled part of nylon_ring_py.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&definition);
}
