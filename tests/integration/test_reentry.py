"""What hosts do inside send_result: call back, join threads that call, and park."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import Abi, Status

INSIDE = """
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("inside", workers=3)

plugin.handle("pooled")(lambda req: b"pooled")
plugin.handle_sync("sync")(lambda req: b"sync")
plugin.handle_raw("raw", sync=True)(lambda payload: payload)
plugin.handle_raw("echo")(lambda payload: payload)

plugin.handle("limited", max_pending=1)(lambda req: b"pooled")

@plugin.handle("limited_async", max_pending=1)
async def limited_async(req): return b"coroutine"

@plugin.handle("callback")
def callback(req, callback): callback(b"callback")

@plugin.handle_sync("callback_sync")
def callback_sync(req, callback): callback(b"callback_sync")

@plugin.handle("feed")
def feed(req):
    yield b"1"
    yield b"2"

@plugin.handle("open", stream=True)
def open_stream(req):
    plugin.send_result(req.sid, Status.OK, b"1")
    return Response(b"", Status.STREAM_END)
"""


@pytest.fixture(scope="module")
def inside(build_once: BuildPlugin) -> Path:
    return build_once(INSIDE, "inside")


PARKED = 1 << 40
KINDS = ("pooled", "sync", "raw", "echo", "callback", "callback_sync", "feed", "open")


@pytest.mark.parametrize("abi", ["v1", "v2"])
@pytest.mark.parametrize("entry", ["limited", "limited_async"])
def test_the_answer_makes_room_for_the_next_call(inside: Path, start_host: StartHost, entry: str, abi: Abi) -> None:
    """From inside it: a host that calls again when it has its answer is within a limit of one."""
    host = start_host()
    assert host.load(inside, abi=abi) == Status.OK
    host.callback("reenter", entry=entry)
    assert host.call(entry).ended
    assert host.callback_report(inner_calls=1)["inner_refused"] == 0


@pytest.mark.parametrize("mode", ["reenter", "join"])
@pytest.mark.parametrize("entry", ["raw", "echo", "callback_sync"])
def test_the_host_calls_from_inside_send_result(
    inside: Path, start_host: StartHost, mode: Literal["reenter", "join"], entry: str
) -> None:
    host = start_host()
    assert host.load(inside) == Status.OK
    for depth in (1, 4):
        host.callback(mode, entry=entry, depth=depth)
        for kind in KINDS:
            for place in ("main", "thread"):
                more: dict[str, Any] = {"kind": "stream"} if kind in ("feed", "open") else {}
                call = host.call(kind, body=b"x", on=place, **more)
                assert call.ended
                assert len(call.frames) == {"feed": 3, "open": 2}.get(kind, 1)
        report = host.callback_report()
        assert report["inner_calls"] >= 2 * len(KINDS)
        assert report["inner_refused"] == 0
        if entry != "echo":
            assert report["inner_replies"] == report["inner_calls"]


def test_a_host_that_parks_in_send_result_holds_nobody_else(inside: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(inside) == Status.OK
    for kind in KINDS:
        if "sync" in kind or kind == "raw":
            continue  # its own thread is the one that is parked
        host.callback("block", sid=PARKED)
        stream = kind in ("feed", "open")
        sid = host.submit(kind, sid=PARKED, kind="stream" if stream else "unary").sid
        host.parked()
        for other in KINDS:
            assert host.call(other, kind="stream" if other in ("feed", "open") else "unary").ended
        storm = host.storm(calls=2000, threads=4, unary="sync", raw="raw", stream="feed")
        assert (storm.terminals, storm.timeouts) == (2000, 0)
        host.release()
        assert host.wait(sid).ended
