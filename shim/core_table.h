/*
 * What stub and core agree on: the table of functions the core exports, and what the stub hands it.
 *
 * The first core in a process wins: its table is a global symbol, and every later stub finds that one. So
 * NRPY_CORE_SYMBOL and the first five fields of the table keep their names, places and meanings for ever.
 */
#ifndef NRPY_CORE_TABLE_H
#define NRPY_CORE_TABLE_H

#include "abi/nylon_ring_v1.h"
#include "abi/nylon_ring_v2.h"
#include "sha256.h"

#include <stddef.h>
#include <stdint.h>

#define NRPY_CORE_SYMBOL "nrpy_core_table"
#define NRPY_CORE_MAGIC 0x6e72707963303176u /* "nrpyc01v" */

/* Stub and core work together when the majors are equal and the core's minor is not below the stub's. */
#define NRPY_CORE_MAJOR 2u
#define NRPY_CORE_MINOR 3u

/* The variable that names the public keys of those whose plugins are taken: stub and core both look. */
#define NRPY_TRUSTED_KEYS "NYLON_RING_TRUSTED_KEYS"

typedef struct nrpy_instance nrpy_instance;

/* Whom an instance answers. The functions of one ABI are set. Copies: the released host of ABI v2 frees its table while
 * streams of a plugin go on. */
typedef struct nrpy_host {
    void *ctx;
    NrHostVTable v1;
    NrHostVTableV2 v2;
} nrpy_host;

/* All pointers are borrowed until `open` returns. */
typedef struct nrpy_open_args {
    uint32_t struct_size;
    uint32_t reserved;
    nrpy_host host;
    const char *origin;     /* path of the plugin file, as the dynamic loader knows it */
    const char *name;       /* the plugin's name, for messages */
    const char *executable; /* the Python to be: PyConfig.executable */
    const char *prefix;     /* sys.prefix that this executable must give */
    const char *boot;       /* NUL-terminated strings: key value key value */
    size_t boot_size;
    const void *archive;
    size_t archive_size;
    char *error; /* filled with one line when `open` does not answer Ok */
    size_t error_size;
    const unsigned char *payload_sha256; /* NRPY_SHA256_SIZE bytes, checked by the stub */
    const void *signature;               /* a nrpy_signature; not checked */
    size_t signature_size;
} nrpy_open_args;

typedef struct nrpy_core_table {
    uint64_t magic;
    uint32_t struct_size;
    uint32_t py_version_hex; /* PY_VERSION_HEX of the headers the core was built with */
    uint32_t free_threaded;
    uint16_t major;
    uint16_t minor;
    const char *core_path; /* filled by the core itself: where it was loaded from */

    /* Starts or joins the interpreter and loads one plugin. On Ok `*out` is the instance. Must not hold the GIL's
     * waiters up: an attached caller is detached while it waits. */
    NrStatus (*open)(const nrpy_open_args *args, nrpy_instance **out);
    NrStatus (*handle)(nrpy_instance *instance, NrStr entry, uint64_t sid, const NrRequest *req, NrBytes payload);
    uint32_t (*resolve_entry)(nrpy_instance *instance, NrStr entry);
    NrStatus (*handle_by_id)(nrpy_instance *instance, uint32_t id, uint64_t sid, NrBytes payload);
    NrStatus (*stream_data)(nrpy_instance *instance, uint64_t sid, NrBytes data);
    NrStatus (*stream_close)(nrpy_instance *instance, uint64_t sid);

    /* Ends the instance. Returns 1 when a host thread is still inside a handler that did not end in time: the caller's
     * code must stay mapped. */
    int (*close)(nrpy_instance *instance);

    /* The caller's code is being unmapped without a close: nothing reaches the host from here on, and the instance ends
     * by itself. */
    void (*abandon)(nrpy_instance *instance);
} nrpy_core_table;

#endif /* NRPY_CORE_TABLE_H */
