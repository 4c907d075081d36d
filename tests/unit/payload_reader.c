/*
 * Loads a shared object and reads its payload as the stub does.
 *
 *   payload_reader FILE REF_ADDRESS [KEEP_BYTES]
 *
 * REF_ADDRESS is the ELF address of .nylon.ref. With KEEP_BYTES the file is truncated after it was loaded.
 * The payload goes to stdout; an error goes to stderr, with exit code 1.
 */
#define _GNU_SOURCE
#include "../../shim/payload.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct link_map *map = NULL;
    nrpy_payload payload;
    char error[512];
    if (argc < 3) {
        return 2;
    }
    void *image = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
    if (image == NULL || dlinfo(image, RTLD_DI_LINKMAP, &map) != 0) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    if (argc > 3 && truncate(argv[1], strtol(argv[3], NULL, 0)) != 0) {
        perror("truncate");
        return 2;
    }
    const unsigned char *base = (const unsigned char *)(uintptr_t)map->l_addr;
    const nrpy_payload_ref *ref = (const nrpy_payload_ref *)(const void *)(base + strtoull(argv[2], NULL, 0));
    if (nrpy_payload_read(ref, base, &payload, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        _exit(1); /* exit() would run the finalizers of an image whose file we may have cut */
    }
    fwrite(payload.bytes, 1, payload.size, stdout);
    const char *name = nrpy_payload_get(&payload, "name");
    fprintf(stderr, "name=%s missing=%s\n", name ? name : "(none)",
            nrpy_payload_get(&payload, "nothing") ? "yes" : "no");
    nrpy_payload_free(&payload);
    return fflush(stdout) == 0 ? 0 : 2;
}
