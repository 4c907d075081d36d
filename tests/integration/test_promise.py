"""The promise: a call that was accepted gets exactly one terminal reply, whatever the handler does.

Every host here counts: leaving it fails on a reply too many, one too few, one that overlaps another or comes from the
thread of another call.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
import sys, threading
from nylon_ring_py import HandlerError, Plugin, Response, Status

plugin = Plugin("naughty", workers=4)

class Broken(OSError):
    def __str__(self):
        raise RuntimeError("no text")

class Sneaky(Response):
    pass

class Liar(str):
    def __str__(self):
        raise SystemExit

def forever(n):
    return forever(n + 1)

def through_c(n):
    return sorted([n, n], key=through_c)

async def coroutine():
    return b"never"

def frames():
    yield b"never"

def broken_response(status):
    response = Sneaky(b"x")
    response.status = status
    return response

def raises(exception):
    raise exception

def released():
    view = memoryview(b"gone")
    view.release()
    return view

WAYS = {
    "int": lambda: 7,
    "object": lambda: object(),
    "list": lambda: [b"x"],
    "class": lambda: Plugin,
    "coroutine": lambda: coroutine(),
    "generator": lambda: frames(),
    "surrogate": lambda: "\\ud800",
    "released": released,
    "response of int": lambda: Response(7),
    "panic": lambda: Response(b"", Status.PANIC),
    "backpressure": lambda: Response(b"", Status.BACKPRESSURE),
    "status 5 by hand": lambda: broken_response(5),
    "status -1 by hand": lambda: broken_response(-1),
    "status of text": lambda: broken_response("ok"),
    "value": lambda: raises(ValueError("no")),
    "empty": lambda: raises(ValueError()),
    "base": lambda: raises(BaseException("bare")),
    "interrupt": lambda: raises(KeyboardInterrupt()),
    "exit": lambda: sys.exit(3),
    "generator exit": lambda: raises(GeneratorExit()),
    "broken str": lambda: raises(Broken(5, "io")),
    "lying str": lambda: raises(ValueError(Liar("hm"))),
    "recursion": lambda: forever(0),
    "recursion through C": lambda: through_c(0),
    "group": lambda: raises(BaseExceptionGroup("two", [ValueError("a"), KeyboardInterrupt()])),
    "handler error": lambda: raises(HandlerError(Status.UNSUPPORTED, "not here, caf\\u00e9")),
    "handler error invalid": lambda: raises(HandlerError(Status.INVALID, "")),
}

@plugin.handle("pooled")
def pooled(req): return WAYS[req.body.decode()]()

@plugin.handle_sync("sync")
def sync(req): return WAYS[req.body.decode()]()

@plugin.handle_raw("raw")
def raw(payload): return WAYS[payload.decode()]()

@plugin.handle_raw("raw_sync", sync=True)
def raw_sync(payload): return WAYS[payload.decode()]()

@plugin.handle("callback")
def callback(req, callback): return WAYS[req.body.decode()]()

@plugin.handle_sync("sync_callback")
def sync_callback(req, callback): return WAYS[req.body.decode()]()

@plugin.handle_raw("raw_callback", sync=True)
def raw_callback(payload, callback): return WAYS[payload.decode()]()

@plugin.handle("kept_callback")
def kept_callback(req, callback):
    kept.append(callback)
    return WAYS[req.body.decode()]()

kept = []

@plugin.handle("feed")
def feed(req):
    yield b"one"
    yield WAYS[req.body.decode()]()
    yield b"never"

@plugin.handle_raw("raw_feed")
def raw_feed(payload):
    yield b"one"
    yield WAYS[payload.decode()]()

@plugin.handle("stream", stream=True)
def stream(req):
    plugin.send_result(req.sid, Status.OK, b"one")
    return WAYS[req.body.decode()]()

@plugin.handle("in_data", stream=True)
def in_data(req): return b"one"

@plugin.stream_data
def data(sid, data): return WAYS[data.decode()]()

@plugin.handle_sync("ping")
def ping(req): return b"pong"
"""

UNARY = ("pooled", "sync", "raw", "raw_sync", "callback", "sync_callback", "raw_callback", "kept_callback")
STREAMS = ("feed", "raw_feed", "stream", "in_data")
CANNOT_SEND = "return bytes, bytearray, memoryview, str, None or a Response"
NOT_SENT = "cannot be sent"

