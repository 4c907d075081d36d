/*
 * Whose plugins this process takes.
 */
#ifndef NRPY_TRUST_H
#define NRPY_TRUST_H

#include "core_table.h"

/* Whether the plugin may be loaded: no keys are given, or one of them has signed it. Where it may not, args->error says
 * why, and none of its code was run. Needs the GIL; leaves no exception. */
int nrpy_trust_check(const nrpy_open_args *args);

#endif /* NRPY_TRUST_H */
