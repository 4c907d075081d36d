/* The conformance suite's plugin without a stream entry. */
#include "native.h"

const char native_name[] = "plain";

NrStatus native_starts(void) {
    return NR_OK;
}

static void echo(instance *self, call *c) {
    native_send(self, c->sid, NR_OK, c->body.ptr, c->body.len);
}

const entry native_entries[] = {{.name = "echo_sync", .kind = SYNCHRONOUS, .run = echo}};
const size_t native_entry_count = 1;
