"""What the fuzz targets load: an entry of every kind, well-behaved and not. vtable.c knows them by name."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import cast

from nylon_ring_py import Callback, HandlerError, Plugin, Request, Status, Stream

# Inputs leave calls unanswered on purpose: a shutdown has nothing to wait for.
plugin = Plugin("fuzz", version="1.0.0", workers=2, max_pending=64, shutdown_timeout_s=0.01, max_sync_streams=2)
logging.getLogger("nylon_ring.fuzz").setLevel(logging.CRITICAL)

_lock = threading.Lock()
_held: list[tuple[Callback, bytes]] = []


def show(req: Request) -> bytes:
    """Everything of a request, each part behind its length: the host compares."""
    parts = [req.method.encode(), req.path.encode(), req.query.encode()]
    parts += [part for header in req.headers.raw for part in header]
    return b"".join(len(part).to_bytes(4, "little") + part for part in [*parts, req.body])


plugin.handle("show")(show)
plugin.handle_sync("show_sync")(show)


@plugin.handle("show_async")
async def show_async(req: Request) -> bytes:
    """Read after the host's buffers are gone."""
    await asyncio.sleep(0)
    return show(req)


@plugin.handle("show_callback")
def show_callback(req: Request, callback: Callback) -> None:
    """Answered from another thread's point of view: through a callback."""
    callback(show(req))


@plugin.handle_raw("raw")
def raw(payload: bytes) -> bytes:
    """Bytes and no request."""
    return payload


@plugin.handle_raw("raw_sync", sync=True)
def raw_sync(payload: bytes) -> bytes:
    """The same on the host's thread."""
    return payload


@plugin.handle("state")
def state(req: Request) -> bytes | None:
    """State under a key of the host's making."""
    key = req.body.decode("utf-8", "replace")
    req.state.set(key, req.body)
    return req.state.get(key)


# ---- failures ----


@plugin.handle("fails")
def fails(req: Request) -> None:
    """An exception whose text is the host's."""
    raise ValueError(req.body)


@plugin.handle_sync("leaves")
def leaves(req: Request) -> None:
    """Ends the thread it is on, or would like to."""
    raise SystemExit(req.body)


@plugin.handle_sync("junk")
def junk(req: Request) -> bytes:
    """Nothing that can be sent."""
    return cast("bytes", object())


@plugin.handle("refuses")
async def refuses(req: Request) -> None:
    """A status of the author's choice."""
    raise HandlerError(Status.INVALID, "as asked")


@plugin.handle("late", timeout_s=0.001)
async def late(req: Request) -> None:
    """Runs into its deadline."""
    await asyncio.Event().wait()


# ---- unanswered for now ----


@plugin.handle("held")
def held(req: Request, callback: Callback) -> None:
    """Answered by let_go, or at shutdown."""
    with _lock:
        _held.append((callback, req.body))


@plugin.handle("limited", max_pending=2)
def limited(req: Request, callback: Callback) -> None:
    """Two at a time."""
    held(req, callback)


@plugin.handle("dropped")
def dropped(req: Request, callback: Callback) -> None:
    """Nobody will answer: the callback does so itself."""


@plugin.handle_sync("let_go")
def let_go(req: Request) -> None:
    """Answers what is held, twice: the second answer is nobody's."""
    with _lock:
        calls, _held[:] = _held[:], []
    for callback, body in calls:
        callback(body)
        callback(body)


# ---- streams ----


@plugin.handle("feed")
def feed(req: Request) -> Iterator[bytes]:
    """The body, a byte a frame, and one frame more than a host keeps."""
    for byte in req.body[:65]:
        yield bytes([byte])


@plugin.handle("feed_async")
async def feed_async(req: Request) -> AsyncIterator[bytes]:
    """The same on the event loop."""
    for byte in req.body[:65]:
        yield bytes([byte])


@plugin.handle("feed_fails")
def feed_fails(req: Request) -> Iterator[bytes]:
    """Raises between two frames."""
    yield req.body
    raise RuntimeError(req.body)


@plugin.handle("endless")
def endless(req: Request) -> Iterator[str]:
    """Until somebody closes it, or they are three hundred: hosts of ABI v1 have no bound."""
    yield from map(str, itertools.islice(itertools.count(), 300))


@plugin.handle("open", stream=True)
def open_(req: Request) -> bytes:
    """Stays open; its input goes to `data`."""
    return req.body


@plugin.stream_data
def data(sid: int, frame: bytes) -> bytes:
    """Sends input back; what it should not try is tried on the way."""
    if frame[:1] == b"!":
        raise ValueError(frame)
    if frame[:1] == b".":
        plugin.send_result(sid, Status.STREAM_END, frame)
    return frame


@plugin.stream("talk")
def talk(stream: Stream) -> None:
    """A thread of its own."""
    for frame in stream:
        stream.send(frame)


@plugin.stream("talk_async")
async def talk_async(stream: Stream) -> None:
    """A task of its own."""
    async for frame in stream:
        await stream.send(frame)


@plugin.stream("deaf", close_timeout_s=0.01)
async def deaf(stream: Stream) -> None:
    """Reads nothing, and does not mind the close."""
    await stream.send(b"open")
    await asyncio.Event().wait()
