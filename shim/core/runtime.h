/*
 * The one interpreter of the process: started or joined once, never finalized.
 */
#ifndef NRPY_RUNTIME_H
#define NRPY_RUNTIME_H

#include "core_table.h"

#include <stdatomic.h>
#include <stdbool.h>

/* False in a forked child and once exit() has begun: nobody may wait for the GIL any more. */
extern _Atomic bool nrpy_runtime_dead;

static inline bool nrpy_is_alive(void) {
    return !atomic_load_explicit(&nrpy_runtime_dead, memory_order_acquire);
}

/*
 * Makes sure that Python runs, and that it is the one this plugin was built for. Any thread; only one does the work, the
 * others wait. Must not hold the GIL. Returns 0, or -1 with one line in args->error.
 */
int nrpy_runtime_start(const nrpy_open_args *args);

/* Whether Python was started here, so that its main thread is the runtime's; and whether that is another thread than this.
 * Need the GIL. */
bool nrpy_runtime_is_ours(void);
bool nrpy_runtime_is_elsewhere(void);

/* After imports: has our exit handler run before those of libraries that were loaded meanwhile. Any thread. */
void nrpy_runtime_be_first_at_exit(void);

#endif /* NRPY_RUNTIME_H */
