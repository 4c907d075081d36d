#include "text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t percent_decode(char *text) {
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        int high, low;
        if (*in == '%' && (high = hex_digit(in[1])) >= 0 && (low = hex_digit(in[2])) >= 0) {
            *out++ = (char)(high * 16 + low);
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
    return (size_t)(out - text);
}

bool command_parse(command *c, const char *line) {
    *c = (command){.text = strdup(line)};
    if (c->text == NULL) {
        return false;
    }
    char *rest = NULL;
    c->verb = strtok_r(c->text, " \t\r\n", &rest);
    size_t room = 0;
    for (char *word; c->verb != NULL && (word = strtok_r(NULL, " \t\r\n", &rest)) != NULL;) {
        if (c->count == room) {
            room = room ? room * 2 : 16;
            argument *more = realloc(c->arguments, room * sizeof *more);
            if (more == NULL) {
                return false;
            }
            c->arguments = more;
        }
        char *equals = strchr(word, '=');
        if (equals != NULL) {
            *equals++ = '\0';
        } else {
            equals = word + strlen(word);
        }
        c->arguments[c->count++] = (argument){.key = word, .value = equals, .len = percent_decode(equals)};
    }
    return c->verb != NULL;
}

void command_free(command *c) {
    free(c->arguments);
    free(c->text);
    *c = (command){0};
}

const argument *command_find(const command *c, const char *key) {
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->arguments[i].key, key) == 0) {
            return &c->arguments[i];
        }
    }
    return NULL;
}

const char *command_text(const command *c, const char *key, const char *otherwise) {
    const argument *found = command_find(c, key);
    return found != NULL ? found->value : otherwise;
}

uint64_t command_u64(const command *c, const char *key, uint64_t otherwise) {
    const argument *found = command_find(c, key);
    return found != NULL ? strtoull(found->value, NULL, 0) : otherwise;
}

double command_seconds(const command *c, const char *key, double otherwise) {
    const argument *found = command_find(c, key);
    return found != NULL ? strtod(found->value, NULL) : otherwise;
}

bool command_flag(const command *c, const char *key) {
    return command_u64(c, key, 0) != 0;
}

static void put(json *out, const char *data, size_t len) {
    if (out->room - out->len < len + 1) {
        size_t room = (out->len + len + 1) * 2;
        char *more = realloc(out->text, room);
        if (more == NULL) {
            fprintf(stderr, "nrhost: no memory for an answer of %zu bytes\n", room);
            abort();
        }
        out->text = more;
        out->room = room;
    }
    memcpy(out->text + out->len, data, len);
    out->len += len;
    out->text[out->len] = '\0';
}

static void put_quoted(json *out, const char *data, size_t len) {
    put(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        char escaped[8];
        if (c == '"' || c == '\\') {
            put(out, (char[]){'\\', (char)c}, 2);
        } else if (c < 0x20 || c >= 0x7f) {
            put(out, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        } else {
            put(out, (const char *)&data[i], 1);
        }
    }
    put(out, "\"", 1);
}

static void begin(json *out, const char *key) {
    if (out->comma) {
        put(out, ", ", 2);
    }
    if (key != NULL) {
        put_quoted(out, key, strlen(key));
        put(out, ": ", 2);
    }
    out->comma = true;
}

void json_free(json *out) {
    free(out->text);
    *out = (json){0};
}

void json_open(json *out, const char *key, char bracket) {
    begin(out, key);
    put(out, &bracket, 1);
    out->comma = false;
}

void json_close(json *out, char bracket) {
    put(out, &bracket, 1);
    out->comma = true;
}

void json_u64(json *out, const char *key, uint64_t value) {
    char digits[24];
    begin(out, key);
    put(out, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value));
}

void json_number(json *out, const char *key, double value) {
    char digits[48];
    begin(out, key);
    put(out, digits, (size_t)snprintf(digits, sizeof digits, "%.3f", value));
}

void json_bool(json *out, const char *key, bool value) {
    begin(out, key);
    put(out, value ? "true" : "false", value ? 4 : 5);
}

void json_text(json *out, const char *key, const char *value, size_t len) {
    begin(out, key);
    put_quoted(out, value, len);
}

void json_string(json *out, const char *key, const char *value) {
    json_text(out, key, value, strlen(value));
}

void json_raw(json *out, const json *members) {
    if (members->len > 0) {
        begin(out, NULL);
        put(out, members->text, members->len);
        out->comma = true;
    }
}

void json_hex(json *out, const char *key, const void *data, size_t len) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;
    begin(out, key);
    put(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        put(out, (char[]){digits[bytes[i] >> 4], digits[bytes[i] & 15]}, 2);
    }
    put(out, "\"", 1);
}

void json_fail(json *out, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    out->len = 0;
    out->comma = false;
    out->failed = true;
    json_open(out, NULL, '{');
    json_string(out, "error", text);
}

static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void fill_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0);
        }
        crc_table[i] = c;
    }
}

uint32_t crc32_of(const void *data, size_t len) {
    pthread_once(&crc_once, fill_crc_table);
    uint32_t c = UINT32_MAX;
    for (const uint8_t *p = data, *end = p + len; p != end; p++) {
        c = crc_table[(c ^ *p) & 0xff] ^ (c >> 8);
    }
    return ~c;
}

uint8_t *pattern_of(size_t len) {
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    for (size_t i = 0, value = 0; bytes != NULL && i < len; i++) {
        bytes[i] = (uint8_t)value;
        value = value == 250 ? 0 : value + 1;
    }
    return bytes;
}
