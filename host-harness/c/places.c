/* On which thread a verb runs: the host's main one, a fresh one, or one of a pool that stays. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define POOL_MAX 64u

typedef struct job {
    verb *run;
    command c;
    json out;
    uint64_t id;
    bool async;
    bool in_pool;
    bool done;
    pthread_t thread;
    struct job *next;
} job;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static job *jobs; /* asynchronous ones, until joined */
static uint64_t last_id;
static job *pool[POOL_MAX]; /* what each pool thread is to run */
static bool pool_started[POOL_MAX];

int place_thread(pthread_t *thread, size_t stack, void *(*run)(void *), void *given) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (stack > 0) {
        int fault = pthread_attr_setstacksize(&attributes, stack);
        if (fault != 0) {
            pthread_attr_destroy(&attributes);
            return fault;
        }
    }
    int fault = pthread_create(thread, &attributes, run, given);
    pthread_attr_destroy(&attributes);
    return fault;
}

static void finish(job *j) {
    pthread_mutex_lock(&lock);
    j->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void *thread_main(void *given) {
    job *j = given;
    j->run(&j->c, &j->out);
    finish(j);
    return NULL;
}

static void *pool_main(void *given) {
    job **mine = given;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (*mine == NULL) {
            pthread_cond_wait(&changed, &lock);
        }
        job *j = *mine;
        pthread_mutex_unlock(&lock);
        j->run(&j->c, &j->out);
        pthread_mutex_lock(&lock);
        *mine = NULL;
        j->done = true;
        pthread_cond_broadcast(&changed);
    }
    return NULL;
}

static int start_in_pool(job *j, size_t index, size_t stack) {
    int fault = 0;
    pthread_mutex_lock(&lock);
    if (!pool_started[index]) {
        pthread_t thread;
        fault = place_thread(&thread, stack, pool_main, &pool[index]);
        if (fault == 0) {
            pthread_detach(thread);
            pool_started[index] = true;
        }
    }
    while (fault == 0 && pool[index] != NULL) {
        pthread_cond_wait(&changed, &lock);
    }
    if (fault == 0) {
        pool[index] = j;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return fault;
}

static void wait_done(job *j) {
    pthread_mutex_lock(&lock);
    while (!j->done) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void free_job(job *j) {
    command_free(&j->c);
    json_free(&j->out);
    free(j);
}

/* Ends the waiting for a job, and passes its answer on. Takes the job. */
static void collect(job *j, json *out) {
    wait_done(j);
    if (!j->in_pool) {
        pthread_join(j->thread, NULL);
    }
    json_free(out);
    *out = j->out;
    j->out = (json){0};
    free_job(j);
}

static void refuse(job *j, json *out, int fault) {
    json_fail(out, "no thread for %s: %s", j->c.verb, strerror(fault));
    free_job(j);
}

void place_run(verb *run, const char *line, json *out) {
    job *j = calloc(1, sizeof *j);
    if (j == NULL || !command_parse(&j->c, line)) {
        json_fail(out, "out of memory");
        free(j);
        return;
    }
    j->run = run;
    j->async = command_flag(&j->c, "async");
    const char *place = command_text(&j->c, "on", j->async ? "thread" : "main");
    bool in_pool = strncmp(place, "pool:", 5) == 0;
    if (!in_pool && strcmp(place, "thread") != 0) {
        run(&j->c, out);
        free_job(j);
        return;
    }
    j->in_pool = in_pool;
    size_t stack = (size_t)command_u64(&j->c, "stack", 0);
    size_t index = in_pool ? strtoul(place + 5, NULL, 10) % POOL_MAX : 0;
    json_open(&j->out, NULL, '{');
    json_bool(&j->out, "ok", true);
    if (j->async) {
        pthread_mutex_lock(&lock);
        j->id = ++last_id;
        pthread_mutex_unlock(&lock);
        json_u64(out, "job", j->id);
    }
    bool async = j->async;
    int fault = in_pool ? start_in_pool(j, index, stack) : place_thread(&j->thread, stack, thread_main, j);
    if (fault != 0) {
        refuse(j, out, fault);
    } else if (async) {
        pthread_mutex_lock(&lock);
        j->next = jobs;
        jobs = j;
        pthread_mutex_unlock(&lock);
    } else {
        collect(j, out);
    }
}

void verb_join(const command *c, json *out) {
    uint64_t id = command_u64(c, "job", 0);
    pthread_mutex_lock(&lock);
    job **link = &jobs;
    while (*link != NULL && (*link)->id != id) {
        link = &(*link)->next;
    }
    job *j = *link;
    if (j != NULL) {
        *link = j->next;
    }
    pthread_mutex_unlock(&lock);
    if (j == NULL) {
        json_fail(out, "no job %llu", (unsigned long long)id);
        return;
    }
    collect(j, out);
}
