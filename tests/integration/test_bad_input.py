"""Bad input from a host: the status that the ABI page gives, never a crash, and the next call works."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
import threading
from nylon_ring_py import Plugin, Status

plugin = Plugin("doors", workers=4)
go = threading.Event()
held = []

def show(req):
    pairs = b"; ".join(key + b"=" + value for key, value in req.headers.raw)
    text = f"{req.has_metadata} {req.method} {req.path} {req.query} ".encode()
    return text + pairs + b" " + req.body

plugin.handle("pooled")(show)
plugin.handle_sync("sync")(show)
plugin.handle_raw("raw")(lambda payload: b"raw " + payload)
plugin.handle_raw("raw_sync", sync=True)(lambda payload: b"raw " + payload)

@plugin.handle("callback")
def callback(req, callback): callback(show(req))

@plugin.handle("feed")
def feed(req): yield show(req)

@plugin.handle_raw("raw_feed")
def raw_feed(payload): yield b"raw " + payload

@plugin.handle("stream", stream=True)
def stream(req):
    plugin.send_result(req.sid, Status.OK, show(req))
    if req.body != b"open":
        plugin.send_result(req.sid, Status.STREAM_END)

@plugin.stream_data
def data(sid, data): return data

@plugin.handle("waiting")
def waiting(req):
    yield b"first"
    go.wait()
    yield b"second"

@plugin.handle_sync("go")
def let_go(req): go.set()

@plugin.handle("hold")
def hold(req, callback): held.append(callback)

@plugin.handle("let")
def let(req): held.pop()(b"let")

@plugin.handle_sync("header")
def header(req):
    return repr((req.headers["x"], req.headers.raw, req.headers.items()))
"""

UNARY = ("pooled", "sync", "raw", "raw_sync", "callback")
STREAMS = ("feed", "raw_feed", "stream")
SHOWN = b"True GET /p q k=v body"

