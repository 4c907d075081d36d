"""Limits of number: what is too much is refused at once and counted, what was taken is answered; room comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from conftest import BuildPlugin, StartHost, fewer, memory_counts, until
from nrhost import Abi, NrHost, Status

ENTRY_LIMIT = 2
STORM_LIMIT = 8
THREADS = 3

SOURCE = f"""
ENTRY_LIMIT = {ENTRY_LIMIT}
STORM_LIMIT = {STORM_LIMIT}
THREADS = {THREADS}
"""

SOURCE += '''
import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from nylon_ring_py import Callback, Plugin

plugin = Plugin("limits", max_sync_streams=THREADS, shutdown_timeout_s=10,
                workers=int(os.environ.get("TEST_WORKERS", "32")),
                max_pending=int(os.environ.get("TEST_MAX_PENDING", "1000")))
executor = ThreadPoolExecutor(STORM_LIMIT)
gates = {}

def gate(name):
    return gates.setdefault(name, threading.Event())

async def opened(name):
    while not gate(name).is_set():
        await asyncio.sleep(0.002)

@plugin.handle_sync("go")
def go(req): gate(req.body).set()

@plugin.handle_sync("stats")
def stats(req): return json.dumps(plugin.stats().to_dict())

@plugin.handle_sync("echo")
def echo(req): return req.body

# ---- a limit of their own ----

def wait(req):
    """The body names a gate; a storm's are empty, and every fifth call fails."""
    if req.body:
        gate(req.body).wait()
    elif req.sid % 5 == 0:
        raise KeyError(req.sid)

async def wait_async(req):
    if req.body:
        await opened(req.body)
    elif req.sid % 5 == 0:
        raise KeyError(req.sid)

for prefix, limit in (("", ENTRY_LIMIT), ("storm_", STORM_LIMIT)):
    @plugin.handle(prefix + "pooled", max_pending=limit)
    def pooled(req):
        wait(req)
        return b"done"

    @plugin.handle(prefix + "coroutine", max_pending=limit)
    async def coroutine(req):
        await wait_async(req)
        return b"done"

    @plugin.handle(prefix + "callback", max_pending=limit)
    def with_callback(req, callback: Callback):
        def answer():
            wait(req)
            callback(b"done")
        threading.Thread(target=answer).start()

    @plugin.handle(prefix + "a_callback", max_pending=limit)
    async def with_callback_async(req, callback: Callback):
        async def answer():
            await wait_async(req)
            callback(b"done")
        kept = asyncio.create_task(answer())

    @plugin.handle(prefix + "executor", max_pending=limit, executor=executor)
    def in_executor(req):
        wait(req)
        return b"done"

    @plugin.handle(prefix + "generator", max_pending=limit)
    def generator(req):
        yield b"done"
        wait(req)

    @plugin.handle(prefix + "a_generator", max_pending=limit)
    async def a_generator(req):
        yield b"done"
        await wait_async(req)

    @plugin.stream(prefix + "duplex", max_pending=limit)
    def duplex(stream):
        stream.send(b"done")
        wait(stream.request)

    @plugin.stream(prefix + "a_duplex", max_pending=limit)
    async def a_duplex(stream):
        await stream.send(b"done")
        await wait_async(stream.request)

@plugin.handle("by_hand", stream=True, max_pending=ENTRY_LIMIT)
def by_hand(req):
    return b"done"

# ---- answered, and still at work ----

@plugin.handle("late", max_pending=1, timeout_s=0.05)
def late(req):
    if req.body: wait(req)
    return b"in time"

@plugin.handle("a_late", max_pending=1, timeout_s=0.05)
async def a_late(req):
    while req.body and not gate(req.body).is_set():
        try:
            await wait_async(req)
        except asyncio.CancelledError: pass
    return b"in time"

# ---- the plugin's limits ----

@plugin.handle("queued")
def queued(req): wait(req)

@plugin.handle("one")
async def one(req): await wait_async(req)

@plugin.handle("other")
async def other(req): await wait_async(req)

@plugin.stream("chat")
async def chat(stream):
    async for frame in stream: await stream.send(frame)

@plugin.stream("s_chat")
def s_chat(stream):
    if not stream.request.body: return
    for frame in stream: stream.send(frame)

