"""Coroutines and duplex streams in a FakeHost, and time that is moved by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from conftest import until

from nylon_ring_py import Plugin, Request, Status, Stream, _core
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.testing import AsyncFakeHost, FakeHost
from nylon_ring_py.testing._instance import Abi

WAIT_S = 30.0
DAY_S = 86400.0
both_abis = pytest.mark.parametrize("abi", ["v1", "v2"])


@pytest.fixture
def plugin() -> Plugin:
    """Handlers that wait, each in its own way."""
    made = Plugin("waiting", shutdown_timeout_s=1, slow_callback_s=None)

    @made.handle("sleep")
    async def sleep(req: Request) -> str:
        await asyncio.sleep(float(req.body))
        return f"slept {req.body.decode()}"

    @made.handle("tick")
    async def tick(req: Request) -> AsyncIterator[str]:
        for number in range(int(req.body)):
            yield str(number)
            await asyncio.sleep(1)

    @made.handle("never", timeout_s=DAY_S)
    async def never(req: Request) -> None:
        await asyncio.Event().wait()

    @made.handle("blocks", timeout_s=DAY_S)
    def blocks(req: Request) -> str:
        return str(release.wait(WAIT_S))

    @made.stream("chat", idle_timeout_s=DAY_S, close_timeout_s=DAY_S)
    async def chat(stream: Stream) -> None:
        await stream.send("welcome")
        async for frame in stream:
            await stream.send(frame.upper())
        await stream.send("bye")
        await asyncio.sleep(float(stream.request.body or 0))

    @made.stream("plain")
    def plain(stream: Stream) -> None:
        for frame in stream:
            stream.send(frame * 2)

    release = threading.Event()
    made.on_shutdown(release.set)
    return made


# ---- coroutines ----


@both_abis
def test_coroutines_and_duplex_streams(plugin: Plugin, abi: Abi) -> None:
    with FakeHost(plugin, abi=abi) as host:
        assert host.call("sleep", "0", timeout_s=WAIT_S).text == "slept 0"
        assert [frame.text for frame in host.call_stream("tick", "1")] == ["0", ""]
        for entry, frames in (("chat", [b"welcome", b"A", b"B", b"bye", b""]), ("plain", [b"aa", b"bb", b""])):
            stream = host.call_stream(entry)
            stream.send(b"a")
            stream.send(b"b")
            stream.close_input()
            assert [frame.data for frame in stream] == frames
        host.settle(WAIT_S)


@both_abis
def test_the_same_from_an_event_loop(plugin: Plugin, abi: Abi) -> None:
    async def run() -> None:
        async with AsyncFakeHost(plugin, abi=abi, clock="manual") as host:
            sleepers = [asyncio.create_task(host.call("sleep", "60")) for _ in range(10)]
            while host.in_progress < 10:
                await asyncio.sleep(0)
            await asyncio.to_thread(host.advance, 60)
            assert [reply.text for reply in await asyncio.gather(*sleepers)] == ["slept 60"] * 10
            async with await host.call_stream("chat") as chat:
                chat.send("a")
                chat.close_input()
                assert [frame.text async for frame in chat] == ["welcome", "A", "bye", ""]

    asyncio.run(run())


def test_a_plugin_is_loaded_again(plugin: Plugin) -> None:
    for _ in range(5):
        with FakeHost(plugin) as host:
            assert host.call("sleep", "0", timeout_s=WAIT_S).ok


# ---- time by hand ----


def test_time_that_stands(plugin: Plugin) -> None:
    with FakeHost(plugin, clock="manual") as host:
        start = _core.clock()
        assert host.call("sleep", "0", timeout_s=WAIT_S).ok
        assert _core.clock() == start
        host.advance(1.5)
        host.advance(0)
        assert _core.clock() == pytest.approx(start + 1.5, abs=1e-6)
        with pytest.raises(ValueError, match="0 to 1e9 seconds"):
            host.advance(-1)
        with pytest.raises(RuntimeError, match="whose time stands"):
            FakeHost(Plugin("other"))
        with FakeHost(Plugin("other"), clock="manual") as other:
            other.advance(1)
        assert _core.clock() == pytest.approx(start + 2.5, abs=1e-6)
    with pytest.raises(RuntimeError, match="time runs by itself"):
        host.advance(1)
    assert time.monotonic() <= _core.clock() <= time.monotonic()
    with FakeHost(plugin) as host:
        with pytest.raises(RuntimeError, match="time runs by itself"):
            host.advance(1)
        with pytest.raises(RuntimeError, match="whose time runs by itself"):
            FakeHost(Plugin("other"), clock="manual")


def test_another_loop_keeps_its_own_time() -> None:
    with pytest.raises(ValueError, match="uvloop keeps its own time"):
        FakeHost(Plugin("fast", event_loop="uvloop"), clock="manual")


def test_a_sleep_ends_when_its_time_has_come(plugin: Plugin) -> None:
    with FakeHost(plugin, clock="manual") as host:
        ticks = host.call_stream("tick", "3")
        assert ticks.recv(WAIT_S) == Reply(b"0")
        host.advance(0.99)
        assert len(host.replies) == 1
        host.advance(0.01)
        assert ticks.recv(WAIT_S) == Reply(b"1")
        host.advance(1)
        assert ticks.recv(WAIT_S) == Reply(b"2")
        host.advance(1)
        assert ticks.recv(WAIT_S) == Reply(b"", Status.STREAM_END)


def test_steps_at_hand_come_before_the_jump(plugin: Plugin) -> None:
    with FakeHost(plugin, clock="manual") as host:
        for _ in range(50):
            ticks = host.call_stream("tick", "2")
            host.advance(1)
            assert [frame.data for frame in (ticks.recv(WAIT_S), ticks.recv(WAIT_S)) if frame] == [b"0", b"1"]
            host.advance(1)
            assert [frame.status for frame in ticks] == [Status.STREAM_END]


@pytest.mark.parametrize("entry", ["never", "blocks"])
def test_a_deadline(plugin: Plugin, entry: str) -> None:
    with FakeHost(plugin, clock="manual") as host:
        with pytest.raises(TimeoutError):
            host.call(entry, timeout_s=0.01)
        host.advance(DAY_S - 1)
        assert host.in_progress == 1
        host.advance(1)
        host.settle(WAIT_S)
        (reply,) = host.calls[0].replies
        assert reply.status == Status.ERR
        assert reply.text.startswith("TimeoutError")


def test_an_idle_stream(plugin: Plugin) -> None:
    with FakeHost(plugin, clock="manual") as host:
        chat = host.call_stream("chat")
        assert chat.recv(WAIT_S) == Reply(b"welcome")
        host.advance(DAY_S - 1)
        chat.send(b"a")
        assert chat.recv(WAIT_S) == Reply(b"A")
        host.advance(DAY_S - 1)
        assert host.in_progress == 1
        host.advance(1)
        last = chat.recv(WAIT_S)
        assert last is not None
        assert last.status == Status.ERR


def test_a_handler_that_does_not_end_after_the_close(plugin: Plugin) -> None:
    with FakeHost(plugin, clock="manual") as host:
        chat = host.call_stream("chat", str(10 * DAY_S))
        chat.close_input()
        assert [frame.text for frame in (chat.recv(WAIT_S), chat.recv(WAIT_S)) if frame] == ["welcome", "bye"]
        host.advance(DAY_S)
        last = chat.recv(WAIT_S)
        assert last is not None
        assert last.status == Status.ERR


def test_a_reader_needs_no_time() -> None:
    """Frames that found no room are sent again by a timer; where time stands, the reader fetches them."""
    plugin = Plugin("feeding")

    @plugin.handle("feed")
    def feed(req: Request) -> Iterator[str]:
        for number in range(300):
            yield str(number)

    @plugin.handle("async_feed")
    async def async_feed(req: Request) -> AsyncIterator[str]:
        for number in range(300):
            yield str(number)

    with FakeHost(plugin, abi="v2", capacity=1, clock="manual") as host:
        for entry in ("feed", "async_feed"):
            before = host.refused_frames
            chat = host.call_stream(entry)
            until(lambda: host.refused_frames > before)  # noqa: B023 - asked before the next round
            assert len(list(chat)) == 301
            assert host.call_stream(entry).recv(WAIT_S) == Reply(b"0")


def test_a_loop_that_stands_in_a_handler_is_not_waited_for() -> None:
    plugin = Plugin("standing", slow_callback_s=None)
    began, go = threading.Event(), threading.Event()

    @plugin.handle("stands")
    async def stands(req: Request) -> str:
        began.set()
        return str(go.wait(WAIT_S))

    @plugin.handle("advances")
    async def advances(req: Request) -> str:
        host.advance(1)
        return "moved"

    with FakeHost(plugin, clock="manual") as host:
        assert host.call("advances", timeout_s=WAIT_S).text == "moved"
        stream = threading.Thread(target=host.call, args=("stands",))
        stream.start()
        assert began.wait(WAIT_S)
        start = _core.clock()
        host.advance(5)
        assert _core.clock() == pytest.approx(start + 5, abs=1e-6)
        go.set()
        stream.join(WAIT_S)
        host.settle(WAIT_S)
