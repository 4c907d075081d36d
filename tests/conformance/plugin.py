"""The conformance plugin in Python: every entry that docs/conformance.md asks for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

from nylon_ring_py import Callback, HandlerError, Plugin, Request, Status

# Nobody answers held calls once a shutdown has begun, so there is nothing to wait for.
plugin = Plugin("conformance", version="1.0.0", shutdown_timeout_s=0.2)


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


@plugin.handle("chat", stream=True)
def chat(req: Request) -> bytes:
    """The stream stays open when this returns; its input goes to `chat_data`."""
    return b"hello " + req.body


@plugin.stream_data
def chat_data(sid: int, data: bytes) -> bytes:
    """What is returned goes out as a frame. Without a stream_close function the close itself ends the stream."""
    return data.upper()


# ---- answers that come later ----

_held: list[tuple[Callback, bytes]] = []


@plugin.handle("held")
def held(req: Request, callback: Callback) -> None:
    """Keep the callback: the call is answered when it is called, or when the plugin shuts down."""
    with _lock:
        _held.append((callback, req.body))


@plugin.handle_sync("let_go")
def let_go(req: Request) -> str:
    """Answer all that is held. A callback whose call is over by now gives False, and sends nothing."""
    with _lock:
        calls, _held[:] = _held[:], []
    for callback, body in calls:
        callback(body)
    return str(len(calls))
