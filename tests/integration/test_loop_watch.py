"""What keeps an event loop from its other work is named in the log while it does, with the line it stands at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import os
import threading
from nylon_ring_py import Callback, Plugin

plugin = Plugin("NAME", slow_callback_s=SLOW_S, loops=int(os.environ.get("TEST_LOOPS", "1")),
                event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"), shutdown_timeout_s=5)
blocked = threading.Semaphore(0)
go_on = threading.Event()

@plugin.handle_sync("wait")
def wait(req): blocked.acquire()

@plugin.handle_sync("go")
def go(req): go_on.set()

@plugin.handle("echo")
async def echo(req): return req.body

def block():
    blocked.release()
    go_on.wait(float(os.environ.get("TEST_BLOCK_S", "60")))

@plugin.handle("at_once")
async def at_once(req):
    block()  # at once

@plugin.handle("later")
async def later(req):
    await asyncio.sleep(0.01)
    block()  # later

@plugin.handle("cancelled")
async def cancelled(req):
    try:
        asyncio.current_task().cancel()
        await asyncio.sleep(10)
    finally:
        block()  # when cancelled

@plugin.handle("callback")
async def with_callback(req, callback: Callback):
    callback(b"answered")
    block()  # after the answer

@plugin.handle("frames")
async def frames(req):
    yield b"frame"
    block()  # between frames

@plugin.stream("duplex")
async def duplex(stream):
    async for frame in stream:
        block()  # over a frame

@plugin.handle("task")
async def task(req):
    async def child():
        block()  # in a task
    await asyncio.create_task(child())

@plugin.handle("call_soon")
async def call_soon(req):
    asyncio.get_running_loop().call_soon(lambda: block())  # in a callback
    await asyncio.sleep(0.01)

@plugin.handle("leaves")
async def leaves(req):
    asyncio.get_running_loop().call_later(0.01, lambda: block())  # left behind

@plugin.handle("sleeps")
async def sleeps(req):
    await asyncio.sleep(float(req.body))

@plugin.handle("works")
async def works(req):
    end = asyncio.get_running_loop().time() + float(req.body)
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0)

@plugin.stream("chat")
async def chat(stream):
    async for frame in stream: await stream.send(frame)
"""

LOOPS = pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])

SLOW_S = 0.1
PATIENT_S = 1.0
KEPT = "has kept the event loop for"


def source(name: str, slow_s: float | None) -> str:
    return SOURCE.replace("NAME", name).replace("SLOW_S", str(slow_s))


@pytest.fixture(scope="module")
def watched(build_once: BuildPlugin) -> Path:
    return build_once(source("watched", SLOW_S), "watched")


@pytest.fixture(scope="module")
def patient(build_once: BuildPlugin) -> Path:
    return build_once(source("patient", PATIENT_S), "patient")


@pytest.fixture(scope="module")
def unwatched(build_once: BuildPlugin) -> Path:
    return build_once(source("unwatched", None), "unwatched")


def text(host: NrHost) -> str:
    return host.stderr().decode()


def warnings(host: NrHost) -> int:
    return text(host).count(KEPT)


def expect_warning(host: NrHost, what: str, line: str) -> None:
    """In the log: what blocks, and after it the stack with that line of the plugin's source."""
    until(lambda: re.search(rf"{what} {KEPT} [\d.]+ s, and all its other calls wait", text(host)) is not None)
    until(lambda: line in text(host))
    at = text(host).index(KEPT)
    assert re.search(r'File ".*watched\.so/watched\.py", line \d+, in ', text(host)[at:])
    assert text(host).index(line) > at


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("at_once", "block()  # at once"),
        ("later", "block()  # later"),
        ("cancelled", "block()  # when cancelled"),
        ("callback", "block()  # after the answer"),
        ("frames", "block()  # between frames"),
        ("duplex", "block()  # over a frame"),
    ],
)
@LOOPS
def test_a_handler_that_blocks_its_loop(
    watched: Path, start_host: StartHost, event_loop: str, entry: str, line: str
) -> None:
    host = start_host(
        env={"TEST_EVENT_LOOP": event_loop},
        resident_threads=LOOP_THREADS[event_loop],
        resident_fds=LOOP_FDS[event_loop],
    )
    assert host.load(watched) == Status.OK
    sid = host.submit(entry, kind="stream" if entry in ("frames", "duplex") else "unary").sid
    if entry == "duplex":
        host.stream_data(sid, b"x")
    expect_warning(host, rf"entry '{entry}' \(sid {sid}\)", line)
    host.call("go")
    if entry == "duplex":
        host.stream_close(sid)
    assert host.wait(sid).ended


