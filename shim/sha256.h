/*
 * SHA-256 (FIPS 180-4). The stub's own: what names libpython must be known to be whole before any library is opened.
 */
#ifndef NRPY_SHA256_H
#define NRPY_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define NRPY_SHA256_SIZE 32

typedef struct nrpy_sha256 {
    uint32_t state[8];
    uint64_t length;         /* bytes taken so far */
    unsigned char block[64]; /* its first length % 64 bytes wait for the rest */
} nrpy_sha256;

void nrpy_sha256_init(nrpy_sha256 *hash);
void nrpy_sha256_add(nrpy_sha256 *hash, const void *bytes, size_t size);

/* Writes the digest; the hash must be made anew before it is used again. */
void nrpy_sha256_end(nrpy_sha256 *hash, unsigned char digest[NRPY_SHA256_SIZE]);

#endif /* NRPY_SHA256_H */
