"""borrow=True: the body lies in the host's memory while the call lasts, and is the author's own afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
import json
import pickle
import threading
from nylon_ring_py import Body, Callback, Plugin, Response

plugin = Plugin("borrows", workers=2)
kept = []

def shown(payload):
    return f"{type(payload).__name__} {len(payload)}"

@plugin.handle_raw("raw", sync=True, borrow=True)
def raw(payload): return payload

@plugin.handle_sync("request", borrow=True)
def request(req): return req.body

@plugin.handle_raw("what", sync=True, borrow=True)
def what(payload): return f"{shown(payload)} {isinstance(payload, Body)} {payload!r}"

@plugin.handle_raw("part", sync=True, borrow=True)
def part(payload): return payload[2:-2]

@plugin.handle_raw("looks", sync=True, borrow=True)
def looks(payload):
    return json.dumps([
        payload[0], payload[-1], list(payload[::3]), 98 in payload, [*payload][:2], payload == b"abcdef",
        payload != b"", payload.upper().decode(), bytes(payload).decode(), memoryview(payload).tobytes().decode(),
        bool(payload), hash(payload) == hash(b"abcdef"), pickle.loads(pickle.dumps(payload)).decode(),
        b"".join([payload, b"!"]).decode(),
    ])

@plugin.handle_raw("wrong", sync=True, borrow=True)
def wrong(payload):
    said = []
    for use in (lambda: payload[len(payload)], lambda: payload["a"], lambda: payload.no_such, lambda: Body()):
        try:
            use()
        except Exception as error:
            said.append(type(error).__name__)
    return ",".join(said)

@plugin.handle_raw("keep", sync=True, borrow=True)
def keep(payload):
    kept.append(payload)
    return payload

@plugin.handle_sync("keep_body", borrow=True)
def keep_body(req):
    kept.append(req.body)

@plugin.handle_sync("keep_request", borrow=True)
def keep_request(req):
    kept.append(req)

@plugin.handle_sync("keep_both", borrow=True)
def keep_both(req):
    kept.append(req)
    return req.body

@plugin.handle_sync("kept")
def show_kept(req):
    last = kept.pop()
    body = getattr(last, "body", last)
    return f"{type(body).__name__} ".encode() + bytes(body)

@plugin.handle_sync("response", borrow=True)
def response(req): return Response(req.body)

@plugin.handle_sync("json", borrow=True)
def decoded(req): return str(req.json())

@plugin.handle_sync("later", borrow=True)
def later(req, callback: Callback):
    body = req.body
    threading.Thread(target=lambda: callback(body)).start()

@plugin.handle_sync("by_sid", borrow=True)
def by_sid(req):
    plugin.send_result(req.sid, 0, req.body)

@plugin.handle_sync("other_returns", borrow=True)
def other_returns(req):
    kept.append(req.body)
    return b"kept"

@plugin.handle("pooled_returns")
def pooled_returns(req): return kept.pop()
"""

LARGE = bytes(range(256)) * 40  # an owned reply, if it were bytes


@pytest.fixture(scope="module")
def borrows(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "borrows")


@pytest.fixture(params=["v1", "v2"])
def host(borrows: Path, start_host: StartHost, request: pytest.FixtureRequest) -> NrHost:
    host = start_host()
    assert host.load(borrows, abi=request.param) == Status.OK
    return host


@pytest.mark.parametrize("entry", ["raw", "request", "response", "by_sid", "later", "keep", "keep_both"])
@pytest.mark.parametrize("body", [b"", b"x", LARGE], ids=len)
def test_it_comes_back_as_it_was(host: NrHost, entry: str, body: bytes) -> None:
    for place in ("main", "thread"):
        assert host.call(entry, body=body, on=place).reply.data == body


def test_it_is_a_body_and_like_bytes(host: NrHost) -> None:
    assert host.call("what", body=b"abcdef").reply.text == "Body 6 True <Body of 6 bytes>"
    assert host.call("part", body=b"abcdef").reply.data == b"cd"
    assert host.call("part", body=b"abc").reply.data == b""
    expected = [97, 102, [97, 100], True, [97, 98], True, True, *["ABCDEF", "abcdef", "abcdef"], True, True]
    assert json.loads(host.call("looks", body=b"abcdef").reply.text) == [*expected, "abcdef", "abcdef!"]
    assert host.call("wrong", body=b"abc").reply.text == "IndexError,TypeError,AttributeError,TypeError"
    assert host.call("json", body=b"[1]").reply.text == "[1]"


@pytest.mark.parametrize(
    ("entry", "kind"), [("keep", "Body"), ("keep_body", "Body"), ("keep_request", "bytes"), ("keep_both", "Body")]
)
def test_what_is_kept_is_copied(host: NrHost, entry: str, kind: str) -> None:
    """The next call's body may lie where it lay."""
    host.call(entry, body=b"first" * 1000)
    assert host.call("raw", body=b"other" * 1000).reply.data == b"other" * 1000
    assert host.call("kept").reply.data == kind.encode() + b" " + b"first" * 1000


def test_it_outlives_its_call_in_another_one_s_reply(host: NrHost) -> None:
    assert host.call("other_returns", body=LARGE).reply.data == b"kept"
    assert host.call("raw", body=LARGE[::-1]).reply.data == LARGE[::-1]  # most likely where the first one lay
    assert host.call("pooled_returns").reply.data == LARGE
