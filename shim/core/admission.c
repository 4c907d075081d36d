#include "admission.h"

#include "deadline.h"
#include "host.h"
#include "instance.h"

nrpy_exchange *nrpy_admit(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, nrpy_waiter *waiter,
                          NrStatus *status) {
    uint64_t limit = entry->limits->max_pending;
    *status = NR_ERR;
    if (limit != 0 && atomic_fetch_add(&entry->counters->pending, 1) >= limit) {
        *status = nrpy_host_full(&instance->host);
        goto refused;
    }
    nrpy_exchange *exchange = nrpy_exchange_new(instance, entry, sid);
    if (exchange == NULL) {
        goto refused;
    }
    exchange->waiter = waiter;
    nrpy_add_result added = nrpy_registry_add(&instance->registry, exchange);
    if (added == NRPY_ADDED && nrpy_deadlines_start(exchange) == 0) {
        *status = NR_OK;
        return exchange;
    }
    *status = added == NRPY_STREAM_IS_OPEN ? NR_INVALID : NR_ERR;
    if (!nrpy_exchange_abandon(exchange)) {
        *status = NR_OK; /* close was faster, and has replied */
    }
    nrpy_exchange_release(exchange);
    return NULL;
refused:
    if (limit != 0) {
        atomic_fetch_sub(&entry->counters->pending, 1);
    }
    return NULL;
}
