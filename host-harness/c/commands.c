/* What a person types: nrhost call, stream, info, bench, drive. */
#include "commands.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define HEADERS_MAX 256
#define SENDS_MAX 256
#define TIMEOUT_S 30.0

static const char usage[] =
    "nrhost: load a nylon-ring plugin and call it\n"
    "\n"
    "  nrhost info PLUGIN\n"
    "  nrhost call PLUGIN ENTRY [--raw] [--fast] [--id] [--count N] [request]\n"
    "  nrhost stream PLUGIN ENTRY [--send TEXT ...] [--close] [request]\n"
    "  nrhost bench PLUGIN ENTRY --kind KIND [--calls N]   (nrhost bench --help)\n"
    "  nrhost drive                                        commands on stdin, JSON on stdout, for tests\n"
    "\n"
    "request:  --method M  --path P  --query Q  --header K:V ...  --body TEXT|@FILE  --timeout SECONDS\n"
    "plugin:   --abi v1|v1-raw|v2   v1 (default): five functions; v1-raw: six, with handle_raw\n"
    "          --raw, --fast, --id: without a request (v1), the reply inside handle, by number (v2)\n"
    "\n"
    "Exit code: 0 when every call was answered Ok (a stream: StreamEnd), 1 when not, 2 for wrong usage.\n";

typedef struct options {
    const char *plugin, *entry;
    nrhost_options host;
    NrRequest metadata;
    NrHeader headers[HEADERS_MAX];
    NrBytes body;
    uint8_t *file; /* owned: the body when it came from a file */
    bool raw, fast, by_id, close;
    unsigned long count;
    double timeout_s;
    const char *sends[SENDS_MAX];
    size_t send_count;
} options;

enum { RAW = 1, FAST, COUNT, SEND, CLOSE, METHOD, PATH, QUERY, HEADER, BODY, TIMEOUT, ABI, ID, HELP };

static const struct option table[] = {
    {"raw", no_argument, NULL, RAW},
    {"fast", no_argument, NULL, FAST},
    {"count", required_argument, NULL, COUNT},
    {"send", required_argument, NULL, SEND},
    {"close", no_argument, NULL, CLOSE},
    {"method", required_argument, NULL, METHOD},
    {"path", required_argument, NULL, PATH},
    {"query", required_argument, NULL, QUERY},
    {"header", required_argument, NULL, HEADER},
    {"body", required_argument, NULL, BODY},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"abi", required_argument, NULL, ABI},
    {"id", no_argument, NULL, ID},
    {"help", no_argument, NULL, HELP},
    {0},
};

static bool add_header(options *o, char *text) {
    char *colon = strchr(text, ':');
    if (colon == NULL || o->metadata.headers_len == HEADERS_MAX) {
        fprintf(stderr, "nrhost: --header takes NAME:VALUE, at most %d times; got %s\n", HEADERS_MAX, text);
        return false;
    }
    *colon++ = '\0';
    o->headers[o->metadata.headers_len++] =
        (NrHeader){.key = nrhost_str(text), .value = nrhost_str(colon + strspn(colon, " "))};
    return true;
}

static bool set_body(options *o, const char *text) {
    if (text[0] != '@') {
        o->body = nrhost_bytes(text, strlen(text));
        return true;
    }
    FILE *file = fopen(text + 1, "rb");
    size_t room = 0, len = 0;
    while (file != NULL && !feof(file) && !ferror(file)) {
        room = room ? room * 2 : 65536;
        uint8_t *more = realloc(o->file, room);
        if (more == NULL) {
            break;
        }
        o->file = more;
        len += fread(o->file + len, 1, room - len, file);
    }
    bool whole = file != NULL && feof(file);
    if (file != NULL) {
        fclose(file);
    }
    if (!whole) {
        fprintf(stderr, "nrhost: cannot read the body from %s\n", text + 1);
    }
    o->body = nrhost_bytes(o->file, len);
    return whole;
}

static bool take_option(options *o, int option, char *value) {
    switch (option) {
    case RAW:
        o->raw = true;
        return true;
    case FAST:
        o->fast = true;
        return true;
    case COUNT:
        o->count = strtoul(value, NULL, 10);
        return o->count > 0;
    case CLOSE:
        o->close = true;
        return true;
    case METHOD:
        o->metadata.method = nrhost_str(value);
        return true;
    case PATH:
        o->metadata.path = nrhost_str(value);
        return true;
    case QUERY:
        o->metadata.query = nrhost_str(value);
        return true;
    case HEADER:
        return add_header(o, value);
    case BODY:
        return set_body(o, value);
    case TIMEOUT:
        o->timeout_s = strtod(value, NULL);
        return true;
    case SEND:
        if (o->send_count < SENDS_MAX) {
            o->sends[o->send_count++] = value;
            return true;
        }
        return false;
    case ABI:
        return nrhost_abi_named(value, &o->host.abi);
    case ID:
        o->by_id = true;
        return true;
    default:
        return false;
    }
}

/* Free with free(o->file). False when the command cannot run. */
static bool read_options(options *o, int argc, char **argv, int words) {
    *o = (options){.timeout_s = TIMEOUT_S, .count = 1, .host = {.ledger = true}};
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == HELP) {
            fputs(usage, stdout);
            exit(0);
        }
        if (option == '?' || !take_option(o, option, optarg)) {
            fprintf(stderr, "nrhost: an option is wrong; nrhost --help lists them\n");
            return false;
        }
    }
    if (argc - optind != words) {
        fputs(usage, stderr);
        return false;
    }
    o->plugin = argv[optind];
    o->entry = words > 1 ? argv[optind + 1] : NULL;
    o->metadata.headers = o->headers;
    return true;
}

