/* What a lane's threads do: calls one after the other, or several in the air. */
#include <stdlib.h>
#include <string.h>

#include "lane.h"

static void fire(lane_member *m, plugin_slot *slot) {
    nrhost_request request = m->of->request;
    request.payload = nrhost_bytes(m->body, m->of->body_len);
    uint64_t began = lane_now_ns();
    NrStatus status = nrhost_fire(slot->host, &request);
    if (status == NR_OK) {
        lane_add(m, LANE_ACCEPTED, 1);
        lane_add(m, LANE_DROPPED, 1);
    } else {
        lane_refused(m, slot, status, began);
    }
}

static void exchange(lane_member *m, plugin_slot *slot, echo_call *what, uint64_t number) {
    const lane *l = m->of;
    uint64_t began = lane_now_ns();
    echo_result r = echo_once(slot, what);
    if (!r.accepted) {
        lane_refused(m, slot, r.refused, began);
        return;
    }
    lane_add(m, LANE_ACCEPTED, 1);
    lane_add(m, LANE_REPLIES, r.replied);
    lane_add(m, LANE_FAILED, r.failed);
    lane_add(m, LANE_DROPPED, r.dropped);
    lane_add(m, LANE_FRAMES, r.frames);
    if (r.replied) {
        histogram_add(&m->taken, lane_now_ns() - began);
    }
    if (r.wrong) {
        trouble(slot, "lane %s: call %llx (sid %llu) got another answer than its own: %s", l->name,
                (unsigned long long)number, (unsigned long long)r.sid, r.fault);
    } else if (!r.replied && !r.dropped) {
        trouble(slot, "lane %s: call %llx (sid %llu) was accepted and not answered in %.0f s", l->name,
                (unsigned long long)number, (unsigned long long)r.sid, l->timeout_s);
    }
}

void lane_one_by_one(lane_member *m, plugin_slot *slot, uint64_t count) {
    const lane *l = m->of;
    echo_call what = {
        .request = l->request,
        .fast = l->fast,
        .pieces = l->pieces,
        .may_fail = l->may_fail,
        .take = l->take,
        .pause_us = l->pause_us,
        .timeout_s = l->timeout_s,
    };
    what.request.payload = nrhost_bytes(m->body, l->body_len);
    if (what.request.by_id) {
        what.request.id = nrhost_resolve(slot->host, what.request.entry);
    }
    for (uint64_t i = 0; i < count && lane_goes_on(l); i++) {
        lane_pace(m);
        uint64_t number = lane_next(m);
        if (l->fire) {
            fire(m, slot);
        } else {
            exchange(m, slot, &what, number);
        }
    }
}

/* ---- several in the air ---- */

typedef struct flight {
    nrhost_call *call;
    uint64_t number, began_ns;
} flight;

static bool is_right(lane_member *m, plugin_slot *slot, const nrhost_frame *frame, uint64_t number) {
    const lane *l = m->of;
    if (frame->status == NR_ERR) {
        lane_add(m, LANE_FAILED, 1);
        return l->may_fail || atomic_load(&slot->stopping);
    }
    (l->json_body ? echo_fill_json : echo_fill)(m->seen, l->body_len, number);
    return frame->status == NR_OK && frame->len == l->body_len &&
           (frame->len == 0 || memcmp(frame->data, m->seen, frame->len) == 0);
}

/* False when the reply is not there yet, which is trouble with a `timeout_s`. Else the flight is over. */
static bool land(lane_member *m, plugin_slot *slot, flight *f, double timeout_s) {
    nrhost_frame frame;
    nrhost_outcome outcome = nrhost_call_next(f->call, timeout_s, &frame);
    if (outcome != NRHOST_FRAME && timeout_s <= 0) {
        return false;
    }
    if (outcome == NRHOST_FRAME) {
        histogram_add(&m->taken, lane_now_ns() - f->began_ns);
        lane_add(m, LANE_REPLIES, 1);
        lane_add(m, LANE_FRAMES, 1);
        if (!is_right(m, slot, &frame, f->number)) {
            trouble(slot, "lane %s: call %llx (sid %llu) got another answer than its own: %s, %zu bytes", m->of->name,
                    (unsigned long long)f->number, (unsigned long long)nrhost_call_sid(f->call),
                    nrhost_status_name(frame.status), frame.len);
        }
        nrhost_frame_free(&frame);
    } else {
        trouble(slot, "lane %s: call %llx (sid %llu) was accepted and not answered in %.0f s", m->of->name,
                (unsigned long long)f->number, (unsigned long long)nrhost_call_sid(f->call), timeout_s);
    }
    nrhost_call_release(f->call);
    return true;
}

/* An accepted call is in *f then. */
static bool take_off(lane_member *m, plugin_slot *slot, const nrhost_request *request, flight *f) {
    f->number = lane_next(m);
    f->began_ns = lane_now_ns();
    NrStatus status = nrhost_submit(slot->host, request, &f->call);
    if (f->call == NULL) {
        lane_refused(m, slot, status, f->began_ns);
        return false;
    }
    lane_add(m, LANE_ACCEPTED, 1);
    return true;
}

/* Replies are taken in the order of the calls: once the window is full those that are there, in a paced lane at each
 * call, and the rest at the end. */
void lane_in_window(lane_member *m, plugin_slot *slot, uint64_t count) {
    const lane *l = m->of;
    flight *flights = calloc(l->window, sizeof *flights);
    uint64_t first = 0, last = 0;
    nrhost_request request = l->request;
    request.payload = nrhost_bytes(m->body, l->body_len);
    if (request.by_id) {
        request.id = nrhost_resolve(slot->host, request.entry);
    }
    if (flights == NULL) {
        trouble(NULL, "lane %s: out of memory", l->name);
        return;
    }
    for (uint64_t i = 0; i < count && lane_goes_on(l); i++) {
        lane_pace(m);
        bool full = last - first == l->window, looks = full || l->rate > 0;
        while (looks && first < last && land(m, slot, &flights[first % l->window], full ? l->timeout_s : 0)) {
            first++;
            full = false;
        }
        last += take_off(m, slot, &request, &flights[last % l->window]);
    }
    while (first < last) {
        land(m, slot, &flights[first++ % l->window], l->timeout_s);
    }
    free(flights);
}