@plugin.stream("deaf")
async def deaf(stream): await opened(stream.request.body)
'''

UNARY = ("pooled", "coroutine", "callback", "a_callback", "executor")
STREAMS = ("generator", "a_generator", "duplex", "a_duplex")
REFUSALS: dict[Abi, Status] = {"v1": Status.ERR, "v2": Status.BACKPRESSURE}
ABIS = pytest.mark.parametrize("abi", ["v1", "v2"])


@pytest.fixture(scope="module")
def limits(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "limits")


def loaded(start_host: StartHost, limits: Path, abi: Abi = "v1", **options: object) -> NrHost:
    host = start_host(**options)
    assert host.load(limits, abi=abi) == Status.OK
    return host


def kind_of(entry: str) -> Literal["unary", "stream"]:
    return "unary" if entry.removeprefix("storm_") in (*UNARY, "late", "a_late", "queued", "one", "other") else "stream"


def take(host: NrHost, entry: str, number: int, body: bytes = b"hold") -> list[int]:
    """Opens so many calls, as soon as there is room: the end of the calls before may take a moment."""
    sids: list[int] = []

    def taken() -> bool:
        call = host.submit(entry, kind=kind_of(entry), body=body)
        if call.handle == Status.OK:
            sids.append(call.sid)
        return len(sids) == number

    until(taken)
    return sids


def refusals(host: NrHost, entry: str, number: int) -> set[int]:
    return {host.submit(entry, kind=kind_of(entry), body=b"hold").handle for _ in range(number)}


def count(host: NrHost, entry: str, what: str) -> int:
    return int(json.loads(host.call("stats").reply.text)["entries"][entry][what])


# ---- a limit of their own ----


@ABIS
@pytest.mark.parametrize("entry", UNARY + STREAMS)
def test_what_is_over_an_entry_s_limit_is_refused(start_host: StartHost, limits: Path, entry: str, abi: Abi) -> None:
    host = loaded(start_host, limits, abi)
    for turn in range(3):
        sids = take(host, entry, ENTRY_LIMIT, b"gate %d" % turn)
        refused = count(host, entry, "refused")
        assert refusals(host, entry, 10) == {REFUSALS[abi]}
        assert count(host, entry, "refused") == refused + 10
        assert host.call("echo", body=b"other").reply.data == b"other"
        host.call("go", body=b"gate %d" % turn)
        done = [b"done"] if kind_of(entry) == "unary" else [b"done", b""]
        assert [host.wait(sid).data for sid in sids] == [done] * ENTRY_LIMIT
    ledger = host.ledger()
    assert ledger.accepted == ledger.terminals
    assert ledger.refused == count(host, entry, "refused")


@ABIS
def test_open_streams_by_hand_are_limited(start_host: StartHost, limits: Path, abi: Abi) -> None:
    host = loaded(start_host, limits, abi)
    for _ in range(3):
        sids = take(host, "by_hand", ENTRY_LIMIT)
        for sid in sids:
            assert host.wait(sid, frames=1).data == [b"done"]
        assert refusals(host, "by_hand", 10) == {REFUSALS[abi]}
        for sid in sids:
            assert host.stream_close(sid) == Status.OK
            assert host.wait(sid).data == [b""]


@pytest.mark.parametrize("entry", ["late", "a_late"])
def test_room_comes_back_with_the_handler_s_end(start_host: StartHost, limits: Path, entry: str) -> None:
    """What runs on after its deadline still takes a thread, or memory."""
    host = loaded(start_host, limits)

    def overstays() -> bool:
        """Calls it, and says whether its handler has begun in time, and so goes on."""
        call = host.call(entry, body=b"hold")
        assert call.handle != Status.OK or call.reply.text.startswith("TimeoutError: ")
        return count(host, entry, "running") == 1

    until(overstays)
    assert refusals(host, entry, 10) == {Status.ERR}
    host.call("go", body=b"hold")
    until(lambda: host.call(entry).handle == Status.OK)


@ABIS
@pytest.mark.parametrize("entry", UNARY + STREAMS)
def test_the_count_is_right_after_a_storm(start_host: StartHost, limits: Path, entry: str, abi: Abi) -> None:
    host = loaded(start_host, limits, abi)
    entry, kind = f"storm_{entry}", kind_of(entry)
    calls = 3000
    storm = host.storm(calls=calls, threads=8, window=16, body_size=0, **{kind: entry})  # type: ignore[arg-type]
    assert storm.accepted + storm.refused == calls
    assert (storm.terminals, storm.no_reply, storm.timeouts) == (storm.accepted, 0, 0)
    assert set(storm.refused_by_status) <= {REFUSALS[abi].name.title()}
    assert count(host, entry, "refused") == storm.refused
    threads = THREADS if entry == "storm_duplex" else STORM_LIMIT
    sids = take(host, entry, threads)
    assert refusals(host, entry, 10) == {REFUSALS[abi]}
    host.call("go", body=b"hold")
    for sid in sids:
        assert host.wait(sid).frames[0].data == b"done"


# ---- the plugin's limits ----


@ABIS
def test_a_plugin_s_max_pending_is_each_coroutine_entry_s(start_host: StartHost, limits: Path, abi: Abi) -> None:
    host = loaded(start_host, limits, abi, env={"TEST_MAX_PENDING": "3"})
    sids = take(host, "one", 3)
    assert refusals(host, "one", 5) == {REFUSALS[abi]}
    sids += take(host, "other", 3)
    assert refusals(host, "other", 5) == {REFUSALS[abi]}
    chats = take(host, "chat", 20)  # a stream is open as long as its host wants
    host.call("go", body=b"hold")
    assert [host.wait(sid).reply.data for sid in sids] == [b""] * 6
    for sid in chats:
        assert host.stream_data(sid, b"x") == Status.OK
        assert host.stream_close(sid) == Status.OK
        assert host.wait(sid).data == [b"x", b""]


@ABIS
def test_threads_for_plain_duplex_handlers_are_limited(start_host: StartHost, limits: Path, abi: Abi) -> None:
    host = loaded(start_host, limits, abi, env={"TEST_WORKERS": "1"})
    before = host.process().threads
    for turn in range(3):
        sids = take(host, "s_chat", THREADS)
        assert refusals(host, "s_chat", 10) == refusals(host, "duplex", 10) == {REFUSALS[abi]}
        assert count(host, "duplex", "refused") == 10 * (turn + 1)
        for sid in sids:
            assert host.stream_data(sid, b"x") == Status.OK
            assert host.wait(sid, frames=1).data == [b"x"]
        entries = ("queued", "one", "a_duplex")
        others = [host.submit(entry, kind=kind_of(entry), body=b"others").sid for entry in entries]
        host.call("go", body=b"others")
        assert [host.wait(sid).data[-1] for sid in others] == [b""] * 3
        for sid in sids:
            assert host.stream_close(sid) == Status.OK
            assert host.wait(sid).data == [b""]
    assert host.process().threads <= before + THREADS + 3  # the timer, and one that ends


def test_threads_are_given_back_after_a_storm(start_host: StartHost, limits: Path) -> None:
    host = loaded(start_host, limits)
    storm = host.storm(calls=3000, threads=8, window=16, body_size=0, stream="s_chat")
    assert (storm.accepted + storm.refused, storm.terminals) == (3000, storm.accepted)
    sids = take(host, "s_chat", THREADS)
    assert refusals(host, "s_chat", 10) == {Status.ERR}
    assert [host.stream_close(sid) for sid in sids] == [Status.OK] * THREADS


# ---- memory ----


@ABIS
@pytest.mark.parametrize("entry", ["queued", "one", "pooled", "s_chat", "a_generator"])
def test_a_flood_takes_no_memory(start_host: StartHost, limits: Path, entry: str, abi: Abi) -> None:
    workers = 2
    host = start_host(env={"TEST_MAX_PENDING": "3", "TEST_WORKERS": str(workers)})
    assert host.load(limits, abi=abi, ledger=False) == Status.OK
    until(lambda: refusals(host, entry, 10) == {REFUSALS[abi]})
    until(lambda: count(host, entry, "running") >= workers)  # the last of them has made room in the queue
    until(lambda: refusals(host, entry, 10) == {REFUSALS[abi]})

    def flood(calls: int) -> int:
        storm = host.storm(calls=calls, threads=4, body_size=4096, **{kind_of(entry): entry})  # type: ignore[arg-type]
        assert (storm.refused, storm.accepted) == (calls, 0)
        host.malloc_trim()
        return host.process().rss_kib

    flood(10_000)
    before = flood(10_000)
    assert flood(fewer(100_000)) < before + 4096 or not memory_counts()
    host.call("go", body=b"hold")


def test_a_flood_of_frames_takes_no_memory(start_host: StartHost, limits: Path) -> None:
    host = loaded(start_host, limits)
    sid = host.submit("deaf", kind="stream", body=b"hold").sid
    while host.stream_data(sid, b"x" * 4096) == Status.OK:
        pass
    before = host.process().rss_kib
    for _ in range(10_000):
        assert host.stream_data(sid, b"x" * 4096) == Status.ERR
    assert host.process().rss_kib < before + 4096 or not memory_counts()
    host.call("go", body=b"hold")
    assert host.wait(sid).data == [b""]
