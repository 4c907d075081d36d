"""The plugin of the soak test: an entry of every kind. All give back what they get, as far as they answer at all."""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nylon_ring_py import Callback, Plugin, Request, Stream, current_call

plugin = Plugin("soak", max_pending=4096, shutdown_timeout_s=20)


@dataclass
class Record:
    """What the entry `typed` takes."""

    number: int
    text: str


# ---- one reply ----


@plugin.handle_sync("sync")
def sync(req: Request) -> bytes:
    """On the host's thread."""
    return req.body


@plugin.handle_raw("raw_sync", sync=True)
def raw_sync(body: bytes) -> bytes:
    """On the host's thread, without a request."""
    return body


@plugin.handle_raw("raw")
def raw(body: bytes) -> bytes:
    """On a worker, without a request."""
    return body


@plugin.handle("pooled")
def pooled(req: Request) -> bytes:
    """On a worker."""
    return req.body


@plugin.handle("coroutine")
async def coroutine(req: Request) -> bytes:
    """On the event loop."""
    await asyncio.sleep(0)
    return req.body


@plugin.handle("executor", executor=lambda: ThreadPoolExecutor(2))
def executor(req: Request) -> bytes:
    """In an executor's thread."""
    return req.body


@plugin.handle("typed", codec="json")
def typed(body: Record) -> Record:
    """Decoded and encoded."""
    return body


@plugin.handle("state")
def state(req: Request) -> bytes:
    """By way of the call's state."""
    req.state.set("body", req.body)
    return req.state.get("body") or b"lost"


# ---- what goes wrong ----


@plugin.handle("failing")
def failing(req: Request) -> bytes:
    """Raises, and not only exceptions that are errors."""
    raise (SystemExit if req.sid % 2 else HandlerFault)(f"on purpose: {req.sid}")


class HandlerFault(Exception):
    """Raised on purpose."""


@plugin.handle("deadline", timeout_s=0.004)
def deadline(req: Request) -> bytes:
    """Now in time, now too late."""
    time.sleep(req.sid % 8 / 1000)
    return req.body


@plugin.handle("deadline_coroutine", timeout_s=0.004)
async def deadline_coroutine(req: Request) -> bytes:
    """Now in time, now cancelled."""
    await asyncio.sleep(req.sid % 8 / 1000)
    return req.body


@plugin.handle("limited", max_pending=2)
async def limited(req: Request) -> bytes:
    """Refuses most of what comes."""
    await asyncio.sleep(0.001)
    return req.body


# ---- answered later ----

waiting: queue.SimpleQueue[tuple[Callback, bytes] | None] = queue.SimpleQueue()


def answer_waiting() -> None:
    """Answer in turn; every seventh callback is dropped, which answers Err."""
    turn = 0
    while (item := waiting.get()) is not None:
        callback, body = item
        turn += 1
        if turn % 7:
            callback(body)
        del callback, item


answering = threading.Thread(target=answer_waiting)


@plugin.on_init
def start_answering() -> None:
    """A thread of the plugin's own."""
    answering.start()


@plugin.on_shutdown
def stop_answering() -> None:
    """The thread ends before the plugin goes."""
    waiting.put(None)
    answering.join()


@plugin.handle("later")
def later(req: Request, callback: Callback) -> None:
    """By the plugin's own thread."""
    waiting.put((callback, req.body))


# ---- streams ----


def pieces(body: bytes) -> list[bytes]:
    """The body in frames."""
    return [body[i : i + 16] for i in range(0, len(body), 16)]


@plugin.handle("generator")
def generator(req: Request) -> Iterator[bytes]:
    """A frame after the other."""
    yield from pieces(req.body)


@plugin.handle("async_generator")
async def async_generator(req: Request) -> AsyncIterator[bytes]:
    """The same on the event loop."""
    for piece in pieces(req.body):
        yield piece
        await asyncio.sleep(0)


@plugin.handle("endless")
def endless(req: Request) -> Iterator[bytes]:
    """Until nobody wants it any more."""
    while not current_call().cancelled:
        yield from pieces(req.body)


@plugin.handle("async_endless")
async def async_endless(req: Request) -> AsyncIterator[bytes]:
    """The same on the event loop."""
    while True:
        for piece in pieces(req.body):
            yield piece
            await asyncio.sleep(0)


@plugin.handle("breaking")
def breaking(req: Request) -> Iterator[bytes]:
    """Ends with Err in the middle."""
    yield req.body[:16]
    raise HandlerFault("on purpose")


@plugin.handle("hooks", stream=True)
def hooks(req: Request) -> None:
    """Open until the host closes it."""


@plugin.stream_data
def on_data(sid: int, data: bytes) -> bytes:
    """A frame for a frame."""
    return data


@plugin.stream("duplex")
def duplex(stream: Stream) -> None:
    """A thread of its own."""
    for frame in stream:
        stream.send(frame)


@plugin.stream("async_duplex")
async def async_duplex(stream: Stream) -> None:
    """The same on the event loop."""
    async for frame in stream:
        await stream.send(frame)


# ---- how it does ----


@plugin.handle_sync("stats")
def stats(req: Request) -> str:
    """What the core has counted, and how much Python holds."""
    return json.dumps({"stats": plugin.stats().to_dict(), "blocks": sys.getallocatedblocks()})
