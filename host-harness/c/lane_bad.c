/* Hostile calls: each is to be refused with Invalid, whatever else goes on. */
#include <string.h>

#include "lane.h"

enum { UNKNOWN_ENTRY, NULL_ENTRY, NO_UTF8, LONG_PAYLOAD, NULL_PAYLOAD, STRAY_DATA, STRAY_CLOSE, HOSTILE_KINDS };

static NrStatus be_hostile(const lane_member *m, plugin_slot *slot, uint64_t kind) {
    static const uint8_t no_utf8[] = {0xff, 0xfe, 0x80};
    nrhost_request request = m->of->request;
    nrhost_call *call = NULL;
    request.payload = nrhost_bytes(m->body, m->of->body_len);
    switch (kind) {
    case UNKNOWN_ENTRY:
        request.entry = nrhost_str("there is no such entry");
        break;
    case NULL_ENTRY:
        request.entry = (NrStr){.ptr = NULL, .len = 7};
        break;
    case NO_UTF8:
        request.entry = (NrStr){.ptr = no_utf8, .len = sizeof no_utf8};
        break;
    case LONG_PAYLOAD:
        request.payload.len = UINT64_MAX;
        break;
    case NULL_PAYLOAD:
        request.payload.ptr = NULL;
        break;
    case STRAY_DATA:
        return nrhost_send_stream_data(slot->host, UINT64_MAX - m->next, request.payload);
    default:
        return nrhost_close_stream(slot->host, UINT64_MAX - m->next);
    }
    NrStatus status = nrhost_submit(slot->host, &request, &call);
    if (call != NULL) {
        nrhost_call_release(call);
    }
    return status;
}

void lane_hostile(lane_member *m, plugin_slot *slot, uint64_t count) {
    for (uint64_t i = 0; i < count && lane_goes_on(m->of); i++) {
        lane_pace(m);
        uint64_t kind = lane_next(m) % HOSTILE_KINDS, began = lane_now_ns();
        NrStatus status = be_hostile(m, slot, kind);
        if (status == NR_INVALID || atomic_load(&slot->stopping)) {
            lane_add(m, LANE_REFUSED, 1);
            histogram_add(&m->refused, lane_now_ns() - began);
        } else {
            trouble(slot, "lane %s: hostile call %llu was answered %s, not Invalid", m->of->name,
                    (unsigned long long)kind, nrhost_status_name(status));
        }
    }
}
