/* A request out of a command's arguments, well-formed or broken on purpose. */
#include <stdlib.h>
#include <string.h>

#include "drive.h"

void fields_override(const command *c, const char *name, const void **ptr, uint64_t *len) {
    char key[64];
    snprintf(key, sizeof key, "raw.%s", name);
    const char *text = command_text(c, key, NULL);
    if (text == NULL) {
        return;
    }
    const char *colon = strchr(text, ':');
    if (strncmp(text, "null", 4) == 0) {
        *ptr = NULL;
    } else if (strncmp(text, "top", 3) == 0) {
        *ptr = (const void *)UINTPTR_MAX;
    } else if (strncmp(text, "keep", 4) != 0) {
        *ptr = (const void *)(uintptr_t)strtoull(text, NULL, 0);
    }
    if (colon != NULL && strcmp(colon + 1, "keep") != 0) {
        *len = strtoull(colon + 1, NULL, 0);
    }
}

static NrStr view(const command *c, const char *name, const char *data, size_t size) {
    const void *ptr = data;
    uint64_t len = size;
    fields_override(c, name, &ptr, &len);
    return (NrStr){.ptr = ptr, .len = (uint32_t)len};
}

static NrStr named(const command *c, const char *name) {
    const argument *found = command_find(c, name);
    return view(c, name, found ? found->value : "", found ? found->len : 0);
}

static bool read_file(const char *path, fields *f) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        return false;
    }
    long size = ftell(file);
    rewind(file);
    f->body = size >= 0 ? malloc((size_t)size + 1) : NULL;
    bool read = f->body != NULL && fread(f->body, 1, (size_t)size, file) == (size_t)size;
    fclose(file);
    f->request.payload = nrhost_bytes(f->body, read ? (size_t)size : 0);
    return read;
}

static bool read_body(fields *f, const command *c, json *out) {
    const argument *body = command_find(c, "body");
    const char *path = command_text(c, "body_file", NULL);
    if (body != NULL) {
        f->request.payload = nrhost_bytes(body->value, body->len);
    } else if (path != NULL) {
        if (!read_file(path, f)) {
            json_fail(out, "cannot read the body from %s", path);
            return false;
        }
    } else {
        size_t size = (size_t)command_u64(c, "body_size", 0);
        f->body = pattern_of(size);
        if (f->body == NULL) {
            json_fail(out, "no memory for a body of %zu bytes", size);
            return false;
        }
        f->request.payload = nrhost_bytes(f->body, size);
    }
    const void *ptr = f->request.payload.ptr;
    fields_override(c, "payload", &ptr, &f->request.payload.len);
    f->request.payload.ptr = ptr;
    return true;
}

#define SYNTHETIC_ROOM 40u

/* hkey= starts a header, hval= gives the value of the last one; headers=N adds N made-up ones. */
static bool read_headers(fields *f, const command *c, json *out) {
    size_t extra = (size_t)command_u64(c, "headers", 0);
    f->headers = calloc(c->count + extra + 1, sizeof *f->headers);
    f->names = malloc(extra * SYNTHETIC_ROOM * 2 + 1);
    if (f->headers == NULL || f->names == NULL) {
        json_fail(out, "no memory for %zu headers", extra);
        return false;
    }
    size_t count = 0;
    char name[32];
    for (size_t i = 0; i < c->count; i++) {
        const argument *a = &c->arguments[i];
        if (strcmp(a->key, "hkey") == 0) {
            snprintf(name, sizeof name, "hkey%zu", count);
            f->headers[count].key = view(c, name, a->value, a->len);
            snprintf(name, sizeof name, "hval%zu", count);
            f->headers[count++].value = view(c, name, "", 0);
        } else if (strcmp(a->key, "hval") == 0 && count > 0) {
            snprintf(name, sizeof name, "hval%zu", count - 1);
            f->headers[count - 1].value = view(c, name, a->value, a->len);
        }
    }
    char *text = f->names;
    for (size_t i = 0; i < extra; i++, count++) {
        int key_len = snprintf(text, SYNTHETIC_ROOM, "x-header-%zu", i);
        f->headers[count].key = (NrStr){.ptr = (uint8_t *)text, .len = (uint32_t)key_len};
        text += SYNTHETIC_ROOM;
        int value_len = snprintf(text, SYNTHETIC_ROOM, "value %zu", i);
        f->headers[count].value = (NrStr){.ptr = (uint8_t *)text, .len = (uint32_t)value_len};
        text += SYNTHETIC_ROOM;
    }
    const void *ptr = f->headers;
    uint64_t len = count;
    fields_override(c, "headers", &ptr, &len);
    f->metadata.headers = ptr;
    f->metadata.headers_len = (uint32_t)len;
    return true;
}

bool fields_read(fields *f, const command *c, json *out) {
    *f = (fields){0};
    const char *door = command_text(c, "door", "handle");
    f->request.entry = named(c, "entry");
    f->request.sid = command_u64(c, "sid", 0);
    f->request.kind = strcmp(command_text(c, "kind", "unary"), "stream") == 0 ? NRHOST_STREAM : NRHOST_UNARY;
    f->request.raw = strcmp(door, "raw") == 0 || command_flag(c, "raw");
    f->metadata.path = named(c, "path");
    f->metadata.method = named(c, "method");
    f->metadata.query = named(c, "query");
    if (!read_body(f, c, out) || !read_headers(f, c, out)) {
        fields_free(f);
        return false;
    }
    f->request.metadata = strcmp(command_text(c, "request", ""), "null") == 0 ? NULL : &f->metadata;
    return true;
}

void fields_resolve(fields *f, const command *c, nrhost *host) {
    f->request.by_id = strcmp(command_text(c, "door", "handle"), "id") == 0;
    if (f->request.by_id) {
        bool given = command_find(c, "id") != NULL;
        f->request.id = given ? (uint32_t)command_u64(c, "id", 0) : nrhost_resolve(host, f->request.entry);
    }
}

void fields_free(fields *f) {
    free(f->headers);
    free(f->names);
    free(f->body);
    *f = (fields){0};
}

bool is_ctx_given(const command *c, nrhost *host, json *out) {
    bool given = command_find(c, "ctx") != NULL;
    if (given && nrhost_functions_of(host)->v2 != NULL) {
        json_fail(out, "ctx= is for v1: a v2 plugin is given no plugin_ctx");
        return false;
    }
    return given;
}

void *plugin_ctx_of(const command *c, const nrhost *host) {
    const char *text = command_text(c, "ctx", "own");
    if (strcmp(text, "null") == 0) {
        return NULL;
    }
    if (strcmp(text, "host") == 0) {
        return nrhost_ctx_of(host);
    }
    if (strncmp(text, "own", 3) == 0) {
        return (char *)nrhost_info(host)->plugin_ctx + strtoll(text + 3, NULL, 0);
    }
    return (void *)(uintptr_t)strtoull(text, NULL, 0);
}
