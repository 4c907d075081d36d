/* Loading and unloading again and again in one process: what is lost each time shows in its memory. */
#include "drive.h"

static const char *one_round(const command *c, const fields *f, const nrhost_options *options, char *why, size_t size) {
    nrhost *host = nrhost_load(command_text(c, "file", ""), options, why, size);
    if (host == NULL) {
        return why;
    }
    nrhost_frame reply = {0};
    nrhost_outcome outcome = NRHOST_FRAME;
    if (f->request.entry.len > 0) {
        outcome = nrhost_call_unary(host, &f->request, command_seconds(c, "timeout", DRIVE_TIMEOUT_S), &reply);
    }
    if (outcome != NRHOST_FRAME) {
        snprintf(why, size, "the call got no reply (%s)", nrhost_status_name(reply.status));
    } else if (reply.status != NR_OK && reply.status != NR_STREAM_END) {
        snprintf(why, size, "the call was answered %s: %.*s", nrhost_status_name(reply.status), (int)reply.len,
                 reply.data ? (const char *)reply.data : "");
        outcome = NRHOST_REFUSED;
    }
    nrhost_frame_free(&reply);
    nrhost_shutdown(host);
    nrhost_unload(host);
    return outcome == NRHOST_FRAME ? NULL : why;
}

/* cycle file= [n=200] [entry=] [abi=] fields…: RSS in KiB after each tenth of the rounds. */
void verb_cycle(const command *c, json *out) {
    char why[512];
    fields f;
    if (!fields_read(&f, c, out)) {
        return;
    }
    nrhost_options options = {0};
    if (!nrhost_abi_named(command_text(c, "abi", "v1"), &options.abi)) {
        json_fail(out, "there is no ABI %s: v1, v1-raw or v2", command_text(c, "abi", ""));
        fields_free(&f);
        return;
    }
    uint64_t rounds = command_u64(c, "n", 200), tenth = rounds < 10 ? 1 : rounds / 10;
    json_open(out, "rss_kib", '[');
    for (uint64_t i = 1; i <= rounds; i++) {
        const char *fault = one_round(c, &f, &options, why, sizeof why);
        if (fault != NULL) {
            json_fail(out, "round %llu of %llu: %s", (unsigned long long)i, (unsigned long long)rounds, fault);
            fields_free(&f);
            return;
        }
        if (i % tenth == 0) {
            json_u64(out, NULL, process_rss_kib());
        }
    }
    json_close(out, ']');
    fields_free(&f);
}
