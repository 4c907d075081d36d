/*
 * The reader of shim/payload.c over hostile payloads. An input is
 *
 *   a byte of HOW_*, the size of the buffer for the error, with HOW_REFERENCE two numbers of 8 bytes, then the payload
 *
 * The payload ends at a page without access: where less is there than it says, the reader has to notice.
 */
#include "../../shim/payload.h"

#include "target.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum {
    HOW_DIGEST = 1,    /* give it the SHA-256 that it should have */
    HOW_HEAD = 2,      /* magic, format and sizes as they should be: what is hostile comes behind them */
    HOW_REFERENCE = 4, /* address and size from the input */
    HOW_PARTS = 8,     /* place the three parts one after the other, by sizes of two bytes in their fields */
    ROOM = 1 << 16,
    BEFORE = 64, /* the image's bytes before the payload */
};

static guard *memory;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    memory = guard_new(3, ROOM);
    return 0;
}

static int lowest_free_fd(void) {
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

/* By the reader's own SHA-256, which tests/unit/test_payload.py holds against Python's. */
static void digest_of(const uint8_t *payload, size_t size, uint8_t digest[NRPY_SHA256_SIZE]) {
    nrpy_sha256 hash;
    nrpy_sha256_init(&hash);
    nrpy_sha256_add(&hash, payload, offsetof(nrpy_payload_header, sha256));
    nrpy_sha256_add(&hash, payload + sizeof(nrpy_payload_header), size - sizeof(nrpy_payload_header));
    nrpy_sha256_end(&hash, digest);
}

static void place_parts(nrpy_payload_header *header) {
    header->boot_offset = sizeof *header;
    header->boot_size &= 0xffffu;
    header->manifest_offset = header->boot_offset + header->boot_size;
    header->manifest_size &= 0xffffu;
    header->archive_offset = header->manifest_offset + header->manifest_size;
    header->archive_size &= 0xffffu;
}

static void mend(uint8_t *payload, size_t size, unsigned how) {
    nrpy_payload_header header;
    if (size < sizeof header) {
        return;
    }
    memcpy(&header, payload, sizeof header);
    if ((how & HOW_HEAD) != 0) {
        memcpy(header.magic, NRPY_PAYLOAD_MAGIC, sizeof header.magic);
        header.format = NRPY_PAYLOAD_FORMAT;
        header.header_size = sizeof header;
        header.total_size = size;
    }
    if ((how & HOW_PARTS) != 0) {
        place_parts(&header);
    }
    memcpy(payload, &header, sizeof header);
    if ((how & HOW_DIGEST) != 0) {
        digest_of(payload, size, payload + offsetof(nrpy_payload_header, sha256));
    }
}

static bool is_inside(const nrpy_payload *payload, const void *part, size_t size) {
    uintptr_t first = (uintptr_t)payload->bytes + sizeof(nrpy_payload_header);
    uintptr_t end = (uintptr_t)payload->bytes + payload->size;
    return (uintptr_t)part >= first && (uintptr_t)part <= end && size <= end - (uintptr_t)part;
}

static void check_keys(const nrpy_payload *payload) {
    static const char *const keys[] = {"name", "version", "abi", "module", "python", ""};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = nrpy_payload_get(payload, keys[i]);
        DEMAND(value == NULL || (value > payload->boot && value < payload->boot + payload->boot_size),
               "the value of %s leaves the boot record", keys[i]);
    }
}

static void check_accepted(const nrpy_payload *payload, const uint8_t *source, size_t size) {
    uint8_t digest[NRPY_SHA256_SIZE];
    DEMAND(payload->size == size, "%zu bytes of %zu", payload->size, size);
    DEMAND(memcmp(payload->bytes, source, size) == 0, "the copy differs");
    DEMAND(is_inside(payload, payload->boot, payload->boot_size), "the boot record leaves the payload");
    DEMAND(is_inside(payload, payload->manifest, payload->manifest_size), "the manifest leaves the payload");
    DEMAND(is_inside(payload, payload->archive, payload->archive_size), "the archive leaves the payload");
    DEMAND(payload->boot_size > 0 && payload->boot[payload->boot_size - 1] == '\0', "the boot record has no end");
    digest_of(source, size, digest);
    DEMAND(memcmp(digest, payload->sha256, sizeof digest) == 0, "a damaged payload was taken");
    DEMAND(payload->sha256 == payload->bytes + offsetof(nrpy_payload_header, sha256), "another digest");
    (void)nrpy_payload_is_signed(payload);
    check_keys(payload);
}

static void check_refused(const nrpy_payload *payload, const char *error, size_t error_size) {
    DEMAND(payload->bytes == NULL && payload->boot == NULL && payload->archive == NULL, "something is left");
    DEMAND(memchr(error, '\0', error_size) != NULL, "the error has no end");
    DEMAND(error_size == 1 || error[0] != '\0', "it does not say why");
    DEMAND(strchr(error, '\n') == NULL, "more than one line: %s", error);
}

/* Where the payload is said to be. A place that is somebody else's would be a wild pointer: those that cannot be, and
 * those that end behind the last accessible byte, are tried. */
static nrpy_payload_ref hostile_reference(input *in, size_t length) {
    uint64_t address = input_u64(in);
    uint64_t size = input_u64(in);
    bool impossible = address > UINT64_MAX / 2;
    return (nrpy_payload_ref){
        .address = impossible ? address : address % (BEFORE + length + 1),
        .size = size > UINT64_MAX / 4 ? size : size % ROOM,
    };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t image[ROOM];
    input in = {.at = data, .left = size};
    unsigned how = input_byte(&in);
    size_t error_size = 1 + (size_t)input_byte(&in) * 2;
    input reference = in;
    if ((how & HOW_REFERENCE) != 0) {
        (void)input_u64(&in);
        (void)input_u64(&in);
    }
    size_t length = sizeof image - BEFORE;
    const uint8_t *bytes = input_bytes(&in, &length);
    nrpy_payload_ref ref = {.address = BEFORE, .size = length};
    if ((how & HOW_REFERENCE) != 0) {
        ref = hostile_reference(&reference, length);
    }
    memcpy(ref.magic, "nylon.payload.v1", sizeof ref.magic);
    if (length > 0) {
        memcpy(image + BEFORE, bytes, length);
    }
    mend(image + BEFORE, length, how);

    uint8_t *base = guard_copy(memory, image, BEFORE + length);
    char *error = guard_copy(memory, image, error_size);
    int fd = lowest_free_fd();
    nrpy_payload payload;
    if (nrpy_payload_read(&ref, base, &payload, error, error_size) == 0) {
        check_accepted(&payload, base + ref.address, (size_t)ref.size);
        nrpy_payload_free(&payload);
    } else {
        check_refused(&payload, error, error_size);
    }
    DEMAND(lowest_free_fd() == fd, "a descriptor is left open");
    guard_end(memory);
    return 0;
}
