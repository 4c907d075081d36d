#include <stdio.h>

#include "commands.h"

int command_bench(int argc, char **argv) {
    (void)argc;
    (void)argv;
    fputs("nrhost bench: not built in\n", stderr);
    return 2;
}
