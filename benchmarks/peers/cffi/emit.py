"""Write the C source of the cffi peer: `emit.py OUT.c`, run by a Python that has cffi.

What one writes who embeds Python by cffi's documentation. cffi starts Python, attaches host threads and converts
arguments; peer.py is the Python in it; glue.c has the tables and what makes a reply of bytes. It speaks ABI v1.

Left out: ABI v2; checks of what the host passes. Mended: a Python that does not start, or cannot import cffi's own
module, makes every function return 0, which hosts take for Ok; here `init` then returns Err.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent

# The ABI's types as far as peer.py reads them, and what glue.c offers it.
TYPES = """
typedef uint32_t NrStatus;
typedef struct { const uint8_t *ptr; uint32_t len; ...; } NrStr;
typedef struct { const uint8_t *ptr; uint64_t len; } NrBytes;
typedef struct { NrStr key; NrStr value; } NrHeader;
typedef struct { NrStr path, method, query; const NrHeader *headers; uint32_t headers_len; ...; } NrRequest;

void peer_send(uint64_t sid, NrStatus status, const char *bytes, uint64_t size);
"""

# What glue.c calls. PEER_STARTED tells from the 0 of a Python that is not there.
FUNCTIONS = """
int peer_start(void);
NrStatus peer_handle(NrStr entry, uint64_t sid, const NrRequest *request, NrBytes body);
NrStatus peer_stream_data(uint64_t sid, NrBytes data);
NrStatus peer_stream_close(uint64_t sid);
void peer_shutdown(void);
"""


def main() -> int:
    """Write the file that the command line names; returns the exit code."""
    ffi = cffi.FFI()
    ffi.cdef(TYPES)
    ffi.embedding_api(FUNCTIONS)
    ffi.set_source("_peer_cffi", (HERE / "glue.c").read_text())
    ffi.embedding_init_code((HERE / "peer.py").read_text())
    ffi.emit_c_code(sys.argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
