"""Runs inside the host: the handlers of the cffi peer, as cffi's documentation has one write them.

`sync` is given a request that is read where it is, `pool` and `gen` a copy, which wait in a queue.SimpleQueue for one
worker thread.
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


class Copy:
    """A request that outlives the host's."""

    __slots__ = ("body", "headers", "method", "path", "query")

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.path = request.path
        self.query = request.query
        self.headers = request.headers
        self.body = request.body


calls: queue.SimpleQueue[tuple[Callable[[int, Copy], None], int, Copy] | None] = queue.SimpleQueue()


def text(view: Any) -> str:
    """A text of the host's."""
    return str(ffi.buffer(view.ptr, view.len), "utf-8")


def sync(request: Request) -> bytes:
    """On the host's thread."""
    return request.body


def raw(payload: bytes) -> bytes:
    """The same with bytes alone."""
    return payload


def pool(sid: int, request: Copy) -> None:
    """On the worker."""
    send(sid, OK, request.body)


def gen(sid: int, request: Copy) -> None:
    """On the worker: a stream."""
    for _ in range(FRAMES):
        send(sid, OK, FRAME)
    send(sid, STREAM_END, b"")


def send(sid: int, status: int, data: bytes) -> None:
    """A reply or a frame; cffi lets go of the GIL meanwhile."""
    lib.peer_send(sid, status, data, len(data))


def work() -> None:
    """Until there is None to do."""
    while (call := calls.get()) is not None:
        handler, sid, request = call
        handler(sid, request)


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
    elif name == b"sync":
        send(sid, OK, sync(Request(request, payload)))
    elif name == b"pool":
        calls.put((pool, sid, Copy(Request(request, payload))))
    elif name == b"gen":
        calls.put((gen, sid, Copy(Request(request, payload))))
    else:
        return INVALID
    return OK


@ffi.def_extern()  # type: ignore[untyped-decorator]  # cffi has no types
def peer_shutdown() -> None:
    """What was taken is answered first."""
    calls.put(None)
    worker.join()
