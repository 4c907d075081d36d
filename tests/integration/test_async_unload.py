"""Loading and unloading plugins with event loops: side by side, in turn, with work in flight, again and again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import CORE_THREADS, LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, check_flat, until
from nrhost import Status

ROUNDS = 200

SOURCE = """
import asyncio
import contextlib
import os
import threading
from nylon_ring_py import Plugin

plugin = Plugin("loops", workers=2, shutdown_timeout_s=5, loops=int(os.environ.get("TEST_LOOPS", "1")),
                event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
held = bytearray(500_000)
running = set()

@plugin.handle_sync("ping")
def ping(req): return b"pong"

@plugin.handle("echo")
async def echo(req):
    await asyncio.sleep(0)
    return req.body

@plugin.handle("feed")
async def feed(req):
    for n in range(3):
        yield str(n)

@plugin.stream("chat")
async def chat(stream):
    async for frame in stream:
        await stream.send(frame)

@plugin.handle("leaves_work")
async def leaves_work(req):
    async def work():
        await asyncio.sleep(3600)
    running.add(asyncio.create_task(work()))
    asyncio.get_running_loop().call_later(3600, print)
    await asyncio.to_thread(len, b"")
    return req.body

@plugin.handle("in_thread")
async def in_thread(req):
    def read():
        with open(req.path) as fifo:
            print("thread: in", flush=True)
            return fifo.read()
    if req.query == "to_thread":
        return await asyncio.to_thread(read)
    return await asyncio.get_running_loop().run_in_executor(None, read)

@plugin.handle("pokes")
async def pokes(req):
    loop = asyncio.get_running_loop()
    def poke():
        count = 0
        try:
            while True:
                loop.call_soon_threadsafe(len, b"")
                count += 1
                if count == 100: print("thread: in", flush=True)
        except RuntimeError as error:
            print(f"thread: {error}", flush=True)
    threading.Thread(target=poke).start()
    return b"poking"

@plugin.on_shutdown
async def bye():
    await asyncio.sleep(0)
"""


@pytest.fixture(scope="module")
def plugin(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "loops")


LOOPS = pytest.mark.parametrize(("event_loop", "loops"), [("asyncio", 1), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)])


def environment(event_loop: str, loops: int = 1) -> dict[str, object]:
    return {
        "env": {"TEST_EVENT_LOOP": event_loop, "TEST_LOOPS": str(loops)},
        "resident_threads": LOOP_THREADS[event_loop],
        "resident_fds": LOOP_FDS[event_loop],
    }


@pytest.mark.long
@LOOPS
@pytest.mark.parametrize("entry", ["echo", "leaves_work"])
def test_many_loads_in_one_process(
    start_host: StartHost, plugin: Path, entry: str, event_loop: str, loops: int
) -> None:
    """Each round is load, call, shutdown, dlclose."""
    host = start_host(**environment(event_loop, loops))
    check_flat(host, lambda: host.cycle(plugin, n=ROUNDS, entry=entry, body=b"x"), keeps_fds=LOOP_FDS[event_loop])


@pytest.mark.long
@LOOPS
def test_many_loads_with_streams_open(start_host: StartHost, plugin: Path, event_loop: str, loops: int) -> None:
    host = start_host(**environment(event_loop, loops))

    def rounds() -> None:
        for _ in range(ROUNDS // 8):
            assert host.load(plugin) == Status.OK
            sids = [host.submit("chat", kind="stream").sid for _ in range(5)]
            for sid in sids:
                assert host.stream_data(sid, b"x") == Status.OK
                assert host.wait(sid, frames=1).data == [b"x"]
            assert host.stream("feed").data == [b"0", b"1", b"2", b""]
            host.unload()

    check_flat(host, rounds, keeps_fds=LOOP_FDS[event_loop])


@LOOPS
def test_two_plugins_with_loops(start_host: StartHost, plugin: Path, event_loop: str, loops: int) -> None:
    """One goes and comes again while the other serves."""
    host = start_host(**environment(event_loop, loops))
    assert host.load(plugin, plugin="stays") == Status.OK
    chat = host.submit("chat", kind="stream", plugin="stays").sid
    storm = host.start_storm(
        calls=20_000, threads=2, unary="echo", raw="echo", stream="feed", check="echo", plugin="stays"
    )
    for n in range(10):
        assert host.load(plugin, plugin="goes") == Status.OK
        assert host.call("echo", plugin="goes", body=b"%d" % n).reply.data == b"%d" % n
        assert host.stream_data(chat, b"%d" % n, plugin="stays") == Status.OK
        host.unload(plugin="goes")
    counts = host.join(storm)
    assert (counts["accepted"], counts["terminals"], counts["wrong"], counts["timeouts"]) == (20_000, 20_000, 0, 0)
    assert host.stream_close(chat, plugin="stays") == Status.OK
    assert host.wait(chat, plugin="stays").data == [*(b"%d" % n for n in range(10)), b""]


@LOOPS
def test_a_storm_meets_shutdown(start_host: StartHost, plugin: Path, event_loop: str, loops: int) -> None:
    host = start_host(**environment(event_loop, loops))
    for _ in range(4):
        assert host.load(plugin) == Status.OK
        storm = host.start_storm(until="refused", threads=4, unary="echo", stream="feed", window=64)
        until(lambda: host.ledger().terminals > 500)
        host.shutdown()
        counts = host.join(storm)
        assert counts["accepted"] == counts["terminals"]
        assert counts["refused"] == 4
        assert counts["timeouts"] == 0
        host.unload()


def test_shutdown_by_several_threads_and_in_turn(start_host: StartHost, plugin: Path) -> None:
    host = start_host()
    for _ in range(10):
        assert host.load(plugin) == Status.OK
        sids = [host.submit("echo", body=b"x").sid for _ in range(50)]
        jobs = [host.start_shutdown() for _ in range(4)]
        for job in jobs:
            host.join(job)
        host.shutdown()
        assert host.init() == Status.INVALID
        assert {host.wait(sid).reply.status for sid in sids} <= {Status.OK, Status.ERR}
        assert host.call("echo").handle == Status.INVALID
        host.unload()


# ---- work in flight ----


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["to_thread", "run_in_executor"])
def test_threads_that_a_coroutine_waits_for(
    start_host: StartHost, plugin: Path, tmp_path: Path, how: str, event_loop: str
) -> None:
    """The coroutine is cancelled and answered; its thread ends when its work does, with nobody left to tell."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    host = start_host(**environment(event_loop))
    assert host.load(plugin) == Status.OK
    sids = [host.submit("in_thread", path=str(fifo), query=how).sid for _ in range(3)]
    end = os.open(fifo, os.O_WRONLY)
    until(lambda: host.stderr().count(b"thread: in") == 3)
    host.shutdown()
    assert {host.wait(sid).reply.status for sid in sids} == {Status.ERR}
    host.unload()
    assert host.load(plugin) == Status.OK
    os.close(end)
    assert host.call("echo", body=b"next").reply.data == b"next"
    host.unload()
    until(lambda: host.process().threads <= 2 + CORE_THREADS + LOOP_THREADS[event_loop])
    assert b"Traceback" not in host.stderr()


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
def test_threads_that_call_into_a_loop_that_ends(start_host: StartHost, plugin: Path, event_loop: str) -> None:
    host = start_host(**environment(event_loop))
    for n in range(5):
        assert host.load(plugin) == Status.OK
        assert host.call("pokes").reply.data == b"poking"
        until(lambda n=n: host.stderr().count(b"thread: in") == n + 1)  # type: ignore[misc]  # bound at once
        host.unload()
        until(lambda n=n: host.stderr().count(b"thread: Event loop is closed") == n + 1)  # type: ignore[misc]  # likewise
