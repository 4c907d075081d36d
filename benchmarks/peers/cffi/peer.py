"""Runs inside the host: the handlers of the cffi peer, as cffi's documentation has one write them.

`sync` is given a request that is read where it is; `pool`, `gen` and `busy` a copy of the body, which waits in a
queue.SimpleQueue for one worker thread; `echo` sends each frame back inside stream_data.
"""

from __future__ import annotations

import queue
import threading

from _peer_cffi import ffi, lib

TYPE_CHECKING = False  # importing it would take time while a host waits
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STARTED = 1
OK, ERR, INVALID, STREAM_END = 0, 1, 2, 4
FRAMES, FRAME = 1000, bytes(128)


class Request:
    """A request of the host's, which reads it while the host waits."""

    __slots__ = ("_request", "body")

    def __init__(self, request: Any, body: bytes) -> None:
        self._request = request
        self.body = body

    @property
    def method(self) -> str:
        return text(self._request.method)

    @property
    def path(self) -> str:
        return text(self._request.path)

    @property
    def query(self) -> str:
        return text(self._request.query)

    @property
    def headers(self) -> dict[str, str]:
        first = self._request.headers
        return {text(first[i].key): text(first[i].value) for i in range(self._request.headers_len)}


calls: queue.SimpleQueue[tuple[Callable[[int, bytes], None], int, bytes] | None] = queue.SimpleQueue()
is_busy = False


def text(view: Any) -> str:
    """A text of the host's."""
    return str(ffi.buffer(view.ptr, view.len), "utf-8")


def sync(request: Request) -> bytes:
    """On the host's thread."""
    return request.body


def raw(payload: bytes) -> bytes:
    """The same with bytes alone."""
    return payload


def pool(sid: int, body: bytes) -> None:
    """On the worker."""
    send(sid, OK, body)


def gen(sid: int, body: bytes) -> None:
    """On the worker: a stream."""
    for _ in range(FRAMES):
        send(sid, OK, FRAME)
    send(sid, STREAM_END, b"")


def busy(sid: int, body: bytes) -> None:
    """On the worker: says that it runs, and computes until `busy_end`."""
    global is_busy
    is_busy = True
    send(sid, OK, b"computing")
    number = 1
    while is_busy:
        number = number * 48271 % 2147483647
    send(sid, STREAM_END, b"")


def busy_end(request: Request) -> bytes:
    """On the host's thread: ends what `busy` computes."""
    global is_busy
    is_busy = False
    return b""


INSIDE = {b"sync": sync, b"busy_end": busy_end}
ON_WORKER = {b"pool": pool, b"gen": gen, b"busy": busy}


def send(sid: int, status: int, data: bytes) -> None:
    """A reply or a frame; cffi lets go of the GIL meanwhile."""
    lib.peer_send(sid, status, data, len(data))


def work() -> None:
    """Until there is None to do."""
    while (call := calls.get()) is not None:
        handler, sid, body = call
        handler(sid, body)


worker = threading.Thread(target=work, name="peer-cffi", daemon=True)


@ffi.def_extern(error=0)  # type: ignore[untyped-decorator]  # cffi has no types
def peer_start() -> int:
    """Python runs, and this file has been read."""
    worker.start()
    return STARTED


@ffi.def_extern(error=ERR)  # type: ignore[untyped-decorator]  # cffi has no types
def peer_handle(entry: Any, sid: int, request: Any, body: Any) -> int:
    """A call; without a request where it is raw."""
    name = bytes(ffi.buffer(entry.ptr, entry.len))
    payload = bytes(ffi.buffer(body.ptr, body.len))
    if not request:
        if name != b"raw":
            return INVALID
        send(sid, OK, raw(payload))
    elif name in INSIDE:
        send(sid, OK, INSIDE[name](Request(request, payload)))
    elif name in ON_WORKER:
        calls.put((ON_WORKER[name], sid, payload))
    elif name != b"echo":
        return INVALID
    return OK


@ffi.def_extern(error=ERR)  # type: ignore[untyped-decorator]  # cffi has no types
def peer_stream_data(sid: int, data: Any) -> int:
    """A frame of the host's."""
    send(sid, OK, bytes(ffi.buffer(data.ptr, data.len)))
    return OK


@ffi.def_extern(error=ERR)  # type: ignore[untyped-decorator]  # cffi has no types
def peer_stream_close(sid: int) -> int:
    """The host has sent all."""
    send(sid, STREAM_END, b"")
    return OK


@ffi.def_extern()  # type: ignore[untyped-decorator]  # cffi has no types
def peer_shutdown() -> None:
    """What was taken is answered first."""
    calls.put(None)
    worker.join()
