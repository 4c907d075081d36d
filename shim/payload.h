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

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define NRPY_PAYLOAD_MAGIC "NYLONPY\x01"
#define NRPY_PAYLOAD_FORMAT 1u

/* Where the payload is. Lives in the section .nylon.ref of the stub; the writer fills the last two fields. */
typedef struct nrpy_payload_ref {
    char magic[16];   /* "nylon.payload.v1" */
    uint64_t address; /* ELF virtual address of the header; 0 in a stub without payload */
    uint64_t size;    /* bytes, header included */
} nrpy_payload_ref;

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
    uint32_t crc32; /* zlib's CRC-32 of all that follows the header */
    uint32_t reserved;
} nrpy_payload_header;

static_assert(sizeof(nrpy_payload_ref) == 32, "size of nrpy_payload_ref");
static_assert(sizeof(nrpy_payload_header) == 80, "size of nrpy_payload_header");

/* A checked copy of the payload on the heap, and views into it. */
typedef struct nrpy_payload {
    unsigned char *bytes; /* owned: nrpy_payload_free */
    size_t size;
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

/* Frees the copy; a zeroed payload is allowed. */
void nrpy_payload_free(nrpy_payload *payload);

#endif /* NRPY_PAYLOAD_H */
