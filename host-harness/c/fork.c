/* fork, for hosts that have threads: the child finds every lock of its host free, and may go on with its copy. */
#include <unistd.h>

#include "ledger.h"

/* In the order in which calls take them: a shard, a page, what the pages share. */
static void lock_all(nrhost *host) {
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        pthread_mutex_lock(&host->shards[i].lock);
    }
    if (host->ledger != NULL) {
        for (size_t i = 0; i < NRHOST_PAGES; i++) {
            pthread_mutex_lock(&host->ledger->pages[i].lock);
        }
        pthread_mutex_lock(&host->ledger->lock);
    }
}

static void unlock_all(nrhost *host) {
    if (host->ledger != NULL) {
        pthread_mutex_unlock(&host->ledger->lock);
        for (size_t i = 0; i < NRHOST_PAGES; i++) {
            pthread_mutex_unlock(&host->ledger->pages[i].lock);
        }
    }
    for (size_t i = 0; i < NRHOST_SHARDS; i++) {
        pthread_mutex_unlock(&host->shards[i].lock);
    }
}

pid_t nrhost_fork(nrhost *host) {
    lock_all(host);
    pid_t child = fork();
    unlock_all(host);
    return child;
}
