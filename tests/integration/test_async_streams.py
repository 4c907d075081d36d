"""Async generators: frames in order and one end, closed where they wait, slowed by a host that reads slowly."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import NrHost, Status

CAPACITY = 4
OUTBOX = 16

SOURCE = """
import asyncio
import contextvars
import itertools
from nylon_ring_py import HandlerError, Plugin, Response, Status, current_call

plugin = Plugin("flow", workers=1, max_buffered=16, shutdown_timeout_s=3)
log = []
gates = {}
produced = 0
var = contextvars.ContextVar("var", default="nothing")

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.handle_sync("produced")
def get_produced(req): return str(produced)

def gate(name):
    return gates.setdefault(name, asyncio.Event())

@plugin.handle("go")
async def go(req): gate(req.body.decode()).set()

@plugin.handle("echo")
async def echo(req): return req.body

@plugin.handle("count")
async def count(req):
    for i in range(int(req.body or b"3")):
        yield str(i)

@plugin.handle_raw("raw")
async def raw(payload):
    for letter in payload.decode():
        await asyncio.sleep(0)
        yield letter

@plugin.handle("nothing")
async def nothing(req):
    return
    yield

@plugin.handle("endless")
async def endless(req):
    global produced
    try:
        for i in itertools.count():
            produced = i + 1
            yield str(i)
    finally:
        log.append("finally")

@plugin.handle("endless_def")
def endless_def(req):
    try:
        yield from map(str, itertools.count())
    finally:
        log.append("finally")

@plugin.handle("one_waits", max_buffered=1)
async def one_waits(req):
    global produced
    for i in range(100):
        produced = i + 1
        yield str(i)

@plugin.handle("waits")
async def waits(req):
    try:
        yield b"first"
        log.append("waiting")
        await gate(req.path).wait()
        yield b"never"
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        await asyncio.sleep(0)
        log.append("finally")

@plugin.handle("stubborn")
async def stubborn(req):
    try:
        yield b"first"
        log.append("waiting")
        await gate(req.path).wait()
    except asyncio.CancelledError:
        log.append("cancelled")
    yield b"second"
    log.append("went on")

@plugin.handle("between")
async def between(req):
    try:
        yield b"first"
        log.append("waiting")
        while not current_call().cancelled:
            pass
        yield b"second"
        yield b"never"
    except GeneratorExit:
        log.append("closed")
        raise
    finally:
        log.append("finally")

@plugin.handle("bad_end")
async def bad_end(req):
    try:
        yield b"first"
        await gate(req.path).wait()
    finally:
        raise KeyError("in finally")

@plugin.handle("ignores_exit")
async def ignores_exit(req):
    try:
        yield b"first"
        while not current_call().cancelled:
            pass
        yield b"second"
    finally:
        yield b"no"

@plugin.handle("fails")
async def fails(req):
    for i in range(int(req.body)):
        yield str(i)
    await asyncio.sleep(0)
    raise KeyError("in the middle")

@plugin.handle("refuses")
async def refuses(req):
    yield b"first"
    raise HandlerError(Status.UNSUPPORTED, "no more")

@plugin.handle("wrong")
async def wrong(req):
    yield b"first"
    yield 5

@plugin.handle("ends")
async def ends(req):
    try:
        yield b"first"
        yield Response(b"bye", int(req.body))
        log.append("went on")
    finally:
        log.append("finally")

@plugin.handle("context")
async def context(req):
    var.set(req.body.decode())
    for _ in range(200):
        yield f"{var.get()} {asyncio.current_task().get_name().startswith('context#')} {current_call().sid == req.sid}"

@plugin.on_shutdown
def bye():
    print("log at the end:", *log, flush=True)
"""


@pytest.fixture(scope="module")
def flow(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "flow")


@pytest.fixture
def host(flow: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(flow) == Status.OK
    return host


@pytest.fixture
def slow_host(flow: Path, start_host: StartHost) -> NrHost:
    """A v2 host whose streams hold four frames until they are read."""
    host = start_host()
    assert host.load(flow, abi="v2", stream_capacity=CAPACITY) == Status.OK
    return host


def text(host: NrHost) -> str:
    return host.call("log").reply.text


def has_run_finally(host: NrHost, times: int) -> bool:
    return text(host) == ",".join(["finally"] * times)


def wait_full(host: NrHost) -> None:
    """Until the host's room and the outbox are full, and the producer holds one more frame."""
    until(lambda: host.call("produced").reply.text == str(CAPACITY + OUTBOX + 1))


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_frames_in_order_then_one_end(host: NrHost, count: int) -> None:
    call = host.stream("count", body=b"%d" % count)
    assert call.data == [b"%d" % n for n in range(count)] + [b""]
    assert [frame.status for frame in call.frames] == [Status.OK] * count + [Status.STREAM_END]


