"""Tasks of an author's own that wait for a stream: nobody else keeps them, and its end reaches them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, until
from gates import text
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import gc
import threading
from nylon_ring_py import CallEndedError, Plugin

FULL = 6
plugin = Plugin("tasks", max_buffered=2)
log = []

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.stream("forgets")
async def forgets(stream):
    async def write(number): await stream.send(str(number))
    for number in range(100):
        asyncio.create_task(write(number))
        await asyncio.sleep(0)
    gc.collect()
    log.append("collected")
    await stream.send(b"last")

@plugin.stream("leaves")
async def leaves(stream):
    async def read():
        async for frame in stream: pass
        log.append("read")
    async def write():
        try:
            for number in range(100): await stream.send(str(number))
        except CallEndedError:
            log.append("written")
    asyncio.create_task(read())
    asyncio.create_task(write())
    await asyncio.sleep(0.01)

@plugin.stream("turns")
async def turns(stream):
    async def write(text): await stream.send(text)
    for number in range(FULL): await stream.send(str(number))
    writers = [asyncio.create_task(write(text)) for text in ("first", "second")]
    await asyncio.sleep(0)
    other = threading.Thread(target=stream.send, args=("other",))
    other.start()
    log.append("full")
    other.join()                    # the loop stands still: the room is for this one, though the first was told of it
    for _ in range(3): await asyncio.sleep(0)
    log.append("waiting")
    await asyncio.gather(*writers)
"""


@pytest.fixture(scope="module")
def tasks(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "tasks")


@pytest.fixture
def slow_host(tasks: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(tasks, abi="v2", stream_capacity=4) == Status.OK
    return host


def test_a_task_that_waits_for_room_is_not_collected(slow_host: NrHost) -> None:
    sid = slow_host.submit("forgets", kind="stream").sid
    until(lambda: text(slow_host) == "collected")
    assert slow_host.wait(sid).data == [b"%d" % number for number in range(100)] + [b"last", b""]


def test_tasks_that_the_handler_left_learn_of_the_end(slow_host: NrHost) -> None:
    sid = slow_host.submit("leaves", kind="stream").sid
    until(lambda: text(slow_host) == "read,written")
    frames = slow_host.wait(sid).data
    assert frames == [b"%d" % number for number in range(len(frames) - 1)] + [b""]
    assert len(frames) < 100


def test_a_writer_keeps_its_turn(slow_host: NrHost) -> None:
    sid = slow_host.submit("turns", kind="stream").sid
    until(lambda: text(slow_host) == "full")
    assert slow_host.wait(sid, frames=1).data == [b"0"]
    until(lambda: text(slow_host) == "full,waiting")
    assert slow_host.wait(sid).data[-4:] == [b"other", b"first", b"second", b""]
