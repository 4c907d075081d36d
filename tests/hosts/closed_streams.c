/* A daemon: its standard streams are closed before the plugin is loaded. The exit code tells how it went. */
#include <string.h>
#include <unistd.h>

#include "nrhost.h"

int main(int argc, char **argv) {
    char why[256];
    if (argc != 2) {
        return 2;
    }
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    nrhost *host = nrhost_load(argv[1], NULL, why, sizeof why);
    if (host == NULL) {
        return 3;
    }
    nrhost_request request = {.entry = nrhost_str("echo"), .payload = nrhost_bytes("hi", 2), .raw = true};
    nrhost_frame reply = {0};
    int code = 4;
    if (nrhost_call_unary(host, &request, 10.0, &reply) == NRHOST_FRAME && reply.len == 2 &&
        memcmp(reply.data, "hi", 2) == 0) {
        code = 0;
    }
    nrhost_frame_free(&reply);
    nrhost_unload(host);
    return code;
}
