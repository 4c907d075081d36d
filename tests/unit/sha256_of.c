/*
 * Prints the SHA-256 of every beginning of stdin, from none of it to all, a line each. Each is taken in pieces of another
 * size, so that blocks are filled in all ways.
 */
#include "../../shim/sha256.h"

#include <stdio.h>

int main(void) {
    static unsigned char input[4096];
    size_t size = fread(input, 1, sizeof input, stdin);
    for (size_t end = 0; end <= size; end++) {
        unsigned char digest[NRPY_SHA256_SIZE];
        nrpy_sha256 hash;
        nrpy_sha256_init(&hash);
        size_t piece = 1 + end % 150;
        for (size_t at = 0; at < end; at += piece) {
            nrpy_sha256_add(&hash, input + at, end - at < piece ? end - at : piece);
        }
        nrpy_sha256_end(&hash, digest);
        for (size_t i = 0; i < sizeof digest; i++) {
            printf("%02x", digest[i]);
        }
        putchar('\n');
    }
    return 0;
}
