#include "copy.h"

#include <stdlib.h>
#include <string.h>

static NrStr copy_text(uint8_t **place, NrStr text) {
    NrStr copied = {.ptr = *place, .len = text.len};
    if (text.len > 0) {
        memcpy(*place, text.ptr, text.len);
    }
    *place += text.len;
    return copied;
}

copied_call *copy_call(uint64_t sid, const NrRequest *meta, NrBytes body) {
    static const NrRequest nothing;
    meta = meta != NULL ? meta : &nothing;
    size_t size = sizeof(copied_call) + meta->headers_len * sizeof(NrHeader) + body.len;
    size += (size_t)meta->method.len + meta->path.len + meta->query.len;
    for (uint32_t i = 0; i < meta->headers_len; i++) {
        size += (size_t)meta->headers[i].key.len + meta->headers[i].value.len;
    }
    copied_call *made = malloc(size);
    if (made == NULL) {
        return NULL;
    }
    NrHeader *headers = (NrHeader *)(made + 1);
    uint8_t *place = (uint8_t *)(headers + meta->headers_len);
    for (uint32_t i = 0; i < meta->headers_len; i++) {
        headers[i].key = copy_text(&place, meta->headers[i].key);
        headers[i].value = copy_text(&place, meta->headers[i].value);
    }
    made->sid = sid;
    made->meta = (NrRequest){.headers = headers, .headers_len = meta->headers_len};
    made->meta.method = copy_text(&place, meta->method);
    made->meta.path = copy_text(&place, meta->path);
    made->meta.query = copy_text(&place, meta->query);
    made->body = (NrBytes){.ptr = place, .len = body.len};
    if (body.len > 0) {
        memcpy(place, body.ptr, body.len);
    }
    return made;
}
