/*
 * A host whose standard descriptors are not what they are for most programs.
 *
 *   stdio_host PLUGIN closed|full|broken
 *
 * closed: all three, before the plugin starts, and then it opens a pair of sockets; full: stdout and stderr on a full
 * disk; broken: on pipes that nobody reads. Calls each entry named on stdin's first line, and says on the descriptor
 * that was its stdout what came: a line of status and length for each, then how many bytes came through the sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nrhost.h"

static int replace(int fd, int with) {
    int failed = with < 0 || dup2(with, fd) < 0;
    return failed;
}

static int spoil(const char *how) {
    if (strcmp(how, "closed") == 0) {
        return close(0) | close(1) | close(2);
    }
    if (strcmp(how, "full") == 0) {
        int full = open("/dev/full", O_WRONLY);
        return replace(1, full) | replace(2, full);
    }
    int ends[2];
    if (pipe(ends) != 0) {
        return 1;
    }
    close(ends[0]);
    return replace(1, ends[1]) | replace(2, ends[1]);
}

static void call(nrhost *host, const char *entry, FILE *out) {
    nrhost_request request = {.entry = nrhost_str(entry)};
    nrhost_frame reply = {.status = 99};
    nrhost_outcome outcome = nrhost_call_unary(host, &request, 20.0, &reply);
    fprintf(out, "%s %d %u %.*s\n", entry, (int)outcome, reply.status, (int)reply.len, (const char *)reply.data);
    nrhost_frame_free(&reply);
}

int main(int argc, char **argv) {
    char entries[256];
    char why[256];
    if (argc != 3 || fgets(entries, sizeof entries, stdin) == NULL) {
        return 2;
    }
    FILE *out = fdopen(fcntl(1, F_DUPFD, 100), "w");
    signal(SIGPIPE, SIG_IGN);
    if (out == NULL || spoil(argv[2]) != 0) {
        return 3;
    }
    nrhost_options options = {.abi = NRHOST_V1, .ledger = true};
    nrhost *host = nrhost_load(argv[1], &options, why, sizeof why);
    int pair[2] = {-1, -1};
    if (host == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        fprintf(out, "no start: %s\n", host == NULL ? why : strerror(errno));
        fclose(out);
        return 4;
    }
    for (char *entry = strtok(entries, " \n"); entry != NULL; entry = strtok(NULL, " \n")) {
        call(host, entry, out);
    }
    nrhost_unload(host);
    char bytes[4096];
    ssize_t got = 0;
    for (int end = 0; end < 2; end++) {
        ssize_t more = recv(pair[end], bytes, sizeof bytes, MSG_DONTWAIT);
        got += more > 0 ? more : 0;
    }
    fprintf(out, "strays %zd\n", got);
    fclose(out);
    return 0;
}
