"""How many streams and calls event loops bear: all open at once, spread over loops, each in order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, fewer, memory_counts
from hosts.environments import compile_host
from nrhost import TROUBLE, NrHost, Status

#: NRPY_TEST_STREAMS=100000 is what one loop is meant for; this many are enough to see what grows.
STREAMS = int(os.environ.get("NRPY_TEST_STREAMS", "20000"))
ROUNDS = 3
#: Pages of the heap that a few small objects keep from being given back, as a part of what the open streams took.
FRAGMENTS = 0.4

SOURCE = """
import asyncio
import contextvars
import gc
import os
import sys
import threading
from nylon_ring_py import Plugin

plugin = Plugin("many", workers=1, loops=int(os.environ.get("TEST_LOOPS", "1")), max_pending=2**31 - 1,
                event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
var = contextvars.ContextVar("var", default="nothing")

@plugin.stream("echo")
async def echo(stream):
    async for frame in stream:
        await stream.send(frame)

@plugin.handle("settle")
async def settle(req):
    for _ in range(3): await asyncio.sleep(0)
    gc.collect()
    return str(sys.getallocatedblocks())

@plugin.handle("thread")
async def thread(req):
    return str(threading.get_ident())

@plugin.stream("threads")
async def threads(stream):
    mine = threading.get_ident()
    var.set(stream.sid)
    async for frame in stream:
        await asyncio.sleep(0)
        stays = threading.get_ident() == mine and var.get() == stream.sid
        await stream.send(frame + (b" stays" if stays else b" moved"))
    await stream.send(str(mine))
"""

LOOPS = pytest.mark.parametrize(("event_loop", "loops"), [("asyncio", 1), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)])


@pytest.fixture(scope="module")
def many(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "many")


@pytest.fixture(scope="module")
def many_streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "many_streams", "tests/hosts/many_streams.c", "-O2")


def test_many_streams_at_once(many: Path, many_streams: Path) -> None:
    """Opened, one frame echoed by each, closed, every StreamEnd seen; what they took of memory is there again."""
    streams = fewer(STREAMS)
    done = subprocess.run(
        [many_streams, many, "echo", str(streams), str(ROUNDS)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert not TROUBLE.search(done.stderr.encode()), done.stderr
    rounds = [line.split() for line in done.stdout.splitlines()]
    print(done.stdout)  # pytest -s shows the figures
    assert len(rounds) == ROUNDS
    (_, _, first, _, _), (_, _, _, _, objects), (before, most, last, _, left) = (
        [float(figure) for figure in each] for each in rounds
    )
    assert left - objects < streams / 100, done.stdout  # no object is left of a stream
    if memory_counts():  # the first round fills caches
        assert last - first <= FRAGMENTS * (most - before), done.stdout


@pytest.fixture
def host(many: Path, start_host: StartHost, event_loop: str, loops: int) -> NrHost:
    host = start_host(
        env={"TEST_EVENT_LOOP": event_loop, "TEST_LOOPS": str(loops)},
        resident_threads=LOOP_THREADS[event_loop],
        resident_fds=LOOP_FDS[event_loop],
    )
    assert host.load(many) == Status.OK
    return host


@LOOPS
def test_calls_are_spread_over_the_loops(host: NrHost, loops: int) -> None:
    threads = [host.call("thread").reply.text for _ in range(20)]
    assert len(set(threads)) == loops
    assert min(threads.count(each) for each in set(threads)) == 20 // loops


@LOOPS
def test_a_stream_stays_on_its_loop_and_in_order(host: NrHost, loops: int) -> None:
    """Frames of all streams by turns, so that loops and contexts would be mixed up if they could."""
    sids = [host.submit("threads", kind="stream").sid for _ in range(50)]
    for n in range(40):
        for sid in sids:
            assert host.stream_data(sid, b"%d" % n) == Status.OK
    threads = set()
    for sid in sids:
        assert host.stream_close(sid) == Status.OK
        *frames, thread, end = host.wait(sid).frames
        assert [frame.text for frame in frames] == [f"{n} stays" for n in range(40)]
        assert (end.status, end.data) == (Status.STREAM_END, b"")
        threads.add(thread.text)
    assert len(threads) == loops


def test_uvloop_that_is_not_there_is_asked_for(start_host: StartHost, build: BuildPlugin) -> None:
    """The plugin does not start, and says what to install."""
    source = """
        import sys
        from nylon_ring_py import Plugin

        sys.modules["uvloop"] = None  # as where it is not installed: importing it raises ModuleNotFoundError
        plugin = Plugin("fast", event_loop="uvloop")

        @plugin.handle("echo")
        async def echo(req): return req.body
    """
    host = start_host()
    assert host.load(build(source)) == Status.ERR
    words = 'event_loop="uvloop" needs the library uvloop, which is not installed in this plugin\'s environment'
    assert words in host.stderr_tail()
    assert "python -m pip install uvloop" in host.stderr_tail()
