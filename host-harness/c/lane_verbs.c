/* The verbs of lanes: begin one, tell how all do, stop, and load a plugin anew under them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lane.h"

#define BATCH 256u

static pthread_mutex_t lanes_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list, and what `lanes` told last */
static lane *lanes;

static void read_lane(lane *l, const command *c) {
    static _Atomic uint64_t numbers;
    const char *kind = command_text(c, "kind", "unary"), *door = command_text(c, "door", "handle");
    bool duplex = strcmp(kind, "duplex") == 0;
    snprintf(l->entry, sizeof l->entry, "%s", command_text(c, "entry", ""));
    snprintf(l->plugin, sizeof l->plugin, "%s", command_text(c, "plugin", "main"));
    snprintf(l->name, sizeof l->name, "%s", command_text(c, "name", l->entry));
    l->number = atomic_fetch_add(&numbers, 1) + 1;
    l->metadata = (NrRequest){
        .path = nrhost_str("/soak"), .method = nrhost_str("POST"), .query = nrhost_str("a=1"), .headers = NULL};
    l->request = (nrhost_request){
        .entry = nrhost_str(l->entry),
        .metadata = command_flag(c, "metadata") ? &l->metadata : NULL,
        .kind = duplex || strcmp(kind, "stream") == 0 ? NRHOST_STREAM : NRHOST_UNARY,
        .raw = strcmp(door, "raw") == 0,
        .by_id = strcmp(door, "id") == 0 || strcmp(door, "fast_id") == 0,
    };
    l->fast = strncmp(door, "fast", 4) == 0;
    l->fire = strcmp(kind, "fire") == 0;
    l->json_body = command_flag(c, "json");
    l->may_fail = command_flag(c, "may_fail");
    l->may_refuse = command_flag(c, "may_refuse");
    l->bad = command_u64(c, "bad", 0);
    l->pieces = duplex ? command_u64(c, "pieces", 8) : 0;
    l->take = command_u64(c, "take", 0);
    l->pause_us = (unsigned)command_u64(c, "pause_us", 0);
    l->body_len = (size_t)command_u64(c, "body_size", 64);
    l->window = (size_t)command_u64(c, "window", 1);
    l->batch = command_u64(c, "batch", BATCH);
    l->life = command_u64(c, "life", 0);
    l->timeout_s = command_seconds(c, "timeout", DRIVE_TIMEOUT_S);
    l->rate = command_seconds(c, "rate", 0);
    pthread_mutex_init(&l->lock, NULL);
}

/*
 * lane entry= [name=] [plugin=] [kind=unary|stream|duplex|fire] [door=handle|raw|fast|id|fast_id] [metadata=1]
 *      [threads=1] [window=1] [batch=256] [life=CALLS] [rate=PER_SECOND] [body_size=64] [pieces=8] [json=1]
 *      [may_fail=1] [may_refuse=1] [take=FRAMES] [pause_us=] [bad=1] [timeout=SECONDS]
 */
void verb_lane(const command *c, json *out) {
    plugin_slot *slot = plugin_find(c, out);
    lane *l = slot != NULL ? calloc(1, sizeof *l) : NULL;
    size_t threads = (size_t)command_u64(c, "threads", 1);
    if (slot == NULL) {
        return;
    }
    if (l == NULL) {
        json_fail(out, "out of memory");
        plugin_done(slot);
        return;
    }
    read_lane(l, c);
    l->lineage = slot->lineage;
    plugin_done(slot);
    if (threads == 0 || threads > LANE_THREADS_MAX || l->window == 0 || l->batch == 0 ||
        (l->json_body && l->body_len < ECHO_JSON_MIN) ||
        (l->pieces == 0 && l->request.kind == NRHOST_STREAM && l->window > 1)) {
        json_fail(out,
                  "lane %s: 1 to %u threads, a window and a batch of at least 1 (no streams in a window), and with "
                  "json=1 bodies of at least %d bytes",
                  l->name, LANE_THREADS_MAX, ECHO_JSON_MIN);
        lane_free(l);
        return;
    }
    if (!lane_start(l, threads)) {
        json_fail(out, "lane %s: only %zu of %zu threads could be started", l->name, l->started, threads);
        lane_end(l);
        lane_free(l);
        return;
    }
    pthread_mutex_lock(&lanes_lock);
    l->following = lanes;
    lanes = l;
    pthread_mutex_unlock(&lanes_lock);
}

