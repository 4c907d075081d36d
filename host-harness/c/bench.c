/* `nrhost bench`: how long the plugin takes, with as little host around it as can be. */
#include "bench.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define MAX_LANES 65000u /* a lane's number has 16 bits of the sid */
#define OWN_LANES 2u     /* for --busy and its end */

static const char usage[] =
    "nrhost bench PLUGIN ENTRY --kind KIND [options]\n"
    "\n"
    "  unary       handle with a request, the reply inside: ns a call, median of batches\n"
    "  latency     the same, each call by itself: p50, p99, p99.9, p99.99, the worst\n"
    "  raw         as unary, without a request\n"
    "  id          the same by the entry's number, in v2\n"
    "  fast        the same through the library's nrhost_call_fast: slot, copy of the reply and all\n"
    "  submit      how long handle itself takes, replies coming later: p50, p99, p99.9; --window calls,\n"
    "              then their replies are awaited\n"
    "  throughput  calls a second with at most --window outstanding; and the memory it has taken when all are "
    "answered\n"
    "  roundtrip   one call at a time, the thread spinning for its reply: p50, p99\n"
    "  stream      frames a second\n"
    "  echo        frames a second through --streams that send back what they are sent; --calls frames in all,\n"
    "              each sent again while it is refused\n"
    "  idle        what --streams take of memory which are open, and have sent one frame back\n"
    "  load        from opening the file to the first reply; with --second FILE, which may be given up to 32 times,\n"
    "              the same of further plugins after it: the median, and the memory of one\n"
    "\n"
    "  --calls N (100000)  --warmup N (a tenth)  --threads T (1)  --window W (1024)  --streams S (1)\n"
    "  --body BYTES (128)  --headers N (3)  --abi v1|v1-raw|v2 (v1)  --raw  --json\n"
    "  --reply BYTES (any) how long each reply, or frame of a stream, has to be: another length is a failure\n"
    "  --elsewhere         every call from a thread of its own, none from the host's main thread, which loaded it\n"
    "  --pace NS (0)       submit: from one call to the next; latency: from a reply to the next call\n"
    "  --busy ENTRY --busy-end ENTRY   submit, latency: meanwhile a stream of the first runs, which sends one frame\n"
    "                      when it has begun; a call of the second, answered inside handle, ends it\n";

enum {
    KIND = 1,
    CALLS,
    WARMUP,
    THREADS,
    WINDOW,
    BODY,
    HEADERS,
    ABI,
    RAW,
    JSON,
    HELP,
    PACE,
    BUSY,
    BUSY_END,
    SECOND,
    STREAMS,
    ELSEWHERE,
    REPLY
};

static const struct option table[] = {
    {"kind", required_argument, NULL, KIND},
    {"calls", required_argument, NULL, CALLS},
    {"warmup", required_argument, NULL, WARMUP},
    {"threads", required_argument, NULL, THREADS},
    {"window", required_argument, NULL, WINDOW},
    {"body", required_argument, NULL, BODY},
    {"headers", required_argument, NULL, HEADERS},
    {"abi", required_argument, NULL, ABI},
    {"raw", no_argument, NULL, RAW},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, HELP},
    {"pace", required_argument, NULL, PACE},
    {"busy", required_argument, NULL, BUSY},
    {"busy-end", required_argument, NULL, BUSY_END},
    {"second", required_argument, NULL, SECOND},
    {"streams", required_argument, NULL, STREAMS},
    {"elsewhere", no_argument, NULL, ELSEWHERE},
    {"reply", required_argument, NULL, REPLY},
    {0},
};

static bool read_options(bench *b, int argc, char **argv) {
    *b = (bench){.calls = 100000,
                 .threads = 1,
                 .streams = 1,
                 .window = 1024,
                 .body = 128,
                 .headers = 3,
                 .warmup = UINT64_MAX,
                 .reply_len = BENCH_ANY_LENGTH};
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        switch (option) {
        case KIND:
            b->kind = optarg;
            break;
        case CALLS:
            b->calls = number;
            break;
        case WARMUP:
            b->warmup = number;
            break;
        case THREADS:
            b->threads = (size_t)number;
            break;
        case WINDOW:
            b->window = (size_t)number;
            break;
        case BODY:
            b->body = (size_t)number;
            break;
        case HEADERS:
            b->headers = (uint32_t)number;
            break;
        case ABI:
            if (!nrhost_abi_named(optarg, &b->abi)) {
                return false;
            }
            break;
        case RAW:
            b->raw = true;
            break;
        case JSON:
            b->json = true;
            break;
        case PACE:
            b->pace_ns = number;
            break;
        case BUSY:
            b->busy = optarg;
            break;
        case BUSY_END:
            b->busy_end = optarg;
            break;
        case SECOND:
            if (b->second_count == BENCH_MOST_FURTHER) {
                return false;
            }
            b->second[b->second_count++] = optarg;
            break;
        case STREAMS:
            b->streams = (size_t)number;
            break;
        case ELSEWHERE:
            b->elsewhere = true;
            break;
        case REPLY:
            b->reply_len = number;
            break;
        case HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            return false;
        }
    }
    if (b->warmup == UINT64_MAX) {
        b->warmup = b->calls / 10;
    }
    if (argc - optind != 2 || b->kind == NULL || b->calls == 0 || b->threads == 0 || b->streams == 0 ||
        b->window == 0) {
        return false;
    }
    b->plugin = argv[optind];
    b->entry = argv[optind + 1];
    bool is_busy_whole = (b->busy == NULL) == (b->busy_end == NULL) && (b->busy == NULL || b->threads == 1);
    return is_busy_whole && b->threads <= MAX_LANES && b->streams <= MAX_LANES;
}

