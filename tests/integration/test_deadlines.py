"""Time limits: an answer when they are over, whether or not the handler stops, and nothing after it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import Call, NrHost, Status

LIMIT_S = 0.3
ALIVE_S = 1.5
OUTLASTED_S = 1.0

SOURCE = f"""
import asyncio
import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from nylon_ring_py import CallEndedError, Plugin, Status, current_call

LIMIT_S = {LIMIT_S}
ALIVE_S = {ALIVE_S}
OUTLASTED_S = {OUTLASTED_S}
"""

SOURCE += '''
from nylon_ring_py import Callback

plugin = Plugin("late", workers=16, max_sync_streams=16, timeout_s=LIMIT_S, shutdown_timeout_s=10)
threads = ThreadPoolExecutor(4)
log = []
gates = {}
kept = []

def gate(name):
    return gates.setdefault(name, threading.Event())

async def opened(name):
    while not gate(name).is_set():
        await asyncio.sleep(0.002)

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.handle_sync("go")
def go(req): gate(req.body.decode()).set()

@plugin.handle_sync("stats")
def stats(req): return json.dumps(plugin.stats().to_dict())

# ---- one reply ----

@plugin.handle("pooled")
def pooled(req):
    gate(req.path).wait()
    log.append(f"went on {current_call().cancelled}")
    return b"late"

@plugin.handle_raw("raw")
def raw(payload):
    gate(payload.decode()).wait()
    log.append(f"went on {current_call().cancelled}")
    return b"late"

@plugin.handle("polls")
def polls(req):
    call = current_call()
    while not call.cancelled:
        time.sleep(0.001)
    log.append("saw it")
    return b"late"

@plugin.handle("raises")
def raises(req):
    gate(req.path).wait()
    log.append("raises")
    raise KeyError("late")

@plugin.handle("coroutine")
async def coroutine(req):
    try:
        await opened(req.path)
    except asyncio.CancelledError:
        log.append(f"cancelled {current_call().cancelled}")
        raise

@plugin.handle("stubborn")
async def stubborn(req):
    try:
        await opened(req.path)
    except asyncio.CancelledError:
        log.append("cancelled")
    await opened(req.path)
    log.append("went on")
    return b"late"

@plugin.handle("callback")
def with_callback(req, callback: Callback):
    def answer():
        gate(req.path).wait()
        log.append(f"{callback.cancelled} {callback(b'late')}")
    threading.Thread(target=answer).start()

@plugin.handle("a_callback")
async def with_callback_async(req, callback: Callback):
    def answer():
        gate(req.path).wait()
        log.append(f"{callback.cancelled} {callback(b'late')}")
    threading.Thread(target=answer).start()

@plugin.handle("dropped")
def dropped(req, callback: Callback):
    kept.append(callback)
    def drop():
        gate(req.path).wait()
        kept.clear()
        log.append("dropped")
    threading.Thread(target=drop).start()

@plugin.handle("in_executor", executor=threads)
def in_executor(req):
    gate(req.path).wait()
    log.append(f"went on {current_call().cancelled}")
    return b"late"

@plugin.handle("sooner", timeout_s=LIMIT_S / 4)
def sooner(req):
    gate(req.path).wait()
    return b"late"

@plugin.handle("unlimited", timeout_s=math.inf)
def unlimited(req):
    gate(req.path).wait()
    return b"in time"

@plugin.handle("a_unlimited", timeout_s=math.inf)
async def unlimited_async(req):
    await opened(req.path)
    return b"in time"

@plugin.handle_sync("sync_later")
def sync_later(req, callback: Callback):
    def answer():
        gate(req.path).wait()
        callback(b"in time")
    threading.Thread(target=answer).start()

# ---- streams ----

@plugin.handle("generator", timeout_s=LIMIT_S)
def generator(req):
    try:
        yield b"0"
        gate(req.path).wait()
        yield b"late"
        log.append("asked again")
    finally:
        log.append("finally")

@plugin.handle("a_generator", timeout_s=LIMIT_S)
async def a_generator(req):
    try:
        yield b"0"
        await opened(req.path)
        yield b"late"
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        log.append("finally")

@plugin.handle("a_generator_stubborn", timeout_s=LIMIT_S)
async def a_generator_stubborn(req):
    yield b"0"
    while not gate(req.path).is_set():
        try:
            await opened(req.path)
        except asyncio.CancelledError:
            log.append("cancelled")
    yield b"late"
    log.append("asked again")

@plugin.stream("duplex", timeout_s=LIMIT_S)
def duplex(stream):
    stream.send(b"0")
    log.append(f"read {len(list(stream))} {stream.cancelled}")
    gate(stream.request.path).wait()
    try:
        stream.send(b"late")
    except CallEndedError:
        log.append("ended")

@plugin.stream("a_duplex", timeout_s=LIMIT_S)
async def a_duplex(stream):
    await stream.send(b"0")
    try:
        async for frame in stream: pass
    except asyncio.CancelledError:
        log.append(f"cancelled {stream.cancelled}")
    await opened(stream.request.path)
    try:
        await stream.send(b"late")
    except CallEndedError:
        log.append("ended")

@plugin.handle("by_hand", stream=True, timeout_s=LIMIT_S)
def by_hand(req):
    return b"0"

@plugin.handle("send_result")
def send_result(req):
    return str(plugin.send_result(int(req.path), Status.OK, b"late"))

@plugin.stream_data
def data(sid, frame): return frame

# ---- idle ----

@plugin.handle("idle_generator", idle_timeout_s=LIMIT_S)
def idle_generator(req):
    yield from generator(req)

@plugin.handle("idle_a_generator", idle_timeout_s=LIMIT_S)
async def idle_a_generator(req):
    async for frame in a_generator(req): yield frame

@plugin.stream("idle_duplex", idle_timeout_s=LIMIT_S)
def idle_duplex(stream): duplex(stream)

@plugin.stream("idle_a_duplex", idle_timeout_s=LIMIT_S)
async def idle_a_duplex(stream): await a_duplex(stream)

@plugin.handle("idle_by_hand", stream=True, idle_timeout_s=LIMIT_S)
def idle_by_hand(req): return b"0"

@plugin.handle("pours", idle_timeout_s=LIMIT_S, max_buffered=4)
async def pours(req):
    n = 0
    try:
        while True:
            yield str(n)
            n += 1
    finally:
        log.append("finally")

@plugin.stream("fed", idle_timeout_s=ALIVE_S)
async def fed(stream):
    count = 0
    async for frame in stream: count += 1
    await stream.send(str(count))

@plugin.stream("s_fed", idle_timeout_s=ALIVE_S)
def s_fed(stream):
    stream.send(str(len(list(stream))))

@plugin.handle("feeds", idle_timeout_s=ALIVE_S)
async def feeds(req):
    while not gate(req.path).is_set():
        await asyncio.sleep(ALIVE_S / 50)
        yield b"frame"

@plugin.handle("s_feeds", idle_timeout_s=ALIVE_S)
def s_feeds(req):
    while not gate(req.path).is_set():
        time.sleep(ALIVE_S / 50)
        yield b"frame"

# ---- after a close ----

@plugin.handle("close_generator", close_timeout_s=LIMIT_S)
def close_generator(req): yield from generator(req)

@plugin.handle("close_a_generator", close_timeout_s=LIMIT_S)
async def close_a_generator(req):
    async for frame in a_generator_stubborn(req): yield frame

@plugin.stream("close_duplex", close_timeout_s=LIMIT_S)
def close_duplex(stream): duplex(stream)

@plugin.stream("close_a_duplex", close_timeout_s=LIMIT_S)
async def close_a_duplex(stream):
    await stream.send(b"0")
    async for frame in stream: pass
    log.append(f"read {stream.cancelled}")
    try:
        await opened(stream.request.path)
    except asyncio.CancelledError:
        log.append(f"cancelled {stream.cancelled}")
        raise

@plugin.stream("chatters", close_timeout_s=LIMIT_S)
async def chatters(stream):
    async for frame in stream: pass
    try:
        while True:
            await stream.send(b"more")
            await asyncio.sleep(0.001)
    except (CallEndedError, asyncio.CancelledError) as error:
        log.append(type(error).__name__)

@plugin.handle("close_by_hand", stream=True, close_timeout_s=LIMIT_S)
def close_by_hand(req):
    gates[req.sid] = gate(req.path)
    return b"0"

@plugin.stream_close
def closed(sid):
    gates[sid].wait()
    log.append(f"{plugin.send_result(sid, Status.OK, b'late')}")

# ---- answers close to the limit ----

NEAR_S = 0.05

def delay(sid):
    """Nothing, twice the limit, or the limit to within two milliseconds."""
    return [0, 2 * NEAR_S, *(NEAR_S + (i - 3) * 0.0005 for i in range(6))][sid % 8]

@plugin.handle("near_pooled", timeout_s=NEAR_S)
def near_pooled(req):
    time.sleep(delay(req.sid))
    return b"answer"

@plugin.handle("near_coroutine", timeout_s=NEAR_S)
async def near_coroutine(req):
    await asyncio.sleep(delay(req.sid))
    return b"answer"

@plugin.handle("near_callback", timeout_s=NEAR_S)
async def near_callback(req, callback: Callback):
    asyncio.get_running_loop().call_later(delay(req.sid), callback, b"answer")

@plugin.handle("near_executor", timeout_s=NEAR_S, executor=threads)
def near_executor(req):
    time.sleep(delay(req.sid))
    return b"answer"

@plugin.handle("near_generator", timeout_s=NEAR_S)
def near_generator(req):
    yield b"0"
    time.sleep(delay(req.sid))
    yield b"1"

@plugin.handle("near_a_generator", timeout_s=NEAR_S)
async def near_a_generator(req):
    yield b"0"
    await asyncio.sleep(delay(req.sid))
    yield b"1"

@plugin.stream("near_a_duplex", timeout_s=NEAR_S)
async def near_a_duplex(stream):
    await stream.send(b"0")
    await asyncio.sleep(delay(stream.sid))
    await stream.send(b"1")

# ---- at shutdown ----

@plugin.handle("outlasts", timeout_s=OUTLASTED_S)
def outlasts(req):
    log.append("begun")
    time.sleep(2 * OUTLASTED_S)

@plugin.handle("a_outlasts", timeout_s=OUTLASTED_S)
async def a_outlasts(req):
    log.append("begun")
    end = time.monotonic() + 2 * OUTLASTED_S
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError: pass

@plugin.stream("s_outlasts", timeout_s=OUTLASTED_S)
def s_outlasts(stream):
    log.append("begun")
    time.sleep(2 * OUTLASTED_S)
'''

TOO_LATE = f"TimeoutError: no answer within timeout_s={LIMIT_S}"
IDLE = f"TimeoutError: no frame came or went within idle_timeout_s={LIMIT_S}"
OVERSTAYED = f"TimeoutError: the host has closed the stream, and its handler went on for close_timeout_s={LIMIT_S}"


@pytest.fixture(scope="module")
def late(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "late")


@pytest.fixture
def host(late: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(late) == Status.OK
    return host


def text(host: NrHost) -> str:
    return host.call("log").reply.text


def stats(host: NrHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.call("stats").reply.text)
    return found


def ended(host: NrHost, entry: str) -> bool:
    """Whether no handler of that entry is at work any more."""
    return bool(stats(host)["entries"][entry]["running"] == 0)


def log_ends(host: NrHost, entry: str, seen: str) -> None:
    until(lambda: text(host) == seen)
    until(lambda: ended(host, entry))


def expect_end(call: Call, first: list[bytes], reply: str) -> None:
    """Frames, and then an end that says which limit is over."""
    assert [frame.data for frame in call.frames[:-1]] == first
    assert (call.frames[-1].status, call.frames[-1].text) == (Status.ERR, reply)


# ---- one reply ----


@pytest.mark.parametrize(
    ("entry", "before", "seen", "late_replies"),
    [
        ("pooled", "", "went on True", 1),
        ("raw", "", "went on True", 1),
        ("polls", "saw it", "saw it", 1),
        ("raises", "", "raises", 1),
        ("coroutine", "cancelled True", "cancelled True", 0),
        ("stubborn", "cancelled", "cancelled,went on", 1),
        ("callback", "", "True False", 1),
        ("a_callback", "", "True False", 1),
        ("dropped", "", "dropped", 0),
        ("in_executor", "", "went on True", 1),
    ],
)
def test_an_answer_at_the_deadline_and_none_after(
    host: NrHost, entry: str, before: str, seen: str, late_replies: int
) -> None:
    reply = host.call(entry, path="gate", body=b"gate").reply
    assert (reply.status, reply.text) == (Status.ERR, TOO_LATE)
    until(lambda: text(host) == before)
    host.call("go", body=b"gate")
    log_ends(host, entry, seen)
    until(lambda: stats(host)["late_replies"] == late_replies)
    counts = stats(host)["entries"][entry]
    assert (counts["calls"], counts["timeouts"], counts["errors"], counts["latency"]["count"]) == (1, 1, 1, 1)


def test_an_entry_s_own_limit_is_the_one(host: NrHost) -> None:
    names = ("unlimited", "a_unlimited", "sync_later")
    sids = [host.submit(entry, path="unlimited").sid for entry in names]
    assert host.call("sooner", path="sooner").reply.text == f"TimeoutError: no answer within timeout_s={LIMIT_S / 4}"
    assert host.call("pooled", path="sooner").reply.text == TOO_LATE
    for name in ("sooner", "unlimited"):
        host.call("go", body=name.encode())
    assert [host.wait(sid).reply.data for sid in sids] == [b"in time"] * 3


def test_a_plugin_s_limit_is_not_for_streams(host: NrHost) -> None:
    sids = [host.submit(entry, kind="stream").sid for entry in ("fed", "s_fed", "idle_by_hand")]
    assert host.call("coroutine", path="never").reply.text == TOO_LATE
    assert [host.stream_data(sid, b"x") for sid in sids[:2]] == [Status.OK] * 2
    assert [host.stream_close(sid) for sid in sids[:2]] == [Status.OK] * 2
    assert [host.wait(sid).data for sid in sids[:2]] == [[b"1", b""]] * 2


NARROW = """
import threading
from nylon_ring_py import Plugin, Request

