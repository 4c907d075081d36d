"""What a handler sees of a call, and what it may return."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
import array, gc, json
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("fields", workers=2)
kept = []

def show(req):
    return json.dumps({
        "method": req.method, "path": req.path, "query": req.query, "args": req.args,
        "first": req.args.first("a"), "headers": req.headers.items(), "body": req.body.decode("latin-1"),
        "entry": req.entry, "sid": req.sid, "metadata": req.has_metadata,
        "types": [type(each).__name__ for each in (req.method, req.body, req.sid, req.args, req.headers)],
    })

plugin.handle("pooled")(show)
plugin.handle_sync("sync")(show)

@plugin.handle("callback")
def callback(req, callback): callback(show(req))

@plugin.handle("feed")
def feed(req):
    yield show(req)

@plugin.handle("stream", stream=True)
def stream(req):
    return Response(show(req), Status.STREAM_END)

def json_entry(req):
    return json.dumps(req.json())

plugin.handle("json")(json_entry)
plugin.handle_sync("json_sync")(json_entry)

def keep(req):
    kept.append(req)
    return req.path if req.query == "read" else b""

plugin.handle("keep")(keep)
plugin.handle_sync("keep_sync")(keep)

@plugin.handle_sync("kept")
def show_kept(req):
    text = show(kept.pop(0))
    gc.collect()
    return text

@plugin.handle_sync("headers")
def headers(req):
    h = req.headers
    return repr([len(h), h["x-a"], h.get("X-A"), h.get_all("x-A"), h.get("none"), h.get("none", 7), "X-B" in h,
                 "y" in h, list(h), h.keys(), h.values(), h.raw, req.headers is h])

MANY = {
    "bytes": lambda: b"data",
    "str": lambda: "d\\u00e4ta",
    "bytearray": lambda: bytearray(b"data"),
    "memoryview": lambda: memoryview(b"xdatax")[1:5],
    "strided": lambda: memoryview(b"d.a.t.a.")[::2],
    "typed": lambda: memoryview(array.array("H", [0x6164, 0x6174])),
    "none": lambda: None,
    "empty": lambda: b"",
    "response": lambda: Response("data"),
    "response view": lambda: Response(memoryview(b"data")),
    "response none": lambda: Response(None),
    "bytes subclass": lambda: type("B", (bytes,), {})(b"data"),
    "str subclass": lambda: type("S", (str,), {})("data"),
}

plugin.handle("return")(lambda req: MANY[req.body.decode()]())
plugin.handle_sync("return_sync")(lambda req: MANY[req.body.decode()]())
plugin.handle_raw("return_raw", sync=True)(lambda payload: MANY[payload.decode()]())

@plugin.handle("yield")
def frames(req):
    yield MANY[req.body.decode()]()

@plugin.handle("answer")
def answer(req, callback):
    callback(MANY[req.body.decode()]())
"""


@pytest.fixture(scope="module")
def fields(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "fields")


