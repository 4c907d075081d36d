/*
 * The payload: what build-plugin writes into a copy of the prebuilt stub.
 *
 * It lies in a segment of its own, so it is mapped with the image: strip tools keep it, and a file that was
 * unlinked or replaced after dlopen does no harm. `nylon_ring_py/build/payload.py` writes these bytes;
 * both sides hold the same numbers.
 *
 *   header | boot record | manifest (JSON) | archive (the plugin's files)
 *
 * The boot record is a run of NUL-terminated strings, key value key value: what the stub must know before
 * any Python runs. The manifest is for people and tools. The archive is read by the importer.
 */
#ifndef NRPY_PAYLOAD_H
#define NRPY_PAYLOAD_H

#include "sha256.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NRPY_PAYLOAD_MAGIC "NYLONPY\x01"
#define NRPY_PAYLOAD_FORMAT 2u

/* What a file may ask of a host. The writer keeps to the same. */
#define NRPY_PAYLOAD_MAX (UINT64_C(1) << 30) /* bytes in all */
#define NRPY_BOOT_MAX (UINT64_C(1) << 16)    /* bytes of the boot record */
#define NRPY_BOOT_PAIRS_MAX 64
#define NRPY_BOOT_KEY_MAX 64                   /* bytes */
#define NRPY_BOOT_VALUE_MAX 4095               /* bytes: a path, and its NUL, in the places that take one */
#define NRPY_MANIFEST_MAX (UINT64_C(16) << 20) /* bytes */

/* Where the payload is. Lives in the section .nylon.ref of the stub; the writer fills the last two fields. */
typedef struct nrpy_payload_ref {
    char magic[16];   /* "nylon.payload.v1" */
    uint64_t address; /* ELF virtual address of the header; 0 in a stub without payload */
    uint64_t size;    /* bytes, header included */
} nrpy_payload_ref;

/* Zero in a file that nobody signed. */
typedef struct nrpy_signature {
    unsigned char file_sha256[NRPY_SHA256_SIZE]; /* of the whole file with this structure zero */
    unsigned char public_key[32];                /* Ed25519 */
    unsigned char signature[64];                 /* over the payload's digest and the file's: nylon_ring_py/_trust.py */
} nrpy_signature;

typedef struct nrpy_payload_header {
    char magic[8]; /* NRPY_PAYLOAD_MAGIC */
    uint32_t format;
    uint32_t header_size; /* sizeof(nrpy_payload_header) */
    uint64_t total_size;  /* bytes, header included */
    uint64_t boot_offset; /* offsets count from the header's first byte */
    uint64_t boot_size;
    uint64_t manifest_offset;
    uint64_t manifest_size;
    uint64_t archive_offset;
    uint64_t archive_size;
    unsigned char sha256[NRPY_SHA256_SIZE]; /* of the header before this field, then of all that follows the header */
    nrpy_signature signature;
} nrpy_payload_header;

static_assert(sizeof(nrpy_payload_ref) == 32, "size of nrpy_payload_ref");
static_assert(sizeof(nrpy_signature) == 128, "size of nrpy_signature");
static_assert(sizeof(nrpy_payload_header) == 232, "size of nrpy_payload_header");

/* A checked copy of the payload on the heap, and views into it. */
typedef struct nrpy_payload {
    unsigned char *bytes; /* owned: nrpy_payload_free */
    size_t size;
    const unsigned char *sha256;
    const nrpy_signature *signature;
    const char *boot;
    size_t boot_size;
    const char *manifest;
    size_t manifest_size;
    const unsigned char *archive;
    size_t archive_size;
} nrpy_payload;

/*
 * Copies the payload out of the image at `base` (the image's load address) and checks it. Reads through the
 * kernel, so that pages cut off a truncated file give an error and not SIGBUS.
 * Returns 0, or -1 with one line of explanation in `error`.
 */
int nrpy_payload_read(const nrpy_payload_ref *ref, const void *base, nrpy_payload *out, char *error, size_t error_size);

/* The value of `key` in the boot record, or NULL. Borrowed from the payload. */
const char *nrpy_payload_get(const nrpy_payload *payload, const char *key);

/* Whether somebody signed the file; whether rightly, and who, is for the holder of the keys to say. */
bool nrpy_payload_is_signed(const nrpy_payload *payload);

/* Frees the copy; a zeroed payload is allowed. */
void nrpy_payload_free(nrpy_payload *payload);

#endif /* NRPY_PAYLOAD_H */