plugin = Plugin("narrow", workers=1, max_sync_streams=1)
stands, go_on = threading.Semaphore(0), threading.Event()
ran = []

@plugin.handle("stand")
def stand(req):
    stands.release()
    go_on.wait()

@plugin.handle("a_stand")
async def a_stand(req):
    stands.release()
    go_on.wait()

@plugin.handle_sync("wait")
def wait(req): stands.acquire()

@plugin.handle_sync("go")
def go(req): go_on.set()

@plugin.handle_sync("ran")
def show_ran(req): return ",".join(ran)

@plugin.handle("pooled", timeout_s=0.1)
def pooled(req): ran.append("pooled")

@plugin.handle("generator", timeout_s=0.1)
def generator(req):
    ran.append("generator")
    yield b"0"

@plugin.handle("coroutine", timeout_s=0.1)
async def coroutine(req): ran.append("coroutine")

@plugin.handle("a_generator", timeout_s=0.1)
async def a_generator(req):
    ran.append("a_generator")
    yield b"0"

@plugin.handle("after")
def after(req): ran.append("after")

@plugin.handle("a_after")
async def a_after(req): ran.append("a_after")
"""


@pytest.mark.parametrize(
    ("stand", "entry", "kind", "after"),
    [
        ("stand", "pooled", "unary", "after"),
        ("stand", "generator", "stream", "after"),
        ("a_stand", "coroutine", "unary", "a_after"),
        ("a_stand", "a_generator", "stream", "a_after"),
    ],
)
def test_what_waits_for_its_turn_too_long_never_begins(
    build_once: BuildPlugin, start_host: StartHost, stand: str, entry: str, kind: Any, after: str
) -> None:
    host = start_host()
    assert host.load(build_once(NARROW, "narrow")) == Status.OK
    standing = host.submit(stand).sid
    host.call("wait")
    for sid in [host.submit(entry, kind=kind).sid for _ in range(20)]:
        assert host.wait(sid).reply.text == "TimeoutError: no answer within timeout_s=0.1"
    host.call("go")
    assert host.wait(standing).reply.status == Status.OK
    assert host.call(after).reply.status == Status.OK
    assert host.call("ran").reply.text == after


KEEPS_THE_GIL = """
import ctypes
from nylon_ring_py import Plugin