static const char *const count_names[LANE_COUNTS] = {"calls",  "accepted", "refused", "replies",
                                                     "failed", "dropped",  "frames",  "lives"};

/* With the lanes locked. The times are those since it was last told; with `all` those of the lane's whole life. */
static void tell(lane *l, bool all, json *out) {
    uint64_t counts[LANE_COUNTS] = {0}, sums[2][HISTOGRAM_SIZE] = {0};
    for (size_t i = 0; i < l->started; i++) {
        for (size_t k = 0; k < LANE_COUNTS; k++) {
            counts[k] += atomic_load_explicit(&l->members[i].counts[k], memory_order_relaxed);
        }
        histogram_sum(sums[0], &l->members[i].taken);
        histogram_sum(sums[1], &l->members[i].refused);
    }
    json_open(out, l->name, '{');
    for (size_t k = 0; k < LANE_COUNTS; k++) {
        json_u64(out, count_names[k], counts[k]);
    }
    for (size_t which = 0; which < 2; which++) {
        uint64_t fresh[HISTOGRAM_SIZE];
        for (size_t i = 0; i < HISTOGRAM_SIZE; i++) {
            fresh[i] = sums[which][i] - (all ? 0 : l->shown[which][i]);
        }
        memcpy(l->shown[which], sums[which], sizeof sums[which]);
        json_quantiles(out, which == 0 ? "" : "refused_", fresh);
    }
    json_close(out, '}');
}

static void tell_plugin(void *given, plugin_slot *slot) {
    json *out = given;
    nrhost_report report;
    trouble_look(slot, false);
    if (plugin_report(slot, &report)) {
        json_report(out, slot->name, &report);
    }
}

/* lanes: what all of them have come to, and the ledgers. */
void verb_lanes(const command *c, json *out) {
    json_open(out, "lanes", '{');
    pthread_mutex_lock(&lanes_lock);
    for (lane *l = lanes; l != NULL; l = l->following) {
        tell(l, false, out);
    }
    pthread_mutex_unlock(&lanes_lock);
    json_close(out, '}');
    json_open(out, "ledgers", '{');
    plugins_each(tell_plugin, out);
    json_close(out, '}');
    json_bool(out, "trouble", trouble_found());
    verb_rss(c, out);
}

/* lane_stop [name=]: that lane or all; what they came to, once their calls are over. */
void verb_lane_stop(const command *c, json *out) {
    const char *name = command_text(c, "name", NULL);
    lane *stopped = NULL;
    pthread_mutex_lock(&lanes_lock);
    for (lane **link = &lanes; *link != NULL;) {
        lane *l = *link;
        if (name == NULL || strcmp(name, l->name) == 0) {
            *link = l->following;
            l->following = stopped;
            stopped = l;
            atomic_store(&l->over, true);
        } else {
            link = &l->following;
        }
    }
    pthread_mutex_unlock(&lanes_lock);
    json_open(out, "lanes", '{');
    while (stopped != NULL) {
        lane *l = stopped;
        stopped = l->following;
        lane_end(l);
        tell(l, true, out);
        lane_free(l);
    }
    json_close(out, '}');
    json_bool(out, "trouble", trouble_found());
}

/*
 * churn [n=] [seconds=] [plugin=] [drain=PERCENT] [pause_us=] [seed=]: loads the plugin anew under its lanes, so often
 * or so long, until there was trouble. In so many of a hundred reloads the calls in progress are waited for.
 */
void verb_churn(const command *c, json *out) {
    uint64_t rounds = command_u64(c, "n", UINT64_MAX), done = 0, random = command_u64(c, "seed", 1) | 1;
    uint64_t drained = command_u64(c, "drain", 50), pause_us = command_u64(c, "pause_us", 0);
    double until_s = (double)lane_now_ns() / 1e9 + command_seconds(c, "seconds", 1e9);
    json broken = {0};
    for (; done < rounds && !trouble_found() && (double)lane_now_ns() / 1e9 < until_s; done++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        if (!plugin_reload(c, (random >> 33) % 100 < drained, &broken, out)) {
            trouble(NULL, "reload %llu of %s: %.300s", (unsigned long long)done, command_text(c, "plugin", "main"),
                    out->text);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = (long)pause_us * 1000}, NULL);
    }
    json_free(&broken);
    json_u64(out, "reloads", done);
}