NOT_UTF8 = (b"\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xe2\x82", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98",
            b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc3\x28")  # fmt: skip


@pytest.fixture(scope="module")
def doors(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "doors")


@pytest.fixture
def host(doors: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(doors) == Status.OK
    return host


def call(host: NrHost, entry: str | bytes, **more: Any) -> tuple[int, bytes | None]:
    """A call with every field set: the status of handle and the first payload."""
    fields: dict[str, Any] = {"method": "GET", "path": "/p", "query": "q", "headers": [("k", "v")], "body": b"body"}
    kind: Any = "stream" if entry in STREAMS else "unary"
    made = host.call(entry, kind=kind, **{**fields, **more})
    return made.handle, made.frames[0].data if made.frames else None


def assert_works(host: NrHost) -> None:
    for entry in (*UNARY, *STREAMS):
        assert call(host, entry) == (Status.OK, b"raw body" if entry.startswith("raw") else SHOWN), entry


VIEWS = ("payload", "method", "path", "query", "hkey0", "hval0")
BEHIND = "0xfffffffffffffff0"


@pytest.mark.parametrize("view", [*VIEWS, "headers", "entry"])
def test_views_that_cannot_be(host: NrHost, view: str) -> None:
    broken = ["null:1", "null:4294967295", "top:2", f"{BEHIND}:17"]
    if view == "payload":
        broken += ["null:18446744073709551615", "keep:18446744073709551615", "8:9223372036854775808"]
    for entry in (*UNARY, *STREAMS):
        for raw in broken:
            handle, data = call(host, entry, raw={view: raw})
            assert (handle, data) == (Status.INVALID, None), (entry, raw)
    assert host.ledger().accepted == 0
    assert_works(host)


@pytest.mark.parametrize("pointer", ["null", "1", "8", "top"])
def test_no_length_is_empty_whatever_the_pointer(host: NrHost, pointer: str) -> None:
    empty: Mapping[str, str] = dict.fromkeys(VIEWS, f"{pointer}:0")
    for entry in (*UNARY, *STREAMS):
        expected = b"raw " if entry.startswith("raw") else b"True    = "
        assert call(host, entry, raw=empty) == (Status.OK, expected), entry
        without = {"headers": f"{pointer}:0"}
        expected = b"raw body" if entry.startswith("raw") else b"True GET /p q  body"
        assert call(host, entry, raw=without) == (Status.OK, expected), entry
        assert call(host, entry, raw={"entry": f"{pointer}:0"}) == (Status.INVALID, None)


@pytest.mark.parametrize("field", ["method", "path", "query", "header"])
def test_text_that_is_no_utf8(host: NrHost, field: str) -> None:
    for bad in NOT_UTF8:
        for before in (0, 1, 7, 8, 15, 16):
            text = b"a" * before + bad + (b"b" if bad != b"\xc3" and before % 2 else b"")
            more: dict[str, Any] = {"headers": [(text, "v")]} if field == "header" else {field: text}
            for entry in ("pooled", "sync", "raw", "feed"):
                assert call(host, entry, **more) == (Status.INVALID, None), (entry, text)
    assert_works(host)


def test_an_entry_that_is_no_utf8_is_unknown(host: NrHost) -> None:
    for bad in (*NOT_UTF8, b"sync\xff", b"sync\0", b"Sync", b"syn", "sync\u0301".encode()):
        assert call(host, bad) == (Status.INVALID, None)
    assert_works(host)


def test_text_of_every_length_is_taken(host: NrHost) -> None:
    for sample in ("\u07ff", "€", "\ud7ff", "\ue000", "\uffff", "😀", "\U0010ffff"):
        for before in range(9):
            text = "a" * before + sample + "b" * (before % 3)
            for entry in ("sync", "pooled"):
                _, data = call(host, entry, method=text, path=text, query=text, headers=[(text, text)], body=b"")
                assert data == f"True {text} {text} {text} {text}={text} ".encode()


def test_latin_1_in_a_header_value(host: NrHost) -> None:
    for entry in ("sync", "pooled"):
        assert call(host, entry, headers=[("x", b"caf\xe9")])[1] == b"True GET /p q x=caf\xe9 body"
    _, data = call(host, "header", headers=[("X", b"caf\xe9")])
    assert data == repr(("caf\udce9", [(b"X", b"caf\xe9")], [("X", "caf\udce9")])).encode()


def test_every_entry_through_every_door(host: NrHost) -> None:
    for more in ({"request": "null"}, {"door": "raw"}):
        for entry in (*UNARY, *STREAMS):
            expected = b"raw body" if entry.startswith("raw") else b"False     body"
            assert call(host, entry, **more) == (Status.OK, expected), entry
    for entry in ("sync", "raw_sync"):
        expected = b"raw body" if entry.startswith("raw") else SHOWN
        assert call(host, entry, door="fast") == (Status.OK, expected)
    assert_works(host)


def test_every_entry_through_a_raw_door_of_its_own(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(SOURCE, "raw_doors", "--abi", "v1-raw"), layout="raw") == Status.OK
    for entry in (*UNARY, *STREAMS):
        expected = b"raw body" if entry.startswith("raw") else b"False     body"
        assert call(host, entry, door="raw") == (Status.OK, expected), entry
        assert call(host, entry, door="raw", raw={"payload": "null:1"}) == (Status.INVALID, None)
        assert call(host, entry, door="raw", raw={"payload": "null:0"}) == (Status.OK, expected[:-4])
    assert_works(host)


def test_the_sid_of_an_open_stream_is_taken(host: NrHost) -> None:
    sid = host.submit("stream", kind="stream", body=b"open").sid
    assert host.wait(sid, frames=1).frames[0].status == Status.OK
    for entry in (*UNARY, *STREAMS):
        assert host.call(entry, sid=sid, kind="stream" if entry in STREAMS else "unary").handle == Status.INVALID
    assert host.stream_data(sid, b"still here") == Status.OK
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data == [b"still here", b""]
    assert host.stream("feed", sid=sid).ended


@pytest.mark.parametrize("ctx", ["null", "host", "own+1", "own+8", "own+255", "own+256", "own+65536", "1",
                                 "0x4141414141414141", "18446744073709551615"])  # fmt: skip
def test_a_context_that_is_not_ours(host: NrHost, ctx: str) -> None:
    sid = host.submit("stream", kind="stream", body=b"open").sid
    assert host.wait(sid, frames=1).frames
    for entry in (*UNARY, *STREAMS):
        assert host.call(entry, ctx=ctx, body=b"x").handle == Status.INVALID
        assert host.call(entry, ctx=ctx, door="raw").handle == Status.INVALID
    assert host.stream_data(sid, b"x", ctx=ctx) == Status.INVALID
    assert host.stream_close(sid, ctx=ctx) == Status.INVALID
    assert host.init(ctx=ctx) == Status.INVALID
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data == [b""]
    assert_works(host)


def test_out_of_turn(doors: Path, start_host: StartHost) -> None:
    host = start_host()
    host.load(doors, get_only=True)

    def refused() -> None:
        for entry in (*UNARY, *STREAMS, "unknown"):
            assert host.call(entry).handle == Status.INVALID
        assert host.stream_data(1, b"x") == Status.INVALID
        assert host.stream_close(1) == Status.INVALID

    refused()
    assert host.init() == Status.OK
    assert_works(host)
    assert host.init() == Status.INVALID
    assert_works(host)
    host.shutdown()
    refused()
    assert host.init() == Status.INVALID
    host.shutdown()
    refused()


def test_after_an_init_that_failed(build_once: BuildPlugin, start_host: StartHost) -> None:
    source = SOURCE + '\n@plugin.on_init\ndef init(): raise OSError("no database")\n'
    host = start_host()
    host.load(build_once(source, "fails"), get_only=True)
    assert host.init() == Status.ERR
    assert "OSError: no database" in host.stderr_tail()
    for entry in UNARY:
        assert host.call(entry).handle == Status.INVALID
    assert host.init() == Status.INVALID
    host.shutdown()
    assert host.call("sync").handle == Status.INVALID


def test_stream_functions_for_what_is_no_open_stream(host: NrHost) -> None:
    assert host.call("sync", sid=7).reply.status == Status.OK
    assert host.stream("feed", sid=8).ended
    held = host.submit("hold", sid=9).sid
    for sid in (0, 7, 8, held, 12345, 2**64 - 1):
        assert host.stream_data(sid, b"x") == Status.INVALID
        assert host.stream_close(sid) == Status.INVALID
    until(lambda: host.call("let").reply.status == Status.OK)  # another worker may not have kept it yet
    assert host.wait(held).reply.data == b"let"


def test_input_that_cannot_be(host: NrHost) -> None:
    sid = host.submit("stream", kind="stream", body=b"open").sid
    for view in ("null:1", "top:2", "keep:18446744073709551615", f"{BEHIND}:17"):
        assert host.stream_data(sid, b"abc", raw={"data": view}) == Status.INVALID
    assert host.stream_data(sid, b"abc", raw={"data": "null:0"}) == Status.OK
    assert host.stream_data(sid, b"abc") == Status.OK
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data[1:] == [b"", b"abc", b""]


def test_a_generator_takes_no_input_and_one_close(host: NrHost) -> None:
    sid = host.submit("waiting", kind="stream").sid
    assert host.wait(sid, frames=1).data == [b"first"]
    assert host.stream_data(sid, b"x") == Status.UNSUPPORTED
    assert host.stream_close(sid) == Status.OK
    assert host.stream_close(sid) == Status.INVALID
    assert host.stream_data(sid, b"x") == Status.UNSUPPORTED
    host.call("go")
    call = host.wait(sid)
    assert (call.frames[-1].status, call.data[-1]) == (Status.STREAM_END, b"")
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID


def test_a_plugin_without_streams(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    source = 'from nylon_ring_py import Plugin\nplugin = Plugin("p")\nplugin.handle_sync("e")(lambda req: req.body)\n'
    assert host.load(build_once(source, "unary")) == Status.OK
    for sid in (0, 1, 99):
        assert host.stream_data(sid, b"x") == Status.UNSUPPORTED
        assert host.stream_close(sid) == Status.UNSUPPORTED
    assert host.call("e", body=b"x").reply.data == b"x"


def test_a_stream_without_a_data_handler_takes_no_input(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    source = """
    from nylon_ring_py import Plugin
    plugin = Plugin("p")
    plugin.handle("s", stream=True)(lambda req: b"open")
    """
    assert host.load(build_once(source, "deaf")) == Status.OK
    sid = host.submit("s", kind="stream").sid
    assert host.stream_data(sid, b"x") == Status.UNSUPPORTED
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data == [b"open", b""]