#: How a handler fails, the status it gives, and how the text begins and ends.
WAYS = [
    ("int", Status.ERR, "TypeError: cannot send int: ", CANNOT_SEND),
    ("object", Status.ERR, "TypeError: cannot send object: ", CANNOT_SEND),
    ("list", Status.ERR, "TypeError: cannot send list: ", CANNOT_SEND),
    ("class", Status.ERR, "TypeError: cannot send type: ", CANNOT_SEND),
    ("coroutine", Status.ERR, "TypeError: cannot send coroutine: ", CANNOT_SEND),
    ("generator", Status.ERR, "TypeError: cannot send generator: ", CANNOT_SEND),
    ("surrogate", Status.ERR, "UnicodeEncodeError: 'utf-8' codec can't encode ", "surrogates not allowed"),
    ("released", Status.ERR, "ValueError: ", "released memoryview object"),
    ("response of int", Status.ERR, "TypeError: cannot send ", CANNOT_SEND),
    ("panic", Status.ERR, "ValueError: Status.PANIC cannot be sent: ", "send Status.ERR"),
    ("backpressure", Status.ERR, "ValueError: Status.BACKPRESSURE cannot be sent: ", "send Status.ERR"),
    ("status 5 by hand", Status.ERR, "ValueError: Status.PANIC cannot be sent: ", "send Status.ERR"),
    ("status -1 by hand", Status.ERR, "ValueError: there is no status -1", ""),
    ("status of text", Status.ERR, "TypeError: ", ""),
    ("value", Status.ERR, "ValueError: no", "ValueError: no"),
    ("empty", Status.ERR, "ValueError", "ValueError"),
    ("base", Status.ERR, "BaseException: bare", ""),
    ("interrupt", Status.ERR, "KeyboardInterrupt", "KeyboardInterrupt"),
    ("exit", Status.ERR, "SystemExit: 3", "SystemExit: 3"),
    ("generator exit", Status.ERR, "GeneratorExit", "GeneratorExit"),
    ("broken str", Status.ERR, "Broken: (its message cannot be read: RuntimeError)", ""),
    ("lying str", Status.ERR, "ValueError: ", ""),
    ("recursion", Status.ERR, "RecursionError: maximum recursion depth exceeded", ""),
    ("recursion through C", Status.ERR, "RecursionError: maximum recursion depth exceeded", ""),
    ("group", Status.ERR, "BaseExceptionGroup: two (2 sub-exceptions)", ""),
    ("handler error", Status.UNSUPPORTED, "not here, café", "not here, café"),
    ("handler error invalid", Status.INVALID, "", ""),
]


@pytest.fixture(scope="module")
def naughty(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "naughty")


@pytest.fixture
def host(naughty: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(naughty) == Status.OK
    return host


@pytest.mark.parametrize(("way", "status", "start", "end"), WAYS, ids=[way[0] for way in WAYS])
def test_a_failing_handler_is_a_reply(host: NrHost, way: str, status: Status, start: str, end: str) -> None:
    body = way.encode()
    for entry in UNARY:
        reply = host.call(entry, body=body).reply
        assert reply.status == status, (entry, reply.text)
        assert reply.text.startswith(start), entry
        assert reply.text.endswith(end), entry
        assert "Traceback" not in reply.text
    for entry in STREAMS:
        sid = host.submit(entry, body=body, kind="stream").sid
        if entry == "in_data":
            assert host.stream_data(sid, body) == Status.OK
        call = host.wait(sid)
        assert call.ended, entry
        assert [frame.status for frame in call.frames] == [Status.OK, status], entry
        assert call.frames[0].data == b"one"
        assert call.frames[1].text.startswith(start), entry
        assert call.frames[1].text.endswith(end), entry
    assert host.call("ping").reply.data == b"pong"


@pytest.mark.parametrize("stack", [64 << 10, 512 << 10, 1 << 20, 2 << 20, 8 << 20])
@pytest.mark.parametrize("way", ["recursion", "recursion through C", "broken str"])
def test_a_deep_handler_on_any_stack(host: NrHost, way: str, stack: int) -> None:
    for entry in ("sync", "raw_sync", "sync_callback", "pooled"):
        reply = host.call(entry, body=way.encode(), on="thread", stack=stack).reply
        assert reply.status == Status.ERR
        assert reply.text.startswith("Broken" if way == "broken str" else "RecursionError")


def test_no_reply_to_what_was_refused(host: NrHost) -> None:
    for entry in ("unknown", "", "pooled\0", "Pooled"):
        assert host.call(entry).handle == Status.INVALID
    ledger = host.ledger()
    assert (ledger.accepted, ledger.refused, ledger.replies) == (0, 4, 0)
