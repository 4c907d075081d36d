"""Generators that give frames without a pause: sent together, and still in order, complete, and not kept in a pause."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import Call, NrHost, Status

SOURCE = '''
import threading
from nylon_ring_py import Plugin, Status

plugin = Plugin("bursting", workers=2, shutdown_timeout_s=0.2)
gates = {}
log = []

def gate(name):
    return gates.setdefault(name, threading.Event())

@plugin.on_shutdown
def open_all():
    for waiting in list(gates.values()):
        waiting.set()

def count(req):
    return int(req.body)

@plugin.handle_sync("go")
def go(req): gate(req.body.decode()).set()

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.handle("counts")
def counts(req):
    yield from map(str, range(count(req)))

@plugin.handle("pauses")
def pauses(req):
    """Frames as fast as it can, and then none until it is told to go on; three times."""
    for lap in range(3):
        for n in range(count(req)):
            yield f"{lap} {n}"
        gate(f"{req.sid} {lap}").wait()

@plugin.handle("limited", timeout_s=0.3)
def limited(req):
    yield from pauses(req)

@plugin.handle("answers")
def answers(req):
    """Every third frame by its sid, from inside the generator."""
    for n in range(count(req)):
        if n % 3 == 2:
            plugin.send_result(req.sid, Status.OK, str(n))
        else:
            yield str(n)

@plugin.handle("answers_from_a_thread")
def answers_from_a_thread(req):
    for n in range(count(req)):
        if n % 40 == 39:
            sender = threading.Thread(target=plugin.send_result, args=(req.sid, Status.OK, str(n)))
            sender.start()
            sender.join()
        else:
            yield str(n)

@plugin.handle("reuses")
def reuses(req):
    """The author's own buffer, changed as soon as the generator goes on."""
    buffer = bytearray(8)
    for n in range(count(req)):
        if n % 2:
            yield str(n)
        else:
            buffer[:] = b"%08d" % n
            yield buffer

@plugin.handle("raises")
def raises(req):
    yield from map(str, range(count(req)))
    raise ValueError("after the last frame")

@plugin.handle("closes")
def closes(req):
    try:
        yield from pauses(req)
    finally:
        log.append("closed")
'''


@pytest.fixture(scope="module")
def bursting(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "bursting")


@pytest.fixture(params=["v1", "v2"])
def host(bursting: Path, start_host: StartHost, request: pytest.FixtureRequest) -> NrHost:
    host = start_host()
    assert host.load(bursting, abi=request.param) == Status.OK
    return host


def texts(call: Call) -> list[str]:
    return [frame.text for frame in call.frames]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 18, 33, 1000])
def test_all_frames_come_in_order(host: NrHost, count: int) -> None:
    call = host.stream("counts", body=b"%d" % count)
    assert texts(call)[:-1] == [str(n) for n in range(count)]
    assert call.frames[-1].status == Status.STREAM_END


@pytest.mark.parametrize("count", [1, 2, 3, 10, 100])
def test_frames_do_not_wait_for_a_generator_that_pauses(host: NrHost, count: int) -> None:
    sid = host.submit("pauses", kind="stream", body=b"%d" % count).sid
    for lap in range(3):
        assert texts(host.wait(sid, frames=count, full=True)) == [f"{lap} {n}" for n in range(count)]
        host.call("go", body=b"%d %d" % (sid, lap))
    assert host.wait(sid).frames[-1].status == Status.STREAM_END


@pytest.mark.parametrize("entry", ["answers", "answers_from_a_thread"])
def test_frames_by_sid_keep_their_place(host: NrHost, entry: str) -> None:
    assert texts(host.stream(entry, body=b"300"))[:-1] == [str(n) for n in range(300)]


def test_a_buffer_is_sent_before_its_author_goes_on(host: NrHost) -> None:
    expected = [str(n) if n % 2 else f"{n:08}" for n in range(200)]
    assert texts(host.stream("reuses", body=b"200"))[:-1] == expected


def test_the_frames_before_an_exception(host: NrHost) -> None:
    call = host.stream("raises", body=b"100")
    assert texts(call)[:-1] == [str(n) for n in range(100)]
    assert (call.frames[-1].status, call.frames[-1].text) == (Status.ERR, "ValueError: after the last frame")


def test_the_frames_before_a_deadline(host: NrHost) -> None:
    call = host.stream("limited", body=b"100")
    assert texts(call)[:-1] == [f"0 {n}" for n in range(100)]
    assert call.frames[-1].status == Status.ERR
    host.call("go", body=b"%d 0" % call.sid)


def test_the_frames_before_a_close(host: NrHost) -> None:
    sid = host.submit("closes", kind="stream", body=b"100").sid
    assert texts(host.wait(sid, frames=100, full=True)) == [f"0 {n}" for n in range(100)]
    assert host.stream_close(sid) == Status.OK
    host.call("go", body=b"%d 0" % sid)
    assert host.wait(sid).frames[-1].status == Status.STREAM_END
    assert host.call("log").reply.text == "closed"


def test_the_frames_before_a_shutdown(host: NrHost) -> None:
    calls = [host.submit("pauses", kind="stream", body=b"100").sid for _ in range(2)]
    for sid in calls:
        assert texts(host.wait(sid, frames=100, full=True)) == [f"0 {n}" for n in range(100)]
    host.shutdown()
    for sid in calls:
        assert [frame.status for frame in host.wait(sid).frames] == [Status.ERR]
