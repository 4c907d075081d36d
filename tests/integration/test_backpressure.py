"""A v2 host that has no room for a frame: it is kept, in order, and its producer waits. No other call does."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CORE_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

CAPACITY = 4
OUTBOX = 64

PLUGIN = """
import contextvars
import itertools
import threading
import time
from nylon_ring_py import Callback, Plugin, Status, StreamFullError, current_call

plugin = Plugin("producers", workers=1, shutdown_timeout_s=0.2)
log = []
produced = 0
var = contextvars.ContextVar("var", default="nothing")

@plugin.handle("count")
def count(req):
    for i in range(int(req.body)):
        yield str(i)

@plugin.handle("endless")
def endless(req):
    global produced
    try:
        for i in itertools.count():
            produced = i + 1
            yield str(i)
    finally:
        log.append("finally")

@plugin.handle("hold")
def hold(req):
    log.append("held")
    while not current_call().cancelled:
        time.sleep(0.001)
    time.sleep(0.05)  # until the queues are closed

@plugin.handle("fails")
def fails(req):
    for i in range(200):
        yield str(i)
    raise RuntimeError("broken")

@plugin.handle("context")
def context(req):
    var.set(req.body.decode())
    for _ in range(300):
        yield var.get()

@plugin.handle("spoil")
def spoil(req):
    before = var.get()
    var.set("spoiled")
    return before

@plugin.handle("open", stream=True)
def open_stream(req):
    return None

@plugin.handle_sync("start")
def start(req):
    def send():
        global produced
        for i in itertools.count():
            if not plugin.send_result(int(req.body), Status.OK, str(i)):
                break
            produced = i + 1
        log.append("refused")
    threading.Thread(target=send).start()
    return b""

@plugin.handle_sync("end")
def end(req):
    return str(plugin.send_result(int(req.body), Status.STREAM_END, b"end"))

@plugin.handle_sync("push")
def push(req):
    try:
        for _ in range(1000):
            plugin.send_result(int(req.body), Status.OK, b"frame")
    except StreamFullError as error:
        return str(error)

@plugin.handle("loud", stream=True)
def loud(req):
    return None

@plugin.stream_data
def on_data(sid, data):
    return data

@plugin.handle_sync("produced")
def get_produced(req):
    return str(produced)

@plugin.handle_sync("log")
def get_log(req):
    return " ".join(log)

@plugin.handle("echo")
def echo(req):
    return req.body

@plugin.on_shutdown
def bye():
    print("log at the end:", *log, flush=True)
"""


@pytest.fixture(scope="module")
def producers(build_once: BuildPlugin) -> Path:
    return build_once(PLUGIN, "producers")


@pytest.fixture
def host(start_host: StartHost, producers: Path) -> NrHost:
    host = start_host(resident_threads=CORE_THREADS)
    assert host.load(producers, abi="v2", stream_capacity=CAPACITY) == Status.OK
    return host


def wait_parked(host: NrHost) -> None:
    """Until the producer has filled the host's room and the outbox."""
    until(lambda: host.call("produced").reply.text == str(CAPACITY + OUTBOX))


def numbers(count: int) -> list[bytes]:
    return [str(i).encode() for i in range(count)]


@pytest.mark.parametrize("capacity", [1, CAPACITY, 64])
def test_every_frame_comes_in_order(start_host: StartHost, producers: Path, capacity: int) -> None:
    host = start_host(resident_threads=CORE_THREADS)
    host.load(producers, abi="v2", stream_capacity=capacity)
    call = host.submit("count", kind="stream", body=b"3000")
    until(lambda: (ledger := host.ledger()) is not None and ledger.backpressure > 0)
    assert host.wait(call.sid).data == [*numbers(3000), b""]


def test_a_generator_waits_and_others_do_not(host: NrHost) -> None:
    sid = host.submit("endless", kind="stream").sid
    wait_parked(host)
    for _ in range(200):
        assert host.call("echo", body=b"x").reply.data == b"x"
    assert host.call("produced").reply.text == str(CAPACITY + OUTBOX)
    assert host.wait(sid, frames=500).data == numbers(500)
    host.drop(sid)


def test_it_goes_on_with_its_own_context(host: NrHost) -> None:
    sids = [host.submit("context", kind="stream", body=name).sid for name in (b"one", b"two")]
    frames: list[list[bytes | None]] = [[], []]
    for _ in range(30):
        assert host.call("spoil").reply.text == "nothing"
        for got, sid in zip(frames, sids, strict=True):
            got += host.wait(sid, frames=10).data
    assert frames == [[b"one"] * 300, [b"two"] * 300]
    assert [host.wait(sid).data for sid in sids] == [[b""], [b""]]


