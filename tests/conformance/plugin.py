"""The conformance plugin in Python: every entry that docs/conformance.md asks for."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nylon_ring_py import Callback, HandlerError, Plugin, Request, Status, Stream, current_call

# Nobody answers held calls once a shutdown has begun, so there is nothing to wait for.
plugin = Plugin("conformance", version="1.0.0", shutdown_timeout_s=0.2)

#: Of the entries that run into a limit.
LIMIT_S = 0.05


# ---- start ----


@plugin.lifespan
async def lifespan() -> AsyncIterator[dict[str, object]]:
    """Runs on the event loop, before the first call."""
    await asyncio.sleep(0)
    yield {"prepared": "ready", "loop": asyncio.get_running_loop()}


@plugin.handle_sync("prepared")
def prepared(req: Request) -> str:
    """What the lifespan has made."""
    text: str = plugin.ctx.prepared
    return text


# ---- one reply ----


@plugin.handle("echo")
def echo(req: Request) -> bytes:
    """On a worker thread."""
    return req.body


@plugin.handle_sync("echo_sync")
def echo_sync(req: Request) -> bytes:
    """On the host's thread."""
    return req.body


@plugin.handle_raw("raw_echo")
def raw_echo(body: bytes) -> bytes:
    """On a worker thread, with bytes and no request."""
    return body


@plugin.handle_raw("raw_sync", sync=True)
def raw_sync(body: bytes) -> bytes:
    """On the host's thread, with bytes and no request."""
    return body


@plugin.handle("echo_async")
async def echo_async(req: Request) -> bytes:
    """On the event loop, after others have had their turn."""
    await asyncio.sleep(0)
    return req.body


@plugin.handle("echo_executor", executor=lambda: ThreadPoolExecutor(2))
def echo_executor(req: Request) -> bytes:
    """In an executor of the author's."""
    return req.body


@dataclass
class Numbered:
    """What a body has to be."""

    number: int


@plugin.handle("typed", codec="json")
def typed(body: Numbered) -> int:
    """Body and result are JSON. A body that is no `Numbered` is answered Invalid, and this does not run."""
    return body.number + 1


@plugin.handle_sync("describe")
def describe(req: Request) -> bytes:
    """The request in lines. Headers go out as the bytes they came in: a value may be no UTF-8."""
    if not req.has_metadata:
        return b"no request\n"
    lines = [line.encode() for line in (req.method, req.path, req.query, str(len(req.headers)))]
    lines += [name + b": " + value for name, value in req.headers_raw]
    return b"".join(line + b"\n" for line in lines)


# ---- failures ----


@plugin.handle("fail")
def fail(req: Request) -> None:
    """What a handler raises is an answer: Err, with the exception's type and text."""
    raise ValueError(req.body.decode())


@plugin.handle_sync("fail_sync")
def fail_sync(req: Request) -> None:
    """The same on the host's thread: `handle` has said Ok, and a reply says what went wrong."""
    raise ValueError(req.body.decode())


@plugin.handle("fail_async")
async def fail_async(req: Request) -> None:
    """The same on the event loop."""
    await asyncio.sleep(0)
    raise ValueError(req.body.decode())


@plugin.handle_sync("status")
def status(req: Request) -> None:
    """A failure with a status of the author's choice."""
    raise HandlerError(Status(int(req.body)), "as asked")


# ---- state ----


@plugin.handle("state")
def state(req: Request) -> bytes:
    """State is kept for this call, until its reply."""
    req.state.set("k", req.body)
    return req.state.get("k", b"") or b""


@plugin.handle("state_peek")
def state_peek(req: Request) -> bytes:
    """No other call's state is seen."""
    return req.state.get("k", b"") or b""


# ---- streams ----


@plugin.handle("count")
def count(req: Request) -> Iterator[str]:
    """A generator is a stream: a frame per yield, and StreamEnd."""
    yield from map(str, range(int(req.body)))


@plugin.handle("count_fail")
def count_fail(req: Request) -> Iterator[str]:
    """What a generator raises ends its stream."""
    yield from map(str, range(int(req.body)))
    raise RuntimeError("broken")


_lock = threading.Lock()
_endless_ended = 0


@plugin.handle("endless")
def endless(req: Request) -> Iterator[str]:
    """When the host closes the stream, or refuses its frames, the generator is closed and its finally runs."""
    global _endless_ended
    try:
        yield from map(str, itertools.count())
    finally:
        with _lock:
            _endless_ended += 1


@plugin.handle_sync("ended")
def ended(req: Request) -> str:
    """How many endless streams are over."""
    return str(_endless_ended)


@plugin.handle("count_async")
async def count_async(req: Request) -> AsyncIterator[str]:
    """An async generator is a stream as well."""
    for number in range(int(req.body)):
        yield str(number)


@plugin.handle("count_fail_async")
async def count_fail_async(req: Request) -> AsyncIterator[str]:
    """What an async generator raises ends its stream."""
    for number in range(int(req.body)):
        yield str(number)
    raise RuntimeError("broken")


