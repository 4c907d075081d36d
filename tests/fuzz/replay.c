/*
 * Runs a target over files, one after the other, in the order of the command line: what make test does with the corpus.
 *
 *   replay FILE…
 *
 * Says on stdout which file is next, so that the last line before a crash names the input.
 */
#include "target.h"

#include <string.h>

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    DEMAND(file != NULL, "cannot open %s", path);
    DEMAND(fseek(file, 0, SEEK_END) == 0, "cannot read %s", path);
    long length = ftell(file);
    rewind(file);
    DEMAND(length >= 0, "cannot read %s", path);
    /* The copy has exactly the input's size: a target that reads past it is seen where malloc is watched. */
    uint8_t *bytes = malloc(length > 0 ? (size_t)length : 1);
    DEMAND(bytes != NULL && fread(bytes, 1, (size_t)length, file) == (size_t)length, "cannot read %s", path);
    (void)fclose(file);
    *size = (size_t)length;
    return bytes;
}

int main(int argc, char **argv) {
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint8_t *bytes = read_file(argv[i], &size);
        printf("%s\n", argv[i]);
        fflush(stdout);
        LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
