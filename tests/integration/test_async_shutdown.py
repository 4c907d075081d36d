"""How event loops end: what was accepted is answered, tasks are cancelled, and nothing holds shutdown for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import os
import threading
from nylon_ring_py import CallEndedError, Plugin, Response, Status

plugin = Plugin("ending", workers=2, shutdown_timeout_s=float(os.environ.get("TEST_TIMEOUT", "20")),
                loops=int(os.environ.get("TEST_LOOPS", "1")), event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
seen = []

@plugin.handle_sync("count")
def count(req): return str(seen.count(req.body.decode()))

@plugin.handle_sync("ping")
def ping(req): return b"pong"

@plugin.handle("echo")
async def echo(req):
    await asyncio.sleep(0)
    return req.body

async def for_ever():
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
    finally:
        seen.append("finally")
        print("finally: ran", flush=True)

@plugin.handle("pending")
async def pending(req):
    seen.append("begun")
    await for_ever()

@plugin.handle("tidies_up")
async def tidies_up(req):
    seen.append("begun")
    try:
        await for_ever()
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
        await asyncio.to_thread(seen.append, "tidied")
        return b"all put away"

# ---- what does not end ----

@plugin.handle("stubborn")
async def stubborn(req):
    seen.append("begun")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")

@plugin.handle("spins")
async def spins(req):
    seen.append("begun")
    while True:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")

@plugin.handle("blocks")
async def blocks(req):
    print("handler: in", flush=True)
    with open(req.path) as fifo:
        return fifo.read()

@plugin.handle("blocks_for_ever")
async def blocks_for_ever(req):
    print("handler: in", flush=True)
    threading.Event().wait()

@plugin.stream("stubborn_stream")
async def stubborn_stream(stream): await stubborn(stream)

# ---- streams ----

@plugin.handle("counts")
async def counts(req):
    seen.append("begun")
    try:
        for n in range(10**9):
            yield str(n)
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        seen.append("counts")

@plugin.handle("one_frame")
async def one_frame(req):
    try:
        yield b"frame"
        await for_ever()
    finally:
        seen.append("one_frame")

@plugin.stream("reads")
async def reads(stream):
    try:
        await stream.send(b"open")
        async for frame in stream:
            await stream.send(frame)
        seen.append("input over")
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
    finally:
        seen.append("reads")

@plugin.stream("reads_in_a_child")
async def reads_in_a_child(stream):
    async def read():
        async for frame in stream:
            await stream.send(frame)
    await stream.send(b"open")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(for_ever())
    finally:
        seen.append("reads_in_a_child")

@plugin.stream("writes")
async def writes(stream):
    seen.append("begun")
    try:
        while True:
            await stream.send(b"frame")
    except CallEndedError:
        seen.append("ended")
        raise
    finally:
        seen.append("writes")

@plugin.on_shutdown
def tell():
    for what in sorted(set(seen)):
        print(f"seen: {seen.count(what)} {what}")
    print("seen: all", flush=True)
"""


@pytest.fixture(scope="module")
def ending(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "ending")


Start = Callable[..., NrHost]
LOOPS = pytest.mark.parametrize(("event_loop", "loops"), [("asyncio", 1), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)])


@pytest.fixture
def start(ending: Path, start_host: StartHost) -> Start:
    """start(event_loop, loops, timeout_s): a host with the plugin loaded."""

    def run(event_loop: str = "asyncio", loops: int = 1, timeout_s: float = 20, **options: object) -> NrHost:
        env = {"TEST_EVENT_LOOP": event_loop, "TEST_LOOPS": str(loops), "TEST_TIMEOUT": str(timeout_s)}
        options.setdefault("resident_threads", LOOP_THREADS[event_loop])
        options.setdefault("resident_fds", LOOP_FDS[event_loop])
        host = start_host(env=env, **options)
        assert host.load(ending) == Status.OK
        return host

    return run


def wait_for(host: NrHost, count: int, what: str = "begun") -> None:
    until(lambda: int(host.call("count", body=what.encode()).reply.text) == count)


def told(host: NrHost) -> dict[str, int]:
    """What on_shutdown has printed of what was seen."""
    lines = [line.split(" ", 2) for line in host.stderr().decode().splitlines() if line.startswith("seen: ")]
    assert lines[-1] == ["seen:", "all"]
    return {what: int(number) for _, number, what in lines[:-1]}


SHUTTING_DOWN = (Status.ERR, "the plugin is shutting down")


# ---- calls ----


@LOOPS
def test_a_thousand_coroutines_pending(start: Start, event_loop: str, loops: int) -> None:
    """Each is answered once and sees its cancel, and its finally runs before the hooks do."""
    host = start(event_loop, loops)
    sids = [host.submit("pending").sid for _ in range(1000)]
    wait_for(host, 1000)
    host.shutdown()
    replies = [host.wait(sid).reply for sid in sids]
    assert {(reply.status, reply.text) for reply in replies} == {SHUTTING_DOWN}
    assert told(host) == {"begun": 1000, "cancelled": 1000, "finally": 1000}


def test_a_coroutine_may_tidy_up_and_answer(start: Start) -> None:
    host = start()
    sids = [host.submit("tidies_up").sid for _ in range(100)]
    wait_for(host, 100)
    host.shutdown()
    replies = [host.wait(sid).reply for sid in sids]
    assert {(reply.status, reply.text) for reply in replies} == {(Status.OK, "all put away")}
    assert told(host)["tidied"] == 100


