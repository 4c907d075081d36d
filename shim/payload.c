/*
 * Copies the payload out of the mapped image and checks its digest and every byte of its structure before anybody uses
 * it. No Python and no library: this runs before an interpreter exists, and decides which one that will be.
 */
#define _GNU_SOURCE
#include "payload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REBUILD "build the plugin again with nylon-ring build-plugin"
#define REF_MAGIC "nylon.payload.v1"
#define CHUNK ((size_t)65536)

static_assert(sizeof(REF_MAGIC) - 1 == sizeof(((nrpy_payload_ref *)0)->magic), "size of the reference's magic");
static_assert(sizeof(NRPY_PAYLOAD_MAGIC) - 1 == sizeof(((nrpy_payload_header *)0)->magic), "size of the magic");

__attribute__((format(printf, 3, 4))) static int fail(char *error, size_t error_size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error, error_size, format, args);
    va_end(args);
    return -1;
}

/* A pipe whose ends never block: the kernel copies through it, and answers EFAULT where a page is missing. */
typedef struct probe_pipe {
    int read_end;
    int write_end;
} probe_pipe;

static int pipe_open(probe_pipe *probe) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -1;
    }
    probe->read_end = ends[0];
    probe->write_end = ends[1];
    return 0;
}

static void pipe_close(const probe_pipe *probe) {
    (void)close(probe->read_end);
    (void)close(probe->write_end);
}

