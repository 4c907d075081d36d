/*
 * Who is let in: a call that stays open beyond its handler, or has limits, gets its exchange here.
 */
#ifndef NRPY_ADMISSION_H
#define NRPY_ADMISSION_H

#include "exchange.h"

/*
 * Counts the call against its entry's `max_pending`, registers its exchange and arms its deadline. `waiter` is who
 * sends its reply, or NULL. Returns a reference, or NULL with the status that `handle` answers.
 */
nrpy_exchange *nrpy_admit(nrpy_instance *instance, const nrpy_entry *entry, uint64_t sid, nrpy_waiter *waiter,
                          NrStatus *status);

#endif /* NRPY_ADMISSION_H */
