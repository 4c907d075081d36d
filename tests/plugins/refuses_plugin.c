/* The conformance suite's plugin whose init fails. */
#include <stdio.h>

#include "native.h"

const char native_name[] = "refuses";

NrStatus native_starts(void) {
    fputs("refuses: its init fails, as it is meant to\n", stderr);
    return NR_ERR;
}

const entry native_entries[] = {{.name = "none", .kind = SYNCHRONOUS}};
const size_t native_entry_count = 0;
