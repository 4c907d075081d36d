"""Streams at their limits: of the whole, of a pause between frames, of what a handler does after a close."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, until
from gates import GATES, LIMIT_S, expect_end, log_ends, stats, text
from nrhost import NrHost, Status

ALIVE_S = 1.5

SOURCE = f"""
{GATES}
LIMIT_S = {LIMIT_S}
ALIVE_S = {ALIVE_S}
"""

SOURCE += """
plugin = Plugin("late_streams", workers=8, max_sync_streams=8, timeout_s=LIMIT_S, shutdown_timeout_s=10)
add_controls(plugin)

@plugin.handle("coroutine")
async def coroutine(req):
    try:
        await opened(req.path)
    except asyncio.CancelledError:
        log.append(f"cancelled {current_call().cancelled}")
        raise

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
"""

TOO_LATE = f"TimeoutError: no answer within timeout_s={LIMIT_S}"
IDLE = f"TimeoutError: no frame came or went within idle_timeout_s={LIMIT_S}"
OVERSTAYED = f"TimeoutError: the host has closed the stream, and its handler went on for close_timeout_s={LIMIT_S}"


@pytest.fixture(scope="module")
def late(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "late_streams")


@pytest.fixture
def host(late: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(late) == Status.OK
    return host


def test_a_plugin_s_limit_is_not_for_streams(host: NrHost) -> None:
    sids = [host.submit(entry, kind="stream").sid for entry in ("fed", "s_fed", "idle_by_hand")]
    assert host.call("coroutine", path="never").reply.text == TOO_LATE
    assert [host.stream_data(sid, b"x") for sid in sids[:2]] == [Status.OK] * 2
    assert [host.stream_close(sid) for sid in sids[:2]] == [Status.OK] * 2
    assert [host.wait(sid).data for sid in sids[:2]] == [[b"1", b""]] * 2


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
    until(lambda: stats(host)["entries"][entry]["timeouts"] == 1)


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
    if "generator" in entry:  # closed between two frames it would end at once
        until(lambda: host.call("gates").reply.text == "gate")
    assert host.stream_close(sid) == Status.OK
    expect_end(host.wait(sid), [], OVERSTAYED)
    until(lambda: text(host) == before)
    host.call("go", body=b"gate")
    log_ends(host, entry, seen)
    until(lambda: stats(host)["entries"][entry]["timeouts"] == 1)


def test_what_it_sends_does_not_prolong_it(host: NrHost) -> None:
    sid = host.submit("chatters", kind="stream").sid
    assert host.stream_close(sid) == Status.OK
    call = host.wait(sid)
    expect_end(call, [b"more"] * (len(call.frames) - 1), OVERSTAYED)
    until(lambda: text(host) in ("CallEndedError", "CancelledError"))