static nrhost *load(const options *o) {
    char why[512];
    nrhost *host = nrhost_load(o->plugin, &o->host, why, sizeof why);
    if (host == NULL) {
        fprintf(stderr, "nrhost: %s\n", why);
    }
    return host;
}

static void print_frame(const nrhost_frame *frame) {
    printf("%s, %zu bytes", nrhost_status_name(frame->status), frame->len);
    if (frame->len > 0) {
        fputs(": ", stdout);
    }
    for (size_t i = 0; i < frame->len; i++) {
        uint8_t c = frame->data[i];
        bool plain = (c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t';
        printf(plain ? "%c" : "\\x%02x", c);
    }
    putchar('\n');
    fflush(stdout);
}

static nrhost_request request_of(const options *o, nrhost *host, nrhost_kind kind) {
    NrStr entry = nrhost_str(o->entry);
    return (nrhost_request){
        .entry = entry,
        .metadata = &o->metadata,
        .payload = o->body,
        .kind = kind,
        .raw = o->raw,
        .by_id = o->by_id,
        .id = o->by_id ? nrhost_resolve(host, entry) : 0,
    };
}

/* Says why no frame came, if so. */
static bool got_frame(nrhost_outcome outcome, const nrhost_frame *frame) {
    switch (outcome) {
    case NRHOST_FRAME:
        return true;
    case NRHOST_ENDED:
        return false;
    case NRHOST_REFUSED:
        fprintf(stderr, "nrhost: handle refused the call: %s\n", nrhost_status_name(frame->status));
        return false;
    case NRHOST_TIMEOUT:
        fprintf(stderr, "nrhost: no reply in time; --timeout gives it more\n");
        return false;
    case NRHOST_NO_REPLY:
        fprintf(stderr, "nrhost: the entry did not answer before handle returned; call it without --fast\n");
        return false;
    }
    return false;
}

/* Shuts the plugin down; what it still owed is a failure too. */
static int finish(nrhost *host, bool good) {
    nrhost_report report;
    nrhost_shutdown(host);
    if (nrhost_ledger_report(host, &report) && !nrhost_report_clean(&report)) {
        fprintf(stderr, "nrhost: the plugin broke its promise: %s\n",
                report.first[0] ? report.first : "a call it accepted was never answered");
        good = false;
    }
    nrhost_unload(host);
    return good ? 0 : 1;
}

int command_call(int argc, char **argv) {
    options o;
    nrhost *host = read_options(&o, argc, argv, 2) ? load(&o) : NULL;
    if (host == NULL) {
        free(o.file);
        return 2;
    }
    bool good = true;
    for (unsigned long i = 0; i < o.count && good; i++) {
        nrhost_frame reply;
        nrhost_request request = request_of(&o, host, NRHOST_UNARY);
        nrhost_outcome outcome =
            o.fast ? nrhost_call_fast(host, &request, &reply) : nrhost_call_unary(host, &request, o.timeout_s, &reply);
        good = got_frame(outcome, &reply);
        if (good) {
            print_frame(&reply);
            good = reply.status == NR_OK;
            nrhost_frame_free(&reply);
        }
    }
    free(o.file);
    return finish(host, good);
}

static bool send_all(nrhost *host, uint64_t sid, const options *o) {
    for (size_t i = 0; i < o->send_count; i++) {
        NrStatus status = nrhost_send_stream_data(host, sid, nrhost_bytes(o->sends[i], strlen(o->sends[i])));
        if (status != NR_OK) {
            fprintf(stderr, "nrhost: stream_data answered %s\n", nrhost_status_name(status));
            return false;
        }
    }
    NrStatus status = o->close ? nrhost_close_stream(host, sid) : NR_OK;
    if (status != NR_OK) {
        fprintf(stderr, "nrhost: stream_close answered %s\n", nrhost_status_name(status));
    }
    return status == NR_OK;
}

int command_stream(int argc, char **argv) {
    options o;
    nrhost *host = read_options(&o, argc, argv, 2) ? load(&o) : NULL;
    if (host == NULL) {
        free(o.file);
        return 2;
    }
    nrhost_call *call;
    nrhost_frame frame = {0};
    nrhost_request request = request_of(&o, host, NRHOST_STREAM);
    frame.status = nrhost_submit(host, &request, &call);
    if (call == NULL) {
        got_frame(NRHOST_REFUSED, &frame);
        free(o.file);
        return finish(host, false);
    }
    bool good = send_all(host, nrhost_call_sid(call), &o);
    NrStatus last = NR_OK;
    while (good && got_frame(nrhost_call_next(call, o.timeout_s, &frame), &frame)) {
        print_frame(&frame);
        last = frame.status;
        nrhost_frame_free(&frame);
    }
    nrhost_call_release(call);
    free(o.file);
    return finish(host, good && last == NR_STREAM_END);
}

int command_info(int argc, char **argv) {
    options o;
    char why[512];
    if (!read_options(&o, argc, argv, 1)) {
        return 2;
    }
    nrhost *host = nrhost_open(o.plugin, &o.host, why, sizeof why);
    if (host == NULL) {
        fprintf(stderr, "nrhost: %s\n", why);
        return 1;
    }
    const NrPluginInfo *info = nrhost_info(host);
    printf("name     %.*s\nversion  %.*s\nABI      v%u\n", (int)info->name.len, info->name.ptr, (int)info->version.len,
           info->version.ptr, info->abi_version);
    nrhost_unload(host);
    return 0;
}

static int run_drive(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return drive_main();
}

int nrhost_main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"call", command_call},   {"stream", command_stream}, {"info", command_info},
        {"bench", command_bench}, {"drive", run_drive},
    };
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    bool asked = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    fputs(usage, asked ? stdout : stderr);
    return asked ? 0 : 2;
}
