/*
 * The monitor: a thread of ours that needs no GIL. It notices queues that do not move and gives them another worker.
 */
#ifndef NRPY_MONITOR_H
#define NRPY_MONITOR_H

struct nrpy_pool;

/* Before anything else of this file. */
void nrpy_monitor_init(void);

/* Runs until the process ends; called by the runtime's own thread. `urgent` is called on that thread when
 * nrpy_monitor_interrupt was, `now_and_then` some 30 times a second while workers are at work, and once more after. */
void nrpy_monitor_run(void (*urgent)(void), void (*now_and_then)(void));

/* What the monitor's thread does for somebody, once. */
typedef struct nrpy_errand {
    void (*run)(struct nrpy_errand *errand); /* may free it; no lock is held */
    struct nrpy_errand *next;                /* the monitor's */
} nrpy_errand;

/* Has an errand run, after those before it. For when there is no thread to be had: nothing is watched meanwhile. */
void nrpy_monitor_do(nrpy_errand *errand);

/* Has `urgent` called soon. Any thread. */
void nrpy_monitor_interrupt(void);

void nrpy_monitor_watch(struct nrpy_pool *pool);
void nrpy_monitor_forget(struct nrpy_pool *pool);

/* A worker has begun to work: ticks are needed. Cheap while they run. */
void nrpy_monitor_arm(void);

#endif /* NRPY_MONITOR_H */