# ---- what does not end ----


@LOOPS
@pytest.mark.parametrize("entry", ["stubborn", "spins", "stubborn_stream"])
def test_a_coroutine_that_ignores_its_cancel(
    start: Start, ending: Path, entry: str, event_loop: str, loops: int
) -> None:
    """It is answered Err when shutdown_timeout_s is over, and its loop ends without it."""
    host = start(event_loop, loops, 0.2)
    stream = entry == "stubborn_stream"
    sids = [host.submit(entry, kind="stream" if stream else "unary").sid for _ in range(3)]
    pending = [host.submit("pending").sid for _ in range(3)]
    wait_for(host, 6)
    host.join(host.start_shutdown())
    for sid in sids + pending:
        frame = host.wait(sid).frames[-1]
        assert (frame.status, frame.text) == SHUTTING_DOWN
    until(lambda: host.stderr().count(b"finally: ran") == 3)
    assert b"did not end when the plugin was unloaded" in host.stderr()
    host.unload()
    assert host.load(ending) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


@LOOPS
def test_a_loop_that_is_blocked_for_ever(start: Start, ending: Path, event_loop: str, loops: int) -> None:
    host = start(event_loop, loops, 0.2, resident_threads=LOOP_THREADS[event_loop] + 1, leaks=False)
    sid = host.submit("blocks_for_ever").sid
    until(lambda: b"handler: in" in host.stderr())
    behind = [host.submit("echo").sid for _ in range(10)]
    host.join(host.start_shutdown())
    statuses = {host.wait(each).reply.status for each in [sid, *behind]}
    assert Status.ERR in statuses
    assert statuses <= ({Status.ERR} if loops == 1 else {Status.ERR, Status.OK})
    assert b"1 thread(s) did not end within shutdown_timeout_s=0.2" in host.stderr()
    host.unload()
    assert host.load(ending) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


def test_a_loop_that_is_blocked_until_after_the_unload(start: Start, ending: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    host = start(timeout_s=0.2)
    sid = host.submit("blocks", path=str(fifo)).sid
    end = os.open(fifo, os.O_WRONLY)
    pending = host.submit("pending").sid
    host.join(host.start_shutdown())
    assert [host.wait(each).reply.status for each in (sid, pending)] == [Status.ERR] * 2
    host.unload()
    os.close(end)
    assert host.load(ending) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


# ---- streams ----


@LOOPS
def test_streams_open_at_shutdown(start: Start, event_loop: str, loops: int) -> None:
    """Async generators and duplex handlers, wherever they stand: Err at the end, and every finally."""
    host = start(event_loop, loops)
    entries = ["one_frame", "counts", "reads", "reads_in_a_child", "writes"]
    sids = [host.submit(entry, kind="stream").sid for entry in entries * 20]
    for sid in sids:
        host.wait(sid, frames=1)
    host.shutdown()
    for sid in sids:
        frames = host.wait(sid).frames
        assert {frame.status for frame in frames[:-1]} <= {Status.OK}
        assert (frames[-1].status, frames[-1].text) == SHUTTING_DOWN
    seen = told(host)
    assert {entry: seen.get(entry) for entry in entries} == dict.fromkeys(entries, 20)


def test_streams_that_wait_for_room_at_shutdown(ending: Path, start_host: StartHost) -> None:
    """The host reads nothing: the last frames are lost with it, and the handlers end all the same."""
    host = start_host(env={"TEST_TIMEOUT": "2"}, clean=False)
    assert host.load(ending, abi="v2", stream_capacity=4) == Status.OK
    sids = [host.submit(entry, kind="stream").sid for entry in ["counts", "writes"] * 20]
    wait_for(host, 40)
    host.shutdown()
    seen = told(host)
    assert (seen["counts"], seen["writes"]) == (20, 20)
    for sid in sids:
        host.drop(sid)


# ---- from inside the host's code ----


def wait_until_shut_down(host: NrHost) -> None:
    until(lambda: host.callback_report(shutdowns=1)["shutdowns"] == 1)


@LOOPS
@pytest.mark.parametrize("entry", ["echo", "reads", "reads_in_a_child", "one_frame", "counts"])
def test_shutdown_from_inside_a_send_of_the_loop_s(
    start: Start, ending: Path, entry: str, event_loop: str, loops: int
) -> None:
    """The loop stands below shutdown: what else is on it is answered at once, and ends when the send returns."""
    host = start(event_loop, loops)
    pending = [host.submit("pending").sid for _ in range(20)]
    wait_for(host, 20)
    streams = [host.submit("reads", kind="stream").sid for _ in range(20)]
    for sid in streams:
        host.wait(sid, frames=1)
    host.callback("shutdown", budget=1)
    stream = entry != "echo"
    sid = host.submit(entry, kind="stream" if stream else "unary", body=b"x").sid
    frames = host.wait(sid).frames
    assert [frame.status for frame in frames] == ([Status.OK, Status.ERR] if stream else [Status.OK])
    wait_until_shut_down(host)
    assert {host.wait(each).reply.status for each in pending} == {Status.ERR}
    assert {host.wait(each).frames[-1].status for each in streams} == {Status.ERR}
    assert host.call("ping").handle == Status.INVALID
    host.unload()
    assert host.load(ending) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"