def test_raw_and_empty(host: NrHost) -> None:
    assert host.stream("raw", body=b"abc").data == [b"a", b"b", b"c", b""]
    assert host.stream("nothing").data == [b""]


@pytest.mark.parametrize(
    ("entry", "body", "status", "reply"),
    [
        ("fails", b"0", Status.ERR, b"KeyError: 'in the middle'"),
        ("fails", b"100", Status.ERR, b"KeyError: 'in the middle'"),
        ("refuses", b"", Status.UNSUPPORTED, b"no more"),
    ],
)
def test_an_exception_in_the_middle(host: NrHost, entry: str, body: bytes, status: Status, reply: bytes) -> None:
    call = host.stream(entry, body=body)
    assert [frame.status for frame in call.frames[:-1]] == [Status.OK] * (len(call.frames) - 1)
    assert (call.frames[-1].status, call.frames[-1].data) == (status, reply)


def test_a_frame_of_a_wrong_type(host: NrHost) -> None:
    call = host.stream("wrong")
    assert call.data[0] == b"first"
    assert call.frames[1].status == Status.ERR
    assert call.frames[1].text.startswith("TypeError: ")


@pytest.mark.parametrize("status", [Status.ERR, Status.INVALID, Status.UNSUPPORTED, Status.STREAM_END])
def test_ended_by_a_status(host: NrHost, status: Status) -> None:
    call = host.stream("ends", body=b"%d" % status)
    assert [(frame.status, frame.data) for frame in call.frames] == [(Status.OK, b"first"), (status, b"bye")]
    until(lambda: text(host) == "finally")


# ---- closed by the host ----


@pytest.mark.parametrize(
    ("entry", "frames", "seen"),
    [
        ("waits", [b"first", b""], "waiting,cancelled,finally"),
        ("stubborn", [b"first", b"second", b""], "waiting,cancelled"),
        ("between", [b"first", b"second", b""], "waiting,closed,finally"),
    ],
)
def test_closed_where_it_stands(host: NrHost, entry: str, frames: list[bytes], seen: str) -> None:
    sid = host.submit(entry, kind="stream", path="a").sid
    first = host.wait(sid, frames=1)
    until(lambda: text(host) == "waiting")
    assert host.stream_close(sid) == Status.OK
    call = host.wait(sid)
    assert first.data + call.data == frames
    assert call.frames[-1].status == Status.STREAM_END
    assert text(host) == seen
    assert host.stream_close(sid) == Status.INVALID


def test_it_takes_no_input_and_one_close(host: NrHost) -> None:
    sid = host.submit("waits", kind="stream", path="b").sid
    host.wait(sid, frames=1)
    until(lambda: text(host) == "waiting")  # the first frame's send is over
    assert host.stream_data(sid, b"x") == Status.UNSUPPORTED
    host.callback("block", sid=sid, budget=1)
    assert host.stream_close(sid) == Status.OK
    host.parked()
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID
    host.release()
    assert host.wait(sid).data == [b""]


@pytest.mark.parametrize(
    ("entry", "reply"),
    [
        ("bad_end", "KeyError: 'in finally'"),
        ("ignores_exit", "RuntimeError: async generator ignored GeneratorExit"),
    ],
)
def test_one_that_will_not_close_well(host: NrHost, entry: str, reply: str) -> None:
    sid = host.submit(entry, kind="stream", path="c").sid
    host.wait(sid, frames=1)
    assert host.stream_close(sid) == Status.OK
    last = host.wait(sid).frames[-1]
    assert (last.status, last.text) == (Status.ERR, reply)


def test_an_endless_one_is_closed_and_starves_nobody(host: NrHost) -> None:
    for turn in range(1, 6):
        sid = host.submit("endless", kind="stream").sid
        assert host.wait(sid, frames=50).data == [b"%d" % n for n in range(50)]
        assert host.call("echo", body=b"others go on").reply.data == b"others go on"
        assert host.stream_close(sid) == Status.OK
        frames = host.wait(sid).frames
        assert [frame.status for frame in frames] == [Status.OK] * (len(frames) - 1) + [Status.STREAM_END]
        assert [frame.data for frame in frames[:-1]] == [b"%d" % n for n in range(50, 49 + len(frames))]
        until(partial(has_run_finally, host, turn))