@pytest.mark.parametrize(("entry", "line"), [("task", "block()  # in a task"), ("call_soon", "# in a callback")])
@pytest.mark.parametrize("others", [0, 1])
@LOOPS
def test_what_a_handler_has_started_blocks_its_loop(
    watched: Path, start_host: StartHost, event_loop: str, entry: str, line: str, others: int
) -> None:
    host = start_host(
        env={"TEST_EVENT_LOOP": event_loop},
        resident_threads=LOOP_THREADS[event_loop],
        resident_fds=LOOP_FDS[event_loop],
    )
    assert host.load(watched) == Status.OK
    sids = [host.submit(entry).sid]
    host.call("wait")
    sids += [host.submit("echo").sid for _ in range(others)]
    expect_warning(host, "a callback or a task of its own", line)
    host.call("go")
    assert [host.wait(sid).reply.status for sid in sids] == [Status.OK] * len(sids)


def test_what_a_handler_has_left_behind_blocks_the_next_call(watched: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(watched) == Status.OK
    assert host.call("leaves").reply.status == Status.OK
    host.call("wait")
    sid = host.submit("echo", body=b"waits").sid
    expect_warning(host, "a callback or a task of its own", "# left behind")
    host.call("go")
    assert host.wait(sid).reply.data == b"waits"


def test_each_loop_is_watched(watched: Path, start_host: StartHost) -> None:
    host = start_host(env={"TEST_LOOPS": "2"})
    assert host.load(watched) == Status.OK
    sids = [host.submit("at_once").sid for _ in range(2)]
    for sid in sids:
        host.call("wait")
        expect_warning(host, rf"entry 'at_once' \(sid {sid}\)", "block()  # at once")
    host.call("go")
    assert [host.wait(sid).reply.status for sid in sids] == [Status.OK] * 2


def test_it_is_said_once_and_where_nobody_watches_never(patient: Path, unwatched: Path, start_host: StartHost) -> None:
    """A later block that is reported tells that the earlier one had its time."""
    host = start_host()
    places = ["off", "first", "second"]
    for plugin, path in zip(places, (unwatched, patient, patient), strict=True):
        assert host.load(path, plugin=plugin) == Status.OK
    sids = {}
    for n, plugin in enumerate(places):
        sids[plugin] = host.submit("later", plugin=plugin).sid
        host.call("wait", plugin=plugin)
        until(lambda n=n: warnings(host) == n)  # type: ignore[misc]  # mypy knows no default of a lambda
    for plugin in places:
        host.call("go", plugin=plugin)
        assert host.wait(sids[plugin], plugin=plugin).reply.status == Status.OK
    assert warnings(host) == 2
    assert "unwatched" not in text(host)


def test_a_loop_that_goes_round_is_not_named(patient: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(patient) == Status.OK
    chat = host.submit("chat", kind="stream").sid
    body = str(3 * PATIENT_S).encode()
    sids = [host.submit(entry, body=body).sid for entry in ("sleeps", "works", "works")]
    for n in range(100):
        assert host.call("echo", body=b"%d" % n).reply.data == b"%d" % n
    assert [host.wait(sid).reply.data for sid in sids] == [b""] * 3
    assert host.stream_data(chat, b"x") == Status.OK
    assert host.stream_close(chat) == Status.OK
    assert host.wait(chat).data == [b"x", b""]
    assert warnings(host) == 0


def test_a_plugin_is_unloaded_in_the_middle_of_a_block(watched: Path, start_host: StartHost) -> None:
    host = start_host(env={"TEST_BLOCK_S": str(3 * SLOW_S)})
    for _ in range(5):
        assert host.load(watched) == Status.OK
        host.submit("at_once")
        host.call("wait")
        host.unload()
