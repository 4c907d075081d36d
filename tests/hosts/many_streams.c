/*
 * A host with many streams open at once.
 *
 *   many_streams PLUGIN ENTRY STREAMS ROUNDS
 *
 * In each round: opens them all, has one frame of its own echoed by each, looks at the process's memory, closes them all
 * and takes every end. Prints a line for each round: KiB resident before, with all open, and after; the seconds it took; and
 * what the plugin's entry `settle` says once nothing of the round is left to do.
 * The exit code is 0 if every stream gave its frame and its StreamEnd, and nothing else.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nrhost.h"

#define TIMEOUT_S 60.0

static long resident_kib(void) {
    long size = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm != NULL) {
        if (fscanf(statm, "%ld %ld", &size, &resident) != 2) {
            resident = 0;
        }
        fclose(statm);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* What a plugin has left to do after the last frame it sent is done before its entry `settle` answers. */
static long settled_kib(nrhost *host, char *said, size_t size) {
    nrhost_request request = {.entry = nrhost_str("settle"), .raw = true};
    nrhost_frame reply;
    if (nrhost_call_unary(host, &request, TIMEOUT_S, &reply) != NRHOST_FRAME) {
        return -1;
    }
    snprintf(said, size, "%.*s", (int)reply.len, (const char *)reply.data);
    nrhost_frame_free(&reply);
    malloc_trim(0);
    return resident_kib();
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool open_all(nrhost *host, const char *entry, nrhost_call **calls, size_t count) {
    nrhost_request request = {.entry = nrhost_str(entry), .kind = NRHOST_STREAM};
    for (size_t i = 0; i < count; i++) {
        if (nrhost_submit(host, &request, &calls[i]) != NR_OK) {
            fprintf(stderr, "many_streams: stream %zu is refused\n", i);
            return false;
        }
    }
    return true;
}

static bool takes(nrhost_call *call, NrStatus status, const void *data, size_t length) {
    nrhost_frame frame;
    if (nrhost_call_next(call, TIMEOUT_S, &frame) != NRHOST_FRAME) {
        return false;
    }
    bool same = frame.status == status && frame.len == length && (length == 0 || memcmp(frame.data, data, length) == 0);
    nrhost_frame_free(&frame);
    return same;
}

static bool echo_all(nrhost *host, nrhost_call **calls, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (nrhost_send_stream_data(host, nrhost_call_sid(calls[i]), nrhost_bytes(&i, sizeof i)) != NR_OK) {
            fprintf(stderr, "many_streams: the frame of stream %zu is refused\n", i);
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!takes(calls[i], NR_OK, &i, sizeof i)) {
            fprintf(stderr, "many_streams: stream %zu does not give its frame back\n", i);
            return false;
        }
    }
    return true;
}

static bool close_all(nrhost *host, nrhost_call **calls, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (nrhost_close_stream(host, nrhost_call_sid(calls[i])) != NR_OK) {
            fprintf(stderr, "many_streams: the close of stream %zu is refused\n", i);
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!takes(calls[i], NR_STREAM_END, NULL, 0)) {
            fprintf(stderr, "many_streams: stream %zu does not end with one StreamEnd\n", i);
            return false;
        }
        nrhost_call_release(calls[i]);
    }
    return true;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        return 2;
    }
    size_t count = (size_t)atol(argv[3]);
    char why[256];
    char said[64];
    nrhost *host = nrhost_load(argv[1], NULL, why, sizeof why);
    nrhost_call **calls = calloc(count, sizeof(nrhost_call *));
    if (host == NULL || calls == NULL) {
        fprintf(stderr, "many_streams: %s\n", why);
        return 3;
    }
    for (int round = atoi(argv[4]); round > 0; round--) {
        long before = settled_kib(host, said, sizeof said);
        double began = now_s();
        if (!open_all(host, argv[2], calls, count) || !echo_all(host, calls, count)) {
            return 4;
        }
        long open = resident_kib();
        if (!close_all(host, calls, count)) {
            return 5;
        }
        double took = now_s() - began;
        long after = settled_kib(host, said, sizeof said);
        printf("%ld %ld %ld %.2f %s\n", before, open, after, took, said);
        fflush(stdout);
    }
    free(calls);
    nrhost_unload(host);
    return 0;
}