@pytest.mark.parametrize("entry", ["endless", "endless_def"])
def test_closed_at_any_moment(host: NrHost, entry: str) -> None:
    streams = 300
    for n in range(streams):
        sid = host.submit(entry, kind="stream").sid
        before = host.wait(sid, frames=n % 3).frames if n % 3 else []
        assert host.stream_close(sid) == Status.OK
        frames = before + host.wait(sid).frames
        assert [frame.text for frame in frames] == [*(str(i) for i in range(len(frames) - 1)), ""]
        assert [frame.status for frame in frames] == [Status.OK] * (len(frames) - 1) + [Status.STREAM_END]
    finallies = text(host)
    assert set(finallies.split(",")) == {"finally"}  # of those that had begun
    assert streams * 2 // 3 <= finallies.count("finally") <= streams


def test_a_context_of_its_own(host: NrHost) -> None:
    jobs = {n: host.start_call("context", kind="stream", body=b"%d" % n) for n in range(8)}
    for n, job in jobs.items():
        assert host.join_call(job).data == [b"%d True True" % n] * 200 + [b""]


# ---- a slow host ----


def test_a_slow_host_slows_the_producer(slow_host: NrHost) -> None:
    sid = slow_host.submit("endless", kind="stream").sid
    wait_full(slow_host)
    for _ in range(50):
        assert slow_host.call("echo", body=b"x").reply.data == b"x"
    assert slow_host.call("produced").reply.text == str(CAPACITY + OUTBOX + 1)
    assert slow_host.wait(sid, frames=500).data == [b"%d" % n for n in range(500)]
    assert slow_host.stream_close(sid) == Status.OK
    call = slow_host.wait(sid)
    assert call.data[:-1] == [b"%d" % n for n in range(500, 499 + len(call.frames))]
    assert call.frames[-1].status == Status.STREAM_END
    assert text(slow_host) == "finally"


def test_max_buffered_of_an_entry(slow_host: NrHost) -> None:
    sid = slow_host.submit("one_waits", kind="stream").sid
    until(lambda: slow_host.call("produced").reply.text == str(CAPACITY + 2))
    for _ in range(50):
        slow_host.call("echo", body=b"x")
    assert slow_host.call("produced").reply.text == str(CAPACITY + 2)
    assert slow_host.wait(sid).data == [*(b"%d" % n for n in range(100)), b""]


def test_every_frame_comes_through_a_slow_host(slow_host: NrHost) -> None:
    for _ in range(3):
        assert slow_host.stream("count", body=b"2000").data == [b"%d" % n for n in range(2000)] + [b""]
        call = slow_host.stream("fails", body=b"200")
        assert call.data == [b"%d" % n for n in range(200)] + [b"KeyError: 'in the middle'"]


def test_closed_while_it_waits_for_room(slow_host: NrHost) -> None:
    sid = slow_host.submit("endless", kind="stream").sid
    wait_full(slow_host)
    assert slow_host.stream_close(sid) == Status.OK
    until(lambda: text(slow_host) == "finally")
    frames = slow_host.wait(sid).frames
    assert [frame.text for frame in frames[:-1]] == [str(n) for n in range(len(frames) - 1)]
    assert frames[-1].status == Status.STREAM_END


def test_a_receiver_that_goes_closes_it(slow_host: NrHost) -> None:
    sid = slow_host.submit("endless", kind="stream").sid
    slow_host.wait(sid, frames=1)
    slow_host.drop(sid)
    until(lambda: text(slow_host) == "finally")
    assert slow_host.stream_close(sid) == Status.INVALID


def test_shut_down_while_it_waits_for_room(slow_host: NrHost) -> None:
    slow_host.submit("endless", kind="stream")
    wait_full(slow_host)
    slow_host.unload()
    assert b"log at the end: finally" in slow_host.stderr()


@pytest.mark.parametrize("capacity", [None, 4])
def test_many_at_once(flow: Path, start_host: StartHost, capacity: int | None) -> None:
    host = start_host()
    assert host.load(flow, abi="v1" if capacity is None else "v2", stream_capacity=capacity) == Status.OK
    storm = host.storm(calls=3000, threads=8, stream="count", body_size=0)
    assert (storm.terminals, storm.timeouts, storm.frames) == (3000, 0, 4 * 3000)