static bool make_request(bench *b) {
    static const char *const names[] = {"host", "accept", "user-agent", "x-request-id", "cookie"};
    NrHeader *headers = calloc(b->headers + 1, sizeof *headers);
    uint8_t *body = pattern_of(b->body);
    if (headers == NULL || body == NULL) {
        free(headers);
        free(body);
        return false;
    }
    for (uint32_t i = 0; i < b->headers; i++) {
        headers[i].key = nrhost_str(names[i % (sizeof names / sizeof *names)]);
        headers[i].value = nrhost_str("a header's value");
    }
    b->metadata = (NrRequest){.path = nrhost_str("/bench/path"),
                              .method = nrhost_str("POST"),
                              .query = nrhost_str("a=1&b=2"),
                              .headers = headers,
                              .headers_len = b->headers};
    b->headers_owned = headers;
    b->payload = nrhost_bytes(body, b->body);
    b->body_owned = body;
    return true;
}

static bench_run *run_of(const char *kind) {
    static const struct {
        const char *name;
        bench_run *run;
    } kinds[] = {
        {"unary", bench_inside},
        {"latency", bench_latency},
        {"raw", bench_inside},
        {"id", bench_inside},
        {"fast", bench_fast},
        {"submit", bench_submit},
        {"throughput", bench_throughput},
        {"roundtrip", bench_roundtrip},
        {"stream", bench_stream},
        {"load", bench_load},
        {"echo", bench_echo},
        {"idle", bench_idle},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, kind) == 0) {
            return kinds[i].run;
        }
    }
    return NULL;
}

static void print(const bench *b, const json *results) {
    if (b->json) {
        puts(results->text);
        return;
    }
    for (const char *c = results->text; *c != '\0'; c++) {
        if (strchr("{}\"", *c) == NULL) {
            putchar(*c == ',' ? '\n' : *c);
        }
    }
    putchar('\n');
}

/* A host has threads, and glibc's locks are cheaper in a process that never had one: without this thread a plugin that
 * starts none would seem faster than it can be anywhere else. */
static pthread_mutex_t over = PTHREAD_MUTEX_INITIALIZER;

static void *be_there(void *unused) {
    pthread_mutex_lock(&over);
    pthread_mutex_unlock(&over);
    return unused;
}

static nrhost *load(bench *b, char *why, size_t why_size) {
    b->rss_kib_before = process_rss_kib();
    b->load_began_ns = bench_now_ns();
    nrhost *host = nrhost_load(b->plugin, &b->options, why, why_size);
    b->load_ns = bench_now_ns() - b->load_began_ns;
    return host;
}

int command_bench(int argc, char **argv) {
    bench b;
    if (!read_options(&b, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    bench_run *run = run_of(b.kind);
    if (run == NULL) {
        fprintf(stderr, "nrhost bench: there is no kind %s\n%s", b.kind, usage);
        return 2;
    }
    b.raw = b.raw || strcmp(b.kind, "raw") == 0;
    b.by_id = strcmp(b.kind, "id") == 0;
    b.options = (nrhost_options){.abi = b.abi};
    if (run != bench_fast) {
        b.options.vtable = b.abi == NRHOST_V2 ? (const void *)&bench_vtable_v2 : &bench_vtable_v1;
        b.options.host_ctx = &b;
    }
    char why[512];
    int code = 1;
    nrhost *host = NULL;
    pthread_t idle;
    pthread_mutex_lock(&over);
    bool has_idle = pthread_create(&idle, NULL, be_there, NULL) == 0;
    if (!has_idle || !bench_tallies_make((b.threads > b.streams ? b.threads : b.streams) + OWN_LANES) ||
        !make_request(&b)) {
        fprintf(stderr, "nrhost bench: out of memory\n");
    } else if ((host = load(&b, why, sizeof why)) == NULL) {
        fprintf(stderr, "nrhost bench: %s\n", why);
    } else {
        b.host = host;
        b.functions = nrhost_functions_of(host);
        json results = {0};
        json_open(&results, NULL, '{');
        json_string(&results, "kind", b.kind);
        json_string(&results, "entry", b.entry);
        b.id = b.by_id ? nrhost_resolve(host, nrhost_str(b.entry)) : 0;
        const char *fault = b.by_id && b.id == NR_ENTRY_UNKNOWN
                                ? "the plugin has no number for this entry: --kind id is for ABI v2"
                                : run(&b, &results);
        json_close(&results, '}');
        if (fault != NULL) {
            fprintf(stderr, "nrhost bench: %s\n", fault);
        } else {
            print(&b, &results);
            code = 0;
        }
        json_free(&results);
        nrhost_unload(host);
    }
    free(b.headers_owned);
    free(b.body_owned);
    bench_tallies_free();
    pthread_mutex_unlock(&over);
    if (has_idle) {
        pthread_join(idle, NULL);
    }
    return code;
}
