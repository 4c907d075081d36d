"""The ABI as cffi sees it, and the only module that holds cffi's untyped objects for others: `CData` is one of them.

In-line ABI mode: the declarations are read when the module is imported, so no compiler is needed anywhere. The types
are those of `shim/abi/nylon_ring_v1.h` and `nylon_ring_v2.h`, with two liberties that change no layout: pointers to
bytes are `char *`, which cffi turns into bytes in one step, and `host_ctx` is `uintptr_t`, since ours is a number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from nylon_ring_py.errors import MissingDependencyError
from nylon_ring_py.host._types import Body, Headers, Text, as_bytes

try:
    from cffi import FFI
except ImportError as error:
    raise MissingDependencyError(
        f"nylon_ring_py.host needs cffi, which cannot be imported ({error}): pip install 'nylon-ring-py[host]'"
    ) from error

CData: TypeAlias = Any
"""An object of cffi's, which has no types to check."""

DECLARATIONS = """
typedef uint32_t NrStatus;
typedef struct { const char *ptr; uint32_t len; uint32_t reserved; } NrStr;
typedef struct { const char *ptr; uint64_t len; } NrBytes;
typedef struct { NrStr key; NrStr value; } NrHeader;
typedef struct {
    NrStr path; NrStr method; NrStr query;
    const NrHeader *headers; uint32_t headers_len; uint32_t reserved0; uint64_t reserved1;
} NrRequest;
typedef struct {
    uint32_t abi_version; uint32_t struct_size; NrStr name; NrStr version; void *plugin_ctx; const void *vtable;
} NrPluginInfo;

typedef struct { void (*send_result)(uintptr_t, uint64_t, NrStatus, NrBytes); } NrHostVTable;
typedef struct {
    NrStatus (*init)(void *, uintptr_t, const NrHostVTable *);
    NrStatus (*handle)(void *, NrStr, uint64_t, const NrRequest *, NrBytes);
    void (*shutdown)(void *);
    NrStatus (*stream_data)(void *, uint64_t, NrBytes);
    NrStatus (*stream_close)(void *, uint64_t);
} NrPluginVTable;
typedef struct {
    NrStatus (*init)(void *, uintptr_t, const NrHostVTable *);
    NrStatus (*handle)(void *, NrStr, uint64_t, const NrRequest *, NrBytes);
    NrStatus (*handle_raw)(void *, NrStr, uint64_t, NrBytes);
    void (*shutdown)(void *);
    NrStatus (*stream_data)(void *, uint64_t, NrBytes);
    NrStatus (*stream_close)(void *, uint64_t);
} NrPluginVTableRaw;

typedef struct {
    char *ptr; size_t len; size_t cap; uint8_t owned; uint8_t reserved[7]; void (*drop_fn)(char *, size_t, size_t);
} NrVecU8;
typedef struct {
    const char *ptr; uint64_t len; void *owner_ctx; void (*release)(void *, const char *, uint64_t);
} NrOwnedBytes;
typedef struct { char *ptr; uint64_t cap; uint64_t token; } NrBufferLease;
typedef struct {
    NrStatus (*send_result)(uintptr_t, uint64_t, NrStatus, NrVecU8);
    NrStatus (*send_result_owned)(uintptr_t, uint64_t, NrStatus, NrOwnedBytes);
    NrBufferLease (*acquire_result_buffer)(uintptr_t, uint64_t, uint64_t);
    NrStatus (*commit_result_buffer)(uintptr_t, uint64_t, NrStatus, uint64_t, uint64_t);
} NrHostVTableV2;
typedef struct {
    NrStatus (*init)(uintptr_t, const NrHostVTableV2 *);
    NrStatus (*handle)(NrStr, uint64_t, NrBytes);
    void (*shutdown)(void);
    NrStatus (*stream_data)(uint64_t, NrBytes);
    NrStatus (*stream_close)(uint64_t);
    uint32_t (*resolve_entry)(NrStr);
    NrStatus (*handle_by_id)(uint32_t, uint64_t, NrBytes);
} NrPluginVTableV2;

typedef const NrPluginInfo *(*NrGetPluginFn)(void);

void *dlopen(const char *, int);
void *dlsym(void *, const char *);
int dlclose(void *);
char *dlerror(void);
"""

ffi: Any = FFI()
ffi.cdef(DECLARATIONS)
NULL: CData = ffi.NULL

# By hand: ffi.dlopen keeps something for each library it has opened, also when that is closed.
# All four are looked up here: a look-up between a failure and dlerror would take its message.
_process: Any = ffi.dlopen(None)
_dlopen, _dlsym, _dlclose, _dlerror = _process.dlopen, _process.dlsym, _process.dlclose, _process.dlerror


def open_library(path: str) -> CData:
    """dlopen, as hosts do it: all symbols bound now, none given to others.

    Raises:
        OSError: the dynamic linker's words.
    """
    library = _dlopen(os.fsencode(path), ffi.RTLD_NOW | ffi.RTLD_LOCAL)
    if library == NULL:
        raise OSError(ffi.string(_dlerror()).decode(errors="replace"))
    return library


def find_getter(library: CData, name: str) -> CData | None:
    """The exported function of that name, as one that hands out a plugin; None where there is none."""
    address = _dlsym(library, name.encode())
    return None if address == NULL else ffi.cast("NrGetPluginFn", address)


def close_library(library: CData) -> None:
    """dlclose."""
    _dlclose(library)


NO_BYTES = (NULL, 0)
NO_TEXT = (NULL, 0, 0)
ENTRY_UNKNOWN = 0xFFFFFFFF


def body_view(body: Body) -> tuple[CData, int]:
    """An initialiser for an NrBytes over the body's own memory; the caller keeps it until the call has returned.

    Raises:
        TypeError: it is none of `Body`.
        BufferError: a memoryview with gaps.
    """
    if not body:
        return NO_BYTES
    if isinstance(body, str):
        body = body.encode()
    view = ffi.from_buffer(body)
    return view, len(view)


def text_view(data: bytes) -> tuple[CData, int, int]:
    """An initialiser for an NrStr over `data`; the caller keeps it until the call has returned."""
    return (ffi.from_buffer(data), len(data), 0) if data else NO_TEXT


def entry_name(entry: str) -> tuple[CData, CData]:
    """An NrStr of an entry's name, and what keeps its memory."""
    data = ffi.from_buffer(entry.encode())
    return ffi.new("NrStr *", (data, len(data), 0))[0], data


def request_view(method: Text, path: Text, query: Text, headers: Headers) -> tuple[CData, list[CData]]:
    """An NrRequest, and what keeps the memory that it points to."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    table = [(text_view(as_bytes(key)), text_view(as_bytes(value))) for key, value in pairs]
    texts = [text_view(as_bytes(text)) for text in (path, method, query)]
    array = ffi.new("NrHeader[]", table) if table else NULL
    return ffi.new("NrRequest *", (*texts, array, len(table), 0, 0)), [texts, table, array]


def text_of(view: CData) -> str:
    """A copy of an NrStr that a plugin wrote; what is no UTF-8 is shown by replacement characters."""
    if not view.len or view.ptr == NULL:
        return ""
    data: bytes = ffi.unpack(view.ptr, view.len)
    return data.decode(errors="replace")


def copied(ptr: CData, length: int) -> bytes:
    """A plugin's bytes, copied. The pointer of an empty view is not looked at.

    Raises:
        ValueError: a null pointer with a length.
    """
    if not length:
        return b""
    if ptr == NULL:
        raise ValueError(f"the plugin sent a null pointer with a length of {length}")
    data: bytes = ffi.unpack(ptr, length)
    return data
