"""Streams: frames in order and one at a time, one end, and input that reaches its handler as it was sent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = '''
import threading
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("flows", workers=4)
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

@plugin.handle("nothing")
def nothing(req):
    return
    yield

@plugin.handle("endless")
def endless(req):
    try:
        n = 0
        while True:
            yield str(n)
            n += 1
    finally:
        log.append("finally")

@plugin.handle("steps")
def steps(req):
    try:
        yield b"first"
        log.append("waiting")
        event(req.path).wait()
        yield b"second"
        yield b"never"
    except GeneratorExit:
        log.append("closed")
        raise
    finally:
        log.append("finally")

@plugin.handle("stubborn")
def stubborn(req):
    try:
        yield b"first"
        event(req.path).wait()
        yield b"second"
    finally:
        yield b"no"

@plugin.handle("bad_end")
def bad_end(req):
    try:
        yield b"first"
        event(req.path).wait()
        yield b"second"
    finally:
        raise KeyError("in finally")

@plugin.handle("returns")
def returns(req):
    yield b"first"
    return b"value"

@plugin.handle("ends")
def ends(req):
    try:
        yield b"first"
        yield Response(b"bye", int(req.body))
        log.append("went on")
    finally:
        log.append("finally")

@plugin.handle("ends_badly")
def ends_badly(req):
    try:
        yield Response(b"bye", 1)
    finally:
        raise KeyError("after its end")

@plugin.handle("threads", stream=True)
def threads(req):
    def send(n):
        for i in range(500):
            assert plugin.send_result(req.sid, Status.OK, f"{n} {i}")
    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for sender in senders:
        sender.start()
    def end():
        for sender in senders:
            sender.join()
        plugin.send_result(req.sid, Status.STREAM_END, b"end")
        log.append(str(plugin.send_result(req.sid, Status.OK, b"late")))
    threading.Thread(target=end).start()

@plugin.handle("race", stream=True)
def race(req):
    """Everybody sends until somebody has ended it."""
    def send(n):
        i = 0
        while plugin.send_result(req.sid, Status.OK, f"{n} {i}"):
            i += 1
            if n == 0 and i == 200:
                plugin.send_result(req.sid, Status.STREAM_END, b"end")
    for n in range(6):
        threading.Thread(target=send, args=(n,)).start()
'''


@pytest.fixture(scope="module")
def flows(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "flows")


@pytest.fixture
def host(flows: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(flows) == Status.OK
    return host


def text(host: NrHost) -> str:
    return host.call("log").reply.text


# ---- generators ----


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_frames_in_order_then_one_end(host: NrHost, count: int) -> None:
    call = host.stream("count", body=b"%d" % count)
    assert call.ended
    assert call.data == [b"%d" % n for n in range(count)] + [b""]
    assert [frame.status for frame in call.frames] == [Status.OK] * count + [Status.STREAM_END]


def test_a_generator_that_yields_nothing(host: NrHost) -> None:
    call = host.stream("nothing")
    assert (call.data, call.frames[0].status) == ([b""], Status.STREAM_END)


def test_closed_between_two_frames(host: NrHost) -> None:
    sid = host.submit("steps", kind="stream", path="a").sid
    assert host.wait(sid, frames=1).data == [b"first"]
    until(lambda: text(host) == "waiting")  # it is asked for the second frame
    assert host.stream_close(sid) == Status.OK
    host.call("go", body=b"a")
    call = host.wait(sid)
    assert call.data == [b"second", b""]
    assert call.frames[-1].status == Status.STREAM_END
    assert text(host) == "waiting,closed,finally"


def test_an_unbounded_generator_is_closed_by_the_host(host: NrHost) -> None:
    for _ in range(5):
        sid = host.submit("endless", kind="stream").sid
        assert host.wait(sid, frames=50).data == [b"%d" % n for n in range(50)]
        assert host.stream_close(sid) == Status.OK
        frames = host.wait(sid).frames
        assert [frame.status for frame in frames] == [Status.OK] * (len(frames) - 1) + [Status.STREAM_END]
        assert [frame.data for frame in frames[:-1]] == [b"%d" % n for n in range(50, 49 + len(frames))]
    assert text(host) == ",".join(["finally"] * 5)


def test_a_receiver_that_goes_closes_the_generator(host: NrHost) -> None:
    sid = host.submit("endless", kind="stream").sid
    host.wait(sid, frames=1)
    host.drop(sid)
    until(lambda: text(host) == "finally")
    assert host.stream_close(sid) == Status.INVALID


@pytest.mark.parametrize(
    ("entry", "reply"),
    [("stubborn", "RuntimeError: generator ignored GeneratorExit"), ("bad_end", "KeyError: 'in finally'")],
)
def test_a_generator_that_will_not_close_well(host: NrHost, entry: str, reply: str) -> None:
    sid = host.submit(entry, kind="stream", path="b").sid
    assert host.wait(sid, frames=1).data == [b"first"]
    assert host.stream_close(sid) == Status.OK
    host.call("go", body=b"b")
    last = host.wait(sid).frames[-1]
    assert (last.status, last.text) == (Status.ERR, reply)


def test_a_generator_returns_nothing(host: NrHost) -> None:
    call = host.stream("returns")
    assert call.frames[1].status == Status.ERR
    assert call.frames[1].text == "TypeError: a generator handler must not return a value: yield it as a frame"


@pytest.mark.parametrize("status", [Status.ERR, Status.INVALID, Status.UNSUPPORTED, Status.STREAM_END])
def test_a_generator_that_ends_by_a_status(host: NrHost, status: Status) -> None:
    call = host.stream("ends", body=b"%d" % status)
    assert [(frame.status, frame.data) for frame in call.frames] == [(Status.OK, b"first"), (status, b"bye")]
    until(lambda: text(host) == "finally")  # it is closed after that frame


def test_what_a_generator_raises_after_its_end_is_logged(host: NrHost) -> None:
    assert host.stream("ends_badly").frames[-1].data == b"bye"
    host.shutdown()
    assert b"entry 'ends_badly' raised KeyError" in host.stderr()
    assert b"Exception ignored" not in host.stderr()


# ---- from many threads ----


def test_frames_from_many_threads_keep_their_order(host: NrHost) -> None:
    call = host.stream("threads")
    assert call.data[-1] == b"end"
    sent = [frame.text.split() for frame in call.frames[:-1]]
    assert Counter(number for number, _ in sent) == {str(n): 500 for n in range(8)}
    for n in range(8):
        assert [int(i) for number, i in sent if number == str(n)] == list(range(500))
    until(lambda: text(host) == "False")
    assert host.ledger().overlaps == 0


def test_an_end_among_frames_of_many_threads(host: NrHost) -> None:
    for _ in range(10):
        call = host.stream("race")
        assert call.frames[-1].data == b"end"
        assert [frame.status for frame in call.frames].count(Status.STREAM_END) == 1
    ledger = host.ledger()
    assert (ledger.after_terminal, ledger.overlaps) == (0, 0)


def test_many_streams_at_once(host: NrHost) -> None:
    storm = host.storm(calls=4000, threads=16, stream="count", body_size=0)
    assert (storm.terminals, storm.timeouts) == (4000, 0)
