/* The command's texts: lines of `verb key=value …` in, lines of JSON out. */
#ifndef NRHOST_TEXT_H
#define NRHOST_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct argument {
    const char *key;
    char *value; /* percent-decoded, and followed by a NUL that len does not count */
    size_t len;
} argument;

typedef struct command {
    char *text; /* owned; what the rest points into */
    const char *verb;
    argument *arguments;
    size_t count;
} command;

/* Takes the line apart. False when there is no verb. Free with command_free in either case. */
bool command_parse(command *c, const char *line);
void command_free(command *c);

const argument *command_find(const command *c, const char *key);
const char *command_text(const command *c, const char *key, const char *otherwise);
uint64_t command_u64(const command *c, const char *key, uint64_t otherwise);
double command_seconds(const command *c, const char *key, double otherwise);
bool command_flag(const command *c, const char *key);

/* One JSON object being written. */
typedef struct json {
    char *text;
    size_t len;
    size_t room;
    bool comma; /* the next member needs one before it */
    bool failed;
} json;

void json_free(json *out);
void json_open(json *out, const char *key, char bracket); /* '{' or '['; key NULL inside an array */
void json_close(json *out, char bracket);
void json_u64(json *out, const char *key, uint64_t value);
void json_number(json *out, const char *key, double value);
void json_bool(json *out, const char *key, bool value);
void json_text(json *out, const char *key, const char *value, size_t len);
void json_string(json *out, const char *key, const char *value);
/* Members of an array, written before. */
void json_raw(json *out, const json *members);
void json_hex(json *out, const char *key, const void *data, size_t len);

/* Throws away what was written; the answer is an error with this text. */
void json_fail(json *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint32_t crc32_of(const void *data, size_t len);

/* The synthetic body of a given size: 0, 1, … 250, 0, 1, … NULL without memory. Caller frees. */
uint8_t *pattern_of(size_t len);

#endif /* NRHOST_TEXT_H */