static int pipe_drain(const probe_pipe *probe, unsigned char *to, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(probe->read_end, to + done, size - done);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* The pipe is empty before each write, so a write takes at least one byte or fails for good. */
static int copy_mapped(const probe_pipe *probe, unsigned char *to, const unsigned char *from, size_t size) {
    size_t done = 0;
    while (done < size) {
        size_t left = size - done;
        ssize_t put = write(probe->write_end, from + done, left < CHUNK ? left : CHUNK);
        if (put > 0) {
            if (pipe_drain(probe, to + done, (size_t)put) != 0) {
                return -1;
            }
            done += (size_t)put;
        } else if (put == 0 || errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

static int copy_failed(char *error, size_t error_size, const char *what) {
    if (errno == EFAULT) {
        return fail(error, error_size, "the plugin file is truncated: its %s is not there; " REBUILD, what);
    }
    return fail(error, error_size, "cannot read the plugin's %s: %s", what, strerror(errno));
}

static int check_ref(const nrpy_payload_ref *ref, const void *base, char *error, size_t error_size) {
    if (memcmp(ref->magic, REF_MAGIC, sizeof ref->magic) != 0) {
        return fail(error, error_size, "the reference to the plugin's payload is damaged; " REBUILD);
    }
    if (ref->address == 0) {
        return fail(error, error_size, "this file is the bare stub and holds no plugin; " REBUILD);
    }
    if (ref->size < sizeof(nrpy_payload_header) || ref->size > PTRDIFF_MAX || ref->address > UINTPTR_MAX - ref->size ||
        (uintptr_t)base > UINTPTR_MAX - ref->size - ref->address) {
        return fail(error, error_size, "the payload's place is impossible (address 0x%llx, %llu bytes); " REBUILD,
                    (unsigned long long)ref->address, (unsigned long long)ref->size);
    }
    return 0;
}

static int check_header(const nrpy_payload_header *header, uint64_t size, char *error, size_t error_size) {
    if (memcmp(header->magic, NRPY_PAYLOAD_MAGIC, sizeof header->magic) != 0) {
        return fail(error, error_size, "the plugin's payload does not start with its magic bytes; " REBUILD);
    }
    if (header->format != NRPY_PAYLOAD_FORMAT) {
        return fail(error, error_size, "the plugin's payload has format %u, this stub reads format %u; " REBUILD,
                    header->format, NRPY_PAYLOAD_FORMAT);
    }
    if (header->header_size != sizeof *header) {
        return fail(error, error_size, "the payload's header has %u bytes instead of %zu; " REBUILD,
                    header->header_size, sizeof *header);
    }
    if (header->total_size != size) {
        return fail(error, error_size, "the payload says it has %llu bytes, the file says %llu; " REBUILD,
                    (unsigned long long)header->total_size, (unsigned long long)size);
    }
    return 0;
}

/* `offset` and `size` come from the file: no sum of the two is made before it is known to fit. */
static int check_part(const char *what, uint64_t offset, uint64_t size, uint64_t limit, uint64_t total, char *error,
                      size_t error_size) {
    if (offset < sizeof(nrpy_payload_header) || offset > total || size > total - offset) {
        return fail(error, error_size, "the payload's %s (offset %llu, %llu bytes) leaves its %llu bytes; " REBUILD,
                    what, (unsigned long long)offset, (unsigned long long)size, (unsigned long long)total);
    }
    if (size > limit) {
        return fail(error, error_size, "the payload's %s has %llu bytes, at most %llu are taken; " REBUILD, what,
                    (unsigned long long)size, (unsigned long long)limit);
    }
    return 0;
}

static int check_parts(const nrpy_payload_header *header, char *error, size_t error_size) {
    uint64_t total = header->total_size;
    if (total > NRPY_PAYLOAD_MAX) {
        return fail(error, error_size,
                    "the plugin's payload has %llu bytes, at most %llu are taken; keep large data in files of its own",
                    (unsigned long long)total, (unsigned long long)NRPY_PAYLOAD_MAX);
    }
    if (check_part("boot record", header->boot_offset, header->boot_size, NRPY_BOOT_MAX, total, error, error_size) !=
            0 ||
        check_part("manifest", header->manifest_offset, header->manifest_size, NRPY_MANIFEST_MAX, total, error,
                   error_size) != 0) {
        return -1;
    }
    return check_part("archive", header->archive_offset, header->archive_size, total, total, error, error_size);
}

static int check_digest(const nrpy_payload *payload, const nrpy_payload_header *header, char *error,
                        size_t error_size) {
    unsigned char found[NRPY_SHA256_SIZE];
    nrpy_sha256 hash;
    nrpy_sha256_init(&hash);
    nrpy_sha256_add(&hash, header, offsetof(nrpy_payload_header, sha256));
    nrpy_sha256_add(&hash, payload->bytes + sizeof *header, payload->size - sizeof *header);
    nrpy_sha256_end(&hash, found);
    if (memcmp(found, header->sha256, sizeof found) != 0) {
        return fail(error, error_size,
                    "the plugin's payload is damaged: its SHA-256 is not the recorded one; " REBUILD);
    }
    return 0;
}

static int check_pair(const nrpy_payload *payload, const char *key, const char *value, char *error, size_t error_size) {
    if (*key == '\0' || strlen(key) > NRPY_BOOT_KEY_MAX || strlen(value) > NRPY_BOOT_VALUE_MAX) {
        return fail(error, error_size,
                    "the payload's boot record has a key of %zu bytes with a value of %zu; at most %d and %d are "
                    "taken; " REBUILD,
                    strlen(key), strlen(value), NRPY_BOOT_KEY_MAX, NRPY_BOOT_VALUE_MAX);
    }
    if (nrpy_payload_get(payload, key) != value) {
        return fail(error, error_size, "the payload's boot record has the key '%s' twice; " REBUILD, key);
    }
    return 0;
}

static int check_boot(const nrpy_payload *payload, char *error, size_t error_size) {
    size_t strings = 0;
    for (size_t i = 0; i < payload->boot_size; i++) {
        strings += payload->boot[i] == '\0';
    }
    if (payload->boot_size == 0 || payload->boot[payload->boot_size - 1] != '\0' || strings % 2 != 0) {
        return fail(error, error_size, "the payload's boot record is not made of pairs of strings; " REBUILD);
    }
    if (strings / 2 > NRPY_BOOT_PAIRS_MAX) {
        return fail(error, error_size, "the payload's boot record has %zu pairs, at most %d are taken; " REBUILD,
                    strings / 2, NRPY_BOOT_PAIRS_MAX);
    }
    const char *end = payload->boot + payload->boot_size;
    for (const char *key = payload->boot; key < end;) {
        const char *value = key + strlen(key) + 1;
        if (check_pair(payload, key, value, error, error_size) != 0) {
            return -1;
        }
        key = value + strlen(value) + 1;
    }
    return 0;
}

static void set_views(nrpy_payload *payload, const nrpy_payload_header *header) {
    const nrpy_payload_header *own = (const nrpy_payload_header *)(const void *)payload->bytes;
    payload->sha256 = own->sha256;
    payload->signature = &own->signature;
    payload->boot = (const char *)payload->bytes + header->boot_offset;
    payload->boot_size = (size_t)header->boot_size;
    payload->manifest = (const char *)payload->bytes + header->manifest_offset;
    payload->manifest_size = (size_t)header->manifest_size;
    payload->archive = payload->bytes + header->archive_offset;
    payload->archive_size = (size_t)header->archive_size;
}

/* The header is checked in the heap copy only: the mapping may change while we look. */
static int copy_and_check(const probe_pipe *probe, const nrpy_payload_ref *ref, const void *base, nrpy_payload *payload,
                          char *error, size_t error_size) {
    nrpy_payload_header header;
    const unsigned char *mapped = (const unsigned char *)base + ref->address;
    if (copy_mapped(probe, (unsigned char *)&header, mapped, sizeof header) != 0) {
        return copy_failed(error, error_size, "payload");
    }
    if (check_header(&header, ref->size, error, error_size) != 0 || check_parts(&header, error, error_size) != 0) {
        return -1;
    }
    payload->size = (size_t)ref->size;
    payload->bytes = malloc(payload->size);
    if (payload->bytes == NULL) {
        return fail(error, error_size, "no memory for the plugin's payload of %zu bytes", payload->size);
    }
    memcpy(payload->bytes, &header, sizeof header);
    if (copy_mapped(probe, payload->bytes + sizeof header, mapped + sizeof header, payload->size - sizeof header) !=
        0) {
        return copy_failed(error, error_size, "payload");
    }
    set_views(payload, &header);
    if (check_digest(payload, &header, error, error_size) != 0) {
        return -1;
    }
    return check_boot(payload, error, error_size);
}

int nrpy_payload_read(const nrpy_payload_ref *ref, const void *base, nrpy_payload *out, char *error,
                      size_t error_size) {
    probe_pipe probe;
    memset(out, 0, sizeof *out);
    if (check_ref(ref, base, error, error_size) != 0) {
        return -1;
    }
    if (pipe_open(&probe) != 0) {
        return fail(error, error_size, "cannot make a pipe to read the plugin's payload: %s", strerror(errno));
    }
    int result = copy_and_check(&probe, ref, base, out, error, error_size);
    pipe_close(&probe);
    if (result != 0) {
        nrpy_payload_free(out);
    }
    return result;
}

const char *nrpy_payload_get(const nrpy_payload *payload, const char *key) {
    const char *end = payload->boot + payload->boot_size;
    for (const char *at = payload->boot; at < end;) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, key) == 0) {
            return value;
        }
        at = value + strlen(value) + 1;
    }
    return NULL;
}

bool nrpy_payload_is_signed(const nrpy_payload *payload) {
    static const nrpy_signature none;
    return memcmp(payload->signature, &none, sizeof none) != 0;
}

void nrpy_payload_free(nrpy_payload *payload) {
    free(payload->bytes);
    memset(payload, 0, sizeof *payload);
}