@pytest.fixture
def host(fields: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(fields) == Status.OK
    return host


REQUEST: dict[str, Any] = {
    "method": "PUT",
    "path": "/a/ü b",
    "query": "a=1&a=%C3%BC&b=&c",
    "headers": [("X-A", "1"), ("x-b", "ü"), ("x-a", "2")],
    "body": b"\0body\xff",
    "sid": 2**63 + 5,
}
SEEN: dict[str, Any] = {
    "method": "PUT",
    "path": "/a/ü b",
    "query": "a=1&a=%C3%BC&b=&c",
    "args": {"a": ["1", "ü"], "b": [""], "c": [""]},
    "first": "1",
    "headers": [["X-A", "1"], ["x-b", "ü"], ["x-a", "2"]],
    "body": "\0body\xff",
    "sid": 2**63 + 5,
    "metadata": True,
    "types": ["str", "bytes", "int", "Args", "Headers"],
}
NOTHING = {**SEEN, "method": "", "path": "", "query": "", "args": {}, "first": None, "headers": [], "metadata": False}


@pytest.mark.parametrize("entry", ["pooled", "sync", "callback", "feed", "stream"])
def test_the_fields_of_a_request(host: NrHost, entry: str) -> None:
    kind: Any = "stream" if entry in ("feed", "stream") else "unary"
    assert json.loads(host.call(entry, kind=kind, **REQUEST).frames[0].text) == {**SEEN, "entry": entry}
    bare = host.call(entry, kind=kind, request="null", body=b"\0body\xff", sid=2**63 + 5)
    assert json.loads(bare.frames[0].text) == {**NOTHING, "entry": entry}


@pytest.mark.parametrize("entry", ["keep", "keep_sync"])
@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("door", ["handle", "raw"])
def test_a_request_kept_after_its_call(host: NrHost, entry: str, read: bool, door: Any) -> None:
    """The host's memory is gone by then; what was read before and what is read now agree."""
    query = "read" if read else REQUEST["query"]
    for _ in range(3):
        assert host.call(entry, door=door, **{**REQUEST, "query": query}).reply.status == Status.OK
    host.call("pooled", body=b"\xee" * 4096, headers=100)  # whose memory may come to lie where the first one's was
    args = {"args": {"read": [""]}, "first": None} if read else {}
    seen = {**SEEN, "query": query, **args} if door == "handle" else NOTHING
    for _ in range(3):
        assert json.loads(host.call("kept").reply.text) == {**seen, "entry": entry}


@pytest.mark.parametrize("entry", ["json", "json_sync"])
def test_json(host: NrHost, entry: str) -> None:
    value = {"a": [1, 2.5, None, True, "ü"], "b": {}}
    assert json.loads(host.call(entry, body=json.dumps(value).encode()).reply.text) == value
    for bad in (b"", b"{", b"NaN", b"\xff", b"[" * 100_000):
        reply = host.call(entry, body=bad).reply
        assert reply.status == Status.INVALID
        assert reply.text.startswith("the body is no JSON: ")


@pytest.mark.parametrize("stack", [64 << 10, 1 << 20, 2 << 20])
def test_deep_json_on_a_host_thread(host: NrHost, stack: int) -> None:
    """What a stranger may send: it must not reach the end of the host's stack."""
    for body in (b"[" * 1_000_000, b'{"a":' * 1_000_000):
        assert host.call("json_sync", body=body, on="thread", stack=stack).reply.status == Status.INVALID


def test_headers(host: NrHost) -> None:
    pairs = [("X-A", "1"), ("x-b", "2"), ("x-A", "3")]
    expected = [
        3, "1", "1", ["1", "3"], None, 7, True, False, ["X-A", "x-b"], ["X-A", "x-b"], ["1", "2", "3"],
        [(b"X-A", b"1"), (b"x-b", b"2"), (b"x-A", b"3")], True,
    ]  # fmt: skip
    assert host.call("headers", headers=pairs).reply.text == repr(expected)


RETURNED = {
    "bytes": b"data", "str": "däta".encode(), "bytearray": b"data", "memoryview": b"data", "strided": b"data",
    "typed": b"data", "none": b"", "empty": b"", "response": b"data", "response view": b"data", "response none": b"",
    "bytes subclass": b"data", "str subclass": b"data",
}  # fmt: skip


@pytest.mark.parametrize("what", RETURNED)
def test_what_a_handler_may_return(host: NrHost, what: str) -> None:
    body = what.encode()
    for entry in ("return", "return_sync", "return_raw", "answer"):
        reply = host.call(entry, body=body).reply
        assert (reply.status, reply.data) == (Status.OK, RETURNED[what]), entry
    assert host.stream("yield", body=body).data == [RETURNED[what], b""]


LOGGING = """
import logging
from nylon_ring_py import HandlerError, Plugin, Status

plugin = Plugin("spoken", workers=1)

@plugin.on_init
def init():
    root = logging.getLogger()
    print("root", root.level, root.handlers, flush=True)
    logging.basicConfig(format="<%(name)s %(levelname)s %(nylon_where)s> %(message)s")

def secret_name(req):
    raise ValueError("told")

plugin.handle("pooled")(secret_name)
plugin.handle_sync("sync")(secret_name)

@plugin.handle("feed")
def feed(req):
    yield b""
    secret_name(req)

@plugin.handle_sync("own")
def own(req):
    raise HandlerError(Status.INVALID, "quiet")

@plugin.handle_raw("flood", sync=True)
def flood(payload):
    raise OSError("again")
"""


def test_the_traceback_is_in_the_log_and_not_in_the_reply(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(LOGGING, "spoken")) == Status.OK
    assert "root 30 []" in host.stderr_tail()
    for entry in ("pooled", "sync", "feed"):
        frame = host.call(entry, sid=4321, kind="stream" if entry == "feed" else "unary").frames[-1]
        assert frame.data == b"ValueError: told"
        text = host.stderr().decode()
        assert f"<nylon_ring.spoken ERROR entry '{entry}'> entry '{entry}' raised ValueError (sid 4321)" in text
        assert "Traceback (most recent call last)" in text
        assert 'raise ValueError("told")' in text
    assert host.stderr().count(b"in secret_name") == 3
    before = len(host.stderr())
    assert host.call("own").reply.data == b"quiet"
    assert len(host.stderr()) == before


def test_a_flood_of_exceptions_is_counted(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(LOGGING, "spoken")) == Status.OK
    storm = host.storm(calls=5000, threads=4, raw="flood")
    assert storm.terminals == 5000
    host.unload()
    text = host.stderr().decode()
    written = text.count("OSError: again")
    left_out = sum(int(line.split(" OSError ")[1].split()[0]) for line in text.splitlines() if "more times" in line)
    assert 0 < written < 5000
    assert written + left_out == 5000
