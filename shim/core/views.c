#include "views.h"

static bool is_continuation(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

/* Length of the well-formed sequence at `at` (Unicode 15, table 3-7), or 0. */
static size_t sequence_length(const uint8_t *at, size_t left) {
    uint8_t lead = at[0];
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return left >= 2 && is_continuation(at[1]) ? 2 : 0;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : 0xbf;
        return left >= 3 && at[1] >= low && at[1] <= high && is_continuation(at[2]) ? 3 : 0;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        uint8_t low = lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xf4 ? 0x8f : 0xbf;
        return left >= 4 && at[1] >= low && at[1] <= high && is_continuation(at[2]) && is_continuation(at[3]) ? 4 : 0;
    }
    return 0;
}

bool nrpy_is_utf8(const uint8_t *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        if (length - at >= 8 && (nrpy_load8(text + at) & 0x8080808080808080u) == 0) {
            at += 8;
            continue;
        }
        size_t step = sequence_length(text + at, length - at);
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}

bool nrpy_is_valid_request(const NrRequest *req) {
    if (!nrpy_is_text(req->method) || !nrpy_is_text(req->path) || !nrpy_is_text(req->query)) {
        return false;
    }
    if (!nrpy_can_hold(req->headers, (uint64_t)req->headers_len * sizeof(NrHeader))) {
        return false;
    }
    for (uint32_t i = 0; i < req->headers_len; i++) {
        const NrHeader *header = &req->headers[i];
        if (!nrpy_is_text(header->key) || !nrpy_can_hold_text(header->value)) {
            return false;
        }
    }
    return true;
}