def test_an_error_comes_after_the_frames(host: NrHost) -> None:
    call = host.call("fails", kind="stream")
    assert call.data == [*numbers(200), b"RuntimeError: broken"]
    assert call.frames[-1].status == Status.ERR


def test_a_close_ends_a_generator_that_waits(host: NrHost) -> None:
    sid = host.submit("endless", kind="stream").sid
    wait_parked(host)
    assert host.stream_close(sid) == Status.OK
    until(lambda: host.call("log").reply.text == "finally")
    assert host.stream_close(sid) == Status.INVALID
    frames = host.wait(sid).frames
    assert [frame.data for frame in frames] == [*numbers(CAPACITY + OUTBOX), b""]
    assert frames[-1].status == Status.STREAM_END


def test_a_dropped_receiver_ends_a_generator_that_waits(host: NrHost) -> None:
    sid = host.submit("endless", kind="stream").sid
    wait_parked(host)
    host.drop(sid)
    until(lambda: host.call("log").reply.text == "finally")
    assert host.call("produced").reply.text == str(CAPACITY + OUTBOX)


def test_a_shutdown_ends_a_generator_that_no_worker_came_back_to(host: NrHost) -> None:
    """Its receiver has gone, so its stream is over; the only worker has been busy since."""
    sid = host.submit("endless", kind="stream").sid
    wait_parked(host)
    host.submit("hold")
    until(lambda: host.call("log").reply.text == "held")
    host.drop(sid)
    until(lambda: host.call("end", body=str(sid).encode()).reply.text == "False")
    host.unload()
    assert "log at the end: held finally\n" in host.stderr_tail()


def test_a_shutdown_ends_a_generator_that_waits(host: NrHost) -> None:
    host.submit("endless", kind="stream")
    wait_parked(host)
    host.unload()
    assert "log at the end: finally\n" in host.stderr_tail()


def test_a_thread_of_the_author_s_waits(host: NrHost) -> None:
    sid = host.submit("open", kind="stream").sid
    host.call("start", body=str(sid).encode())
    until(lambda: host.call("produced").reply.text == str(CAPACITY + OUTBOX))
    assert host.wait(sid, frames=1000).data == numbers(1000)
    assert host.call("end", body=str(sid).encode()).reply.text == "True"
    until(lambda: host.call("log").reply.text == "refused")
    rest = host.wait(sid).data
    assert rest == [*(str(1000 + i).encode() for i in range(len(rest) - 1)), b"end"]


def test_a_thread_of_the_author_s_is_let_go(host: NrHost) -> None:
    sid = host.submit("open", kind="stream").sid
    host.call("start", body=str(sid).encode())
    until(lambda: host.call("produced").reply.text == str(CAPACITY + OUTBOX))
    host.drop(sid)
    until(lambda: host.call("log").reply.text == "refused")


def test_a_thread_of_the_host_s_does_not_wait(host: NrHost) -> None:
    sid = host.submit("open", kind="stream").sid
    told = host.call("push", body=str(sid).encode()).reply.text
    assert told.startswith(f"the host has left the last {OUTBOX} frames of sid {sid} waiting")
    host.call("end", body=str(sid).encode())
    frames = host.wait(sid).data
    assert set(frames[:-1]) == {b"frame"}
    assert frames[-1] == b"end"


def test_answers_to_input_wait_too(host: NrHost) -> None:
    """The inbox is served as fast as its answers find room; full, it refuses, and the stream lives on."""
    sid = host.submit("loud", kind="stream").sid
    sent = 0
    while (status := host.stream_data(sid, str(sent).encode())) == Status.OK:
        sent += 1
    assert status == Status.BACKPRESSURE
    assert sent >= 1024
    assert host.call("echo", body=b"x").reply.data == b"x"
    assert host.wait(sid, frames=sent).data == numbers(sent)
    assert host.stream_data(sid, b"more") == Status.OK
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data == [b"more", b""]


def test_many_streams_at_once(start_host: StartHost, producers: Path) -> None:
    host = start_host(resident_threads=CORE_THREADS)
    host.load(producers, abi="v2", stream_capacity=8)
    sids = [host.submit("count", kind="stream", body=b"200").sid for _ in range(100)]
    for sid in reversed(sids):
        assert host.wait(sid).data == [*numbers(200), b""]
