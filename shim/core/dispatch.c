#include "dispatch.h"

#include "direct.h"
#include "queued.h"
#include "runtime.h"
#include "views.h"

NrStatus nrpy_refusal(nrpy_instance *instance) {
    bool ends = !nrpy_is_alive() || atomic_load(&instance->phase) == NRPY_CLOSING;
    return ends ? NR_ERR : NR_INVALID;
}

static const nrpy_entry *find_entry(nrpy_instance *instance, NrStr name) {
    bool is_name = name.len > 0 && nrpy_can_hold_text(name);
    return is_name ? nrpy_entries_find(&instance->entries, name) : NULL;
}

/* `entry` is NULL where the host asked for none of ours. */
static inline NrStatus handle_entry(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid,
                                    const NrRequest *req, NrBytes payload) {
    if (entry == NULL || !nrpy_can_hold(payload.ptr, payload.len) || (req != NULL && !nrpy_is_valid_request(req)) ||
        nrpy_registry_has_stream(&instance->registry, sid)) {
        return NR_INVALID;
    }
    nrpy_request_view view = nrpy_view_request(req, payload);
    if ((entry->flags & NRPY_SYNC) != 0) {
        return nrpy_run_directly(instance, entry, sid, &view);
    }
    return nrpy_submit(instance, entry, sid, &view);
}

NrStatus nrpy_handle(nrpy_instance *instance, NrStr name, uint64_t sid, const NrRequest *req, NrBytes payload) {
    if (!nrpy_is_open(instance) || !nrpy_is_alive()) {
        return nrpy_refusal(instance);
    }
    return handle_entry(instance, find_entry(instance, name), sid, req, payload);
}

NrStatus nrpy_handle_by_id(nrpy_instance *instance, uint32_t id, uint64_t sid, NrBytes payload) {
    if (!nrpy_is_open(instance) || !nrpy_is_alive()) {
        return nrpy_refusal(instance);
    }
    return handle_entry(instance, nrpy_entry_by_id(&instance->entries, id), sid, NULL, payload);
}

uint32_t nrpy_resolve_entry(nrpy_instance *instance, NrStr name) {
    const nrpy_entry *entry = nrpy_is_open(instance) ? find_entry(instance, name) : NULL;
    return entry != NULL ? nrpy_entry_id(&instance->entries, entry) : NR_ENTRY_UNKNOWN;
}
