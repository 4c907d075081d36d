"""Streams in both directions: input reaches its handler as it was sent, one frame at a time, and ends as it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
import threading
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("duplex", workers=4)
log = []
events = {}

def event(name):
    return events.setdefault(name, threading.Event())

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.handle_sync("go")
def go(req): event(req.body.decode()).set()

@plugin.handle("count")
def count(req):
    for i in range(int(req.body or b"3")):
        yield str(i)

@plugin.handle("open", stream=True)
def opened(req):
    if req.path:
        event(req.path).wait()
    return req.body or None

busy = set()

@plugin.stream_data
def data(sid, data):
    if sid in busy:
        return Response(b"two at a time", Status.ERR)
    busy.add(sid)
    text = data.decode()
    result = data
    if text.startswith("wait "):
        event(text[5:]).wait()
    elif text == "end":
        result = Response(b"ended", Status.STREAM_END)
    elif text == "raise":
        busy.discard(sid)
        raise ValueError("in data")
    elif text == "silent":
        result = None
    elif text == "three":
        for n in range(3):
            plugin.send_result(sid, Status.OK, str(n))
        result = None
    elif text.startswith("log"):
        log.append(text)
    busy.discard(sid)
    return result

@plugin.stream_close
def close(sid):
    how = closing.pop(sid, None)
    if how == "raise":
        raise ValueError("in close")
    if how == "end":
        return Response(b"own end", Status.STREAM_END)
    if how == "err":
        return Response(b"own err", Status.ERR)
    plugin.send_result(sid, Status.OK, b"last")
    return b"very last"

closing = {}

@plugin.handle("closing", stream=True)
def set_closing(req):
    closing[req.sid] = req.body.decode()
"""


@pytest.fixture(scope="module")
def duplex(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "duplex")


@pytest.fixture
def host(duplex: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(duplex) == Status.OK
    return host


def open_stream(host: NrHost, body: bytes = b"open", path: str = "") -> int:
    sid = host.submit("open", kind="stream", body=body, path=path).sid
    if not path:
        assert host.wait(sid, frames=1).data == [body]
    return sid


def test_input_keeps_its_order(host: NrHost) -> None:
    sids = [open_stream(host) for _ in range(4)]
    for n in range(200):
        for sid in sids:
            assert host.stream_data(sid, b"%d" % n) == Status.OK
    for sid in sids:
        assert host.stream_close(sid) == Status.OK
        assert host.wait(sid).data == [b"%d" % n for n in range(200)] + [b"last", b"very last", b""]


def test_input_before_the_handler_has_run(host: NrHost) -> None:
    sid = open_stream(host, b"opened", path="c")
    for n in range(20):
        assert host.stream_data(sid, b"%d" % n) == Status.OK
    assert host.stream_close(sid) == Status.OK
    assert host.stream_data(sid, b"late") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID
    host.call("go", body=b"c")
    assert host.wait(sid).data == [b"opened", *(b"%d" % n for n in range(20)), b"last", b"very last", b""]


def test_one_frame_in_many_out_and_none(host: NrHost) -> None:
    sid = open_stream(host)
    for body in (b"three", b"silent", b"x"):
        assert host.stream_data(sid, body) == Status.OK
    assert host.wait(sid, frames=4).data == [b"0", b"1", b"2", b"x"]
    host.stream_close(sid)
    assert host.wait(sid).ended


def test_a_full_inbox_refuses_and_the_stream_lives_on(host: NrHost) -> None:
    sid = open_stream(host)
    assert host.stream_data(sid, b"log taken") == Status.OK
    assert host.wait(sid, frames=1).data == [b"log taken"]
    assert host.stream_data(sid, b"wait d") == Status.OK
    taken = 0
    while host.stream_data(sid, b"%d" % taken) == Status.OK:
        taken += 1
    assert 1023 <= taken <= 1024  # the frame that is waited in has left the inbox, or not yet
    while host.stream_data(sid, b"more") != Status.OK:
        host.call("go", body=b"d")
    expected = [b"wait d", *(b"%d" % n for n in range(taken)), b"more"]
    assert host.wait(sid, frames=len(expected)).data == expected
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).ended


def test_a_full_inbox_takes_the_close(host: NrHost) -> None:
    sid = open_stream(host)
    assert host.stream_data(sid, b"wait e") == Status.OK
    while host.stream_data(sid, b"x") == Status.OK:
        pass
    assert host.stream_close(sid) == Status.OK
    host.call("go", body=b"e")
    call = host.wait(sid)
    assert call.data[-3:] == [b"last", b"very last", b""]
    assert call.frames[-1].status == Status.STREAM_END


def test_ended_by_its_handler(host: NrHost) -> None:
    sid = open_stream(host)
    for body in (b"x", b"wait f", b"end", b"y"):
        assert host.stream_data(sid, body) == Status.OK
    host.call("go", body=b"f")
    call = host.wait(sid)
    assert call.data == [b"x", b"wait f", b"ended"]
    assert call.frames[-1].status == Status.STREAM_END
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID


def test_an_exception_for_a_frame_ends_the_stream(host: NrHost) -> None:
    sid = open_stream(host)
    assert host.stream_data(sid, b"raise") == Status.OK
    last = host.wait(sid).frames[-1]
    assert (last.status, last.data) == (Status.ERR, b"ValueError: in data")
    assert b"handler 'stream_data' raised ValueError" in host.stderr()


@pytest.mark.parametrize(
    ("how", "status", "reply"),
    [
        ("raise", Status.ERR, b"ValueError: in close"),
        ("end", Status.STREAM_END, b"own end"),
        ("err", Status.ERR, b"own err"),
    ],
)
def test_the_close_handler_ends_it_itself(host: NrHost, how: str, status: Status, reply: bytes) -> None:
    sid = host.submit("closing", kind="stream", body=how.encode()).sid
    assert host.stream_data(sid, b"x") == Status.OK
    assert host.wait(sid, frames=1).data == [b"x"]
    assert host.stream_close(sid) == Status.OK
    call = host.wait(sid)
    assert [(frame.status, frame.data) for frame in call.frames] == [(status, reply)]


def test_a_sid_comes_again(host: NrHost) -> None:
    for _ in range(20):
        assert host.stream("count", sid=5, body=b"3").ended
        assert host.submit("open", sid=5, kind="stream", body=b"x").handle == Status.OK
        assert host.stream_close(5) == Status.OK
        assert host.wait(5).data == [b"x", b"last", b"very last", b""]
        assert host.call("go", sid=5, body=b"z").reply.data == b""


def test_frames_sent_while_the_host_holds_one(host: NrHost) -> None:
    """Whoever sends meanwhile goes on at once; the frames follow in order when the host lets go."""
    sid = open_stream(host)
    host.callback("block", sid=sid, budget=1)
    assert host.stream_data(sid, b"held") == Status.OK
    host.parked()
    job = host.start_call("log")
    assert host.join_call(job).reply.status == Status.OK
    for n in range(100):
        assert host.stream_data(sid, b"%d" % n) == Status.OK
    host.release()
    assert host.wait(sid, frames=101).data == [b"held", *(b"%d" % n for n in range(100))]
    host.stream_close(sid)
    assert host.wait(sid).ended