@plugin.handle("endless_async")
async def endless_async(req: Request) -> AsyncIterator[str]:
    """A close comes as the end of this coroutine between two frames, or while it waits for something."""
    global _endless_ended
    try:
        for number in itertools.count():
            yield str(number)
            await asyncio.sleep(0)
    finally:
        with _lock:
            _endless_ended += 1


@plugin.handle("spread")
def spread(req: Request) -> Iterator[bytes]:
    """The body in pieces."""
    yield from _pieces(req.body)


@plugin.handle("spread_async")
async def spread_async(req: Request) -> AsyncIterator[bytes]:
    """The same on the event loop, where others have their turn between two frames."""
    for piece in _pieces(req.body):
        yield piece
        await asyncio.sleep(0)


def _pieces(body: bytes) -> Iterator[bytes]:
    size = max(1, len(body) // 8)
    return (body[start : start + size] for start in range(0, len(body), size))


@plugin.handle("chat", stream=True)
def chat(req: Request) -> bytes:
    """The stream stays open when this returns; its input goes to `on_data`."""
    return b"hello " + req.body


@plugin.handle("relay", stream=True)
def relay(req: Request) -> None:
    """No opening frame, and frames go out as they came in."""
    req.state.set("as it is", b"1")


@plugin.stream_data
def on_data(sid: int, data: bytes) -> bytes:
    """What is returned goes out as a frame. Without a stream_close function the close itself ends the stream."""
    return data if plugin.state(sid).get("as it is") else data.upper()


@plugin.stream("chat_async")
async def chat_async(stream: Stream) -> None:
    """A task for each stream. The close ends the iteration, and not the way out."""
    await stream.send(b"hello " + stream.request.body)
    async for frame in stream:
        await stream.send(frame.upper())
    await stream.send("bye")


@plugin.stream("chat_object")
def chat_object(stream: Stream) -> None:
    """A thread for each stream."""
    stream.send(b"hello " + stream.request.body)
    for frame in stream:
        stream.send(frame.upper())
    stream.send("bye")


@plugin.stream("relay_async")
async def relay_async(stream: Stream) -> None:
    """A task for each stream."""
    async for frame in stream:
        await stream.send(frame)


@plugin.stream("relay_object")
def relay_object(stream: Stream) -> None:
    """A thread for each stream."""
    for frame in stream:
        stream.send(frame)


# ---- limits ----


@plugin.handle("deadline", timeout_s=LIMIT_S)
def deadline(req: Request) -> str:
    """Too slow: the host has its answer, and this may stop."""
    call = current_call()
    while not call.cancelled:
        _pause.wait(LIMIT_S / 10)
    return "late"


@plugin.handle("deadline_async", timeout_s=LIMIT_S)
async def deadline_async(req: Request) -> str:
    """Too slow, and cancelled."""
    await asyncio.Event().wait()
    return "late"


@plugin.handle("idle", idle_timeout_s=10 * LIMIT_S)  # within which its first frame has to come
async def idle(req: Request) -> AsyncIterator[str]:
    """One frame, and then none in time."""
    yield "0"
    await asyncio.Event().wait()


@plugin.stream("overstays", close_timeout_s=LIMIT_S)
async def overstays(stream: Stream) -> None:
    """Does not mind the close."""
    await stream.send(b"hello " + stream.request.body)
    await asyncio.Event().wait()


_pause = threading.Event()


# ---- answers that come later ----

_held: list[tuple[Callback, bytes]] = []
_waiting: list[asyncio.Event] = []


@plugin.handle("held")
def held(req: Request, callback: Callback) -> None:
    """Keep the callback: the call is answered when it is called, or when the plugin shuts down."""
    with _lock:
        _held.append((callback, req.body))


@plugin.handle("limited", max_pending=2)
def limited(req: Request, callback: Callback) -> None:
    """Two of them may be unanswered."""
    held(req, callback)


@plugin.handle("limited_async", max_pending=2)
async def limited_async(req: Request) -> bytes:
    """Two of them may be under way."""
    await _until_let_go()
    return req.body


@plugin.stream("full_inbox")
async def full_inbox(stream: Stream) -> None:
    """Frames wait in the stream's inbox until this reads them."""
    await _until_let_go()
    async for frame in stream:
        await stream.send(frame.upper())


async def _until_let_go() -> None:
    event = asyncio.Event()
    with _lock:
        _waiting.append(event)
    await event.wait()


@plugin.handle_sync("let_go")
def let_go(req: Request) -> str:
    """Answer all that is held, and let go on what waits.

    A callback whose call is over by now gives False, and sends nothing.
    """
    with _lock:
        calls, _held[:] = _held[:], []
        events, _waiting[:] = _waiting[:], []
    for callback, body in calls:
        callback(body)
    for event in events:
        plugin.ctx.loop.call_soon_threadsafe(event.set)
    return str(len(calls) + len(events))