plugin = Plugin("greedy", timeout_s=1)
libc = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL
one = ctypes.create_string_buffer(1)

def keep_the_gil(req):
    with open(req.path, "r+b", buffering=0) as fifo:
        libc.read(fifo.fileno(), one, 1)

@plugin.handle("pooled")
def pooled(req): keep_the_gil(req)

@plugin.handle("coroutine")
async def coroutine(req): keep_the_gil(req)

@plugin.handle_sync("ping")
def ping(req): return "pong"
"""


@pytest.mark.parametrize("entry", ["pooled", "coroutine"])
def test_a_handler_that_keeps_the_gil(
    build_once: BuildPlugin, start_host: StartHost, tmp_path: Path, entry: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    host = start_host()
    assert host.load(build_once(KEEPS_THE_GIL, "greedy")) == Status.OK
    sid = host.submit(entry, path=str(fifo)).sid
    with fifo.open("wb", buffering=0) as writer:  # when the handler has it open
        reply = host.wait(sid).reply
        assert (reply.status, reply.text) == (Status.ERR, "TimeoutError: no answer within timeout_s=1")
        waiting = host.start_call("ping")  # it needs the GIL, and gets it once the handler is let go
        writer.write(b"x")
    assert host.join_call(waiting).reply.data == b"pong"


# ---- streams ----


@pytest.mark.parametrize(
    ("entry", "before", "seen"),
    [
        ("generator", "", "finally"),
        ("a_generator", "cancelled,finally", "cancelled,finally"),
        ("a_generator_stubborn", "cancelled", "cancelled"),
        ("duplex", "read 0 True", "read 0 True,ended"),
        ("a_duplex", "cancelled True", "cancelled True,ended"),
    ],
)
@pytest.mark.parametrize(("limit", "reply"), [("", TOO_LATE), ("idle_", IDLE)])
def test_a_stream_at_its_limit(host: NrHost, entry: str, before: str, seen: str, limit: str, reply: str) -> None:
    entry = limit + entry
    if entry == "idle_a_generator_stubborn":
        entry, before, seen = "idle_a_generator", "cancelled,finally", "cancelled,finally"
    sid = host.submit(entry, kind="stream", path="gate").sid
    expect_end(host.wait(sid), [b"0"], reply)
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID
    until(lambda: text(host) == before)
    host.call("go", body=b"gate")
    log_ends(host, entry, seen)
    assert stats(host)["entries"][entry]["timeouts"] == 1


@pytest.mark.parametrize(("entry", "reply"), [("by_hand", TOO_LATE), ("idle_by_hand", IDLE)])
def test_a_stream_by_hand_at_its_limit(host: NrHost, entry: str, reply: str) -> None:
    sid = host.submit(entry, kind="stream").sid
    assert host.stream_data(sid, b"1") == Status.OK
    expect_end(host.wait(sid), [b"0", b"1"], reply)
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.call("send_result", path=str(sid)).reply.data == b"False"


def test_frames_keep_a_stream_alive(host: NrHost) -> None:
    fed = [host.submit(entry, kind="stream").sid for entry in ("fed", "s_fed")]
    feeding = [host.submit(entry, kind="stream", path="gate").sid for entry in ("feeds", "s_feeds")]
    began = time.monotonic()
    sent = 0
    while time.monotonic() < began + 2 * ALIVE_S:
        assert [host.stream_data(sid, b"x") for sid in fed] == [Status.OK] * 2
        sent += 1
        time.sleep(ALIVE_S / 50)
    for sid in fed:
        assert host.stream_close(sid) == Status.OK
        assert host.wait(sid).data == [b"%d" % sent, b""]
    host.call("go", body=b"gate")
    for sid in feeding:
        frames = host.wait(sid).frames
        assert {frame.data for frame in frames[:-1]} == {b"frame"}
        assert frames[-1].status == Status.STREAM_END


def test_a_host_that_takes_nothing_is_idle(late: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(late, abi="v2", stream_capacity=4) == Status.OK
    sid = host.submit("pours", kind="stream").sid
    log_ends(host, "pours", "finally")
    expect_end(host.wait(sid), [b"%d" % n for n in range(8)], IDLE)


# ---- after a close ----


@pytest.mark.parametrize(
    ("entry", "before", "seen"),
    [
        ("close_generator", "", "finally"),
        ("close_a_generator", "cancelled,cancelled", "cancelled,cancelled"),
        ("close_duplex", "read 0 False", "read 0 False,ended"),
        ("close_a_duplex", "read False,cancelled True", "read False,cancelled True"),
        ("close_by_hand", "", "False"),
    ],
)
def test_a_handler_that_goes_on_after_a_close(host: NrHost, entry: str, before: str, seen: str) -> None:
    sid = host.submit(entry, kind="stream", path="gate").sid
    assert host.wait(sid, frames=1).data == [b"0"]
    assert host.stream_close(sid) == Status.OK
    expect_end(host.wait(sid), [], OVERSTAYED)
    until(lambda: text(host) == before)
    host.call("go", body=b"gate")
    log_ends(host, entry, seen)
    assert stats(host)["entries"][entry]["timeouts"] == 1


def test_what_it_sends_does_not_prolong_it(host: NrHost) -> None:
    sid = host.submit("chatters", kind="stream").sid
    assert host.stream_close(sid) == Status.OK
    call = host.wait(sid)
    expect_end(call, [b"more"] * (len(call.frames) - 1), OVERSTAYED)
    until(lambda: text(host) in ("CallEndedError", "CancelledError"))


# ---- races ----

NEAR = ("near_pooled", "near_coroutine", "near_callback", "near_executor")
NEAR_STREAMS = ("near_generator", "near_a_generator", "near_a_duplex")


@pytest.mark.parametrize("abi", ["v1", "v2"])
@pytest.mark.parametrize("entry", NEAR + NEAR_STREAMS)
def test_answers_race_the_deadline(late: Path, start_host: StartHost, entry: str, abi: Any) -> None:
    host = start_host()
    assert host.load(late, abi=abi) == Status.OK
    calls = 400
    door = {"stream" if entry in NEAR_STREAMS else "unary": entry}
    storm = host.storm(calls=calls, threads=8, window=8, body_size=0, **door)  # type: ignore[arg-type]
    assert (storm.accepted, storm.terminals, storm.timeouts, storm.no_reply) == (calls, calls, 0, 0)
    until(lambda: ended(host, entry))
    counts = stats(host)["entries"][entry]
    assert counts["latency"]["count"] == calls
    assert counts["errors"] == counts["timeouts"]


# ---- at shutdown ----


def test_a_deadline_falls_due_during_shutdown(late: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(late) == Status.OK
    unary = [host.submit(entry).sid for entry in ("outlasts", "a_outlasts")]
    stream = host.submit("s_outlasts", kind="stream").sid
    until(lambda: text(host) == "begun,begun,begun")
    host.shutdown()
    for sid in [*unary, stream]:
        assert host.wait(sid).reply.text == f"TimeoutError: no answer within timeout_s={OUTLASTED_S:g}"
    host.unload()


def test_deadlines_race_a_shutdown(late: Path, start_host: StartHost) -> None:
    host = start_host()
    for turn in range(8):
        assert host.load(late) == Status.OK
        for entry in NEAR:
            for _ in range(10):
                host.submit(entry)
        for entry in NEAR_STREAMS:
            for _ in range(10):
                host.submit(entry, kind="stream")
        for _ in range(turn):
            host.call("near_coroutine", sid=8 * 10**6 + turn)
        ledger = host.unload()
        assert ledger is not None
        assert ledger.terminals == ledger.accepted == 10 * len(NEAR + NEAR_STREAMS) + turn
