"""Calls with one reply: an answer when their time is over, whether or not the handler stops, and nothing after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, until
from gates import GATES, LIMIT_S, log_ends, stats, text
from nrhost import NrHost, Status

SOURCE = f"""
import math
from concurrent.futures import ThreadPoolExecutor
{GATES}
LIMIT_S = {LIMIT_S}
"""

SOURCE += """
plugin = Plugin("late", workers=16, timeout_s=LIMIT_S, shutdown_timeout_s=10)
add_controls(plugin)
threads = ThreadPoolExecutor(4)
kept = []

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

@plugin.handle("answered")
async def answered(req, callback: Callback):
    callback(b"in time")
    try:
        await opened(req.path)
        log.append("went on")
    except asyncio.CancelledError:
        log.append("cancelled")

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
"""

TOO_LATE = f"TimeoutError: no answer within timeout_s={LIMIT_S}"


@pytest.fixture(scope="module")
def late(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "late")


@pytest.fixture
def host(late: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(late) == Status.OK
    return host


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
    until(lambda: stats(host)["entries"][entry]["timeouts"] == 1)  # counted when the answer has left
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


@pytest.mark.parametrize("blocked", [1, 3])
def test_a_host_that_blocks_in_one_answer_delays_no_other(host: NrHost, blocked: int) -> None:
    host.callback("block", budget=blocked)
    first = [host.submit("pooled", path="late").sid for _ in range(blocked)]
    host.parked(blocked)
    for entry in ("pooled", "coroutine"):
        sid = host.submit(entry, path="late").sid
        assert host.wait(sid).reply.text == TOO_LATE
    host.release()
    for sid in first:
        assert host.wait(sid).reply.text == TOO_LATE
    host.call("go", body=b"late")


KEEPS_THE_GIL = """
import ctypes
from nylon_ring_py import Plugin

plugin = Plugin("greedy", timeout_s=2)
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
        assert (reply.status, reply.text) == (Status.ERR, "TimeoutError: no answer within timeout_s=2")
        waiting = host.start_call("ping")  # it needs the GIL, and gets it once the handler is let go
        writer.write(b"x")
    assert host.join_call(waiting).reply.data == b"pong"


def test_a_handler_that_has_answered_goes_on(host: NrHost) -> None:
    """Past its deadline, which was for the answer."""
    assert host.call("answered", path="a").reply.data == b"in time"
    assert host.call("coroutine", path="b").reply.status == Status.ERR  # its deadline is the later one
    host.call("go", body=b"a")
    log_ends(host, "answered", "cancelled True,went on")
