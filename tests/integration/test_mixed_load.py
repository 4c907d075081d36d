"""Every kind of handler at once, from sixteen threads of the host: what was accepted is answered, and nothing grows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, memory_counts, until
from nrhost import Abi, Counts, NrHost

PLUGIN = """
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from nylon_ring_py import Plugin

# A queue is as large as max_pending: with less of it every place has been used after the first round.
plugin = Plugin("mixed", max_pending=1024, shutdown_timeout_s=5)

@dataclass
class Record:
    number: int
    text: str

@plugin.handle_sync("sync")
def sync(req): return req.body

@plugin.handle_raw("raw")
def raw(body): return body

@plugin.handle_raw("raw_sync", sync=True)
def raw_sync(body): return body

@plugin.handle("pooled")
def pooled(req): return req.body

@plugin.handle("coroutine")
async def coroutine(req):
    await asyncio.sleep(0)
    return req.body

@plugin.handle("executor", executor=lambda: ThreadPoolExecutor(2))
def executor(req): return req.body

@plugin.handle("typed", codec="json")
def typed(body: Record) -> Record: return body

@plugin.handle("failing")
def failing(req): raise ValueError("on purpose")

@plugin.handle("failing_coroutine")
async def failing_coroutine(req):
    await asyncio.sleep(0)
    raise ValueError("on purpose")

@plugin.handle("generator")
def generator(req):
    yield from pieces(req.body)

@plugin.handle("async_generator")
async def async_generator(req):
    for piece in pieces(req.body):
        yield piece
        await asyncio.sleep(0)

def pieces(body): return [body[i:i + 16] for i in range(0, len(body), 16)]

@plugin.handle("hooks", stream=True)
def hooks(req): return None

@plugin.stream_data
def on_data(sid, data): return data

@plugin.stream("object")
def duplex_object(stream):
    for frame in stream:
        stream.send(frame)

@plugin.stream("async_object")
async def async_object(stream):
    async for frame in stream:
        await stream.send(frame)

@plugin.handle("limited", max_pending=2)
async def limited(req):
    await asyncio.sleep(0.001)
    return req.body

@plugin.handle_sync("stats")
def stats(req): return json.dumps(plugin.stats().to_dict())
"""


@dataclass(frozen=True)
class Callers:
    """Of one entry: threads, and the calls of a round that they make between them."""

    entry: str
    calls: int
    threads: int = 1
    kind: str = "unary"
    body: int = 128
    pieces: int = 8
    door: str = "handle"
    json: bool = False

    def start(self, host: NrHost, **end: object) -> int:
        """Have them begin; NrHost.join_callers waits for them."""
        keys = {"threads": self.threads, "kind": self.kind, "body_size": self.body, "pieces": self.pieces}
        return host.start_callers(self.entry, door=self.door, json=self.json, **keys, **end)


#: Sixteen threads.
CALLERS = (
    Callers("sync", 8000),
    Callers("raw", 3000, door="raw"),
    Callers("raw_sync", 8000, door="fast"),
    Callers("pooled", 3000),
    Callers("coroutine", 3000),
    Callers("executor", 1500),
    Callers("typed", 3000, json=True),
    Callers("failing", 500),
    Callers("failing_coroutine", 500),
    Callers("generator", 1000, kind="stream"),
    Callers("async_generator", 1000, kind="stream"),
    Callers("hooks", 1000, kind="duplex"),
    Callers("object", 300, kind="duplex"),
    Callers("async_object", 1000, kind="duplex"),
    Callers("limited", 200, threads=2),
)
THREADS = sum(callers.threads for callers in CALLERS)
FAILING = ("failing", "failing_coroutine")

#: Each stream of these has more frames than its inbox and its host have room for.
LONG = tuple(Callers(entry, 2, kind="duplex", body=2500, pieces=2500) for entry in ("hooks", "object", "async_object"))


@pytest.fixture(scope="module")
def mixed(build_once: BuildPlugin) -> Path:
    return build_once(PLUGIN, "mixed")


def check(callers: Callers, counts: Counts) -> None:
    """Every accepted call was answered, and those of entries that fail alone were wrong."""
    wrong = counts.accepted if callers.entry in FAILING else 0
    assert (counts.replies, counts.wrong, counts.lost) == (counts.accepted, wrong, 0), callers


def run_round(host: NrHost) -> dict[str, Counts]:
    """All callers side by side, to their end."""
    jobs = [(callers, callers.start(host, calls=callers.calls)) for callers in CALLERS]
    tallies = {callers.entry: host.join_callers(job) for callers, job in jobs}
    for callers in CALLERS:
        check(callers, tallies[callers.entry])
        assert tallies[callers.entry].accepted + tallies[callers.entry].refused == callers.calls
    return tallies


def stats(host: NrHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.call("stats").reply.text)
    return found


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_all_kinds_at_once(start_host: StartHost, mixed: Path, abi: Abi) -> None:
    host = start_host()
    host.load(mixed, abi=abi, stream_capacity=4)
    assert THREADS == 16
    tallies = run_round(host)
    accepted = {entry: counts.accepted for entry, counts in tallies.items()}
    assert {entry for entry, counts in tallies.items() if counts.refused} <= {"limited"}

    # The last frame of a call reaches the host before its handler's end is counted; the one that tells runs.
    until(lambda: stats(host)["totals"]["running"] == 1)
    found = stats(host)
    assert {entry: found["entries"][entry]["calls"] for entry in accepted} == accepted
    errors = {name: entry["errors"] for name, entry in found["entries"].items() if entry["errors"]}
    assert errors == {entry: accepted[entry] for entry in FAILING}
    assert found["totals"]["errors"] == sum(errors.values())
    assert found["totals"]["refused"] == found["entries"]["limited"]["refused"] == tallies["limited"].refused
    assert (found["totals"]["queued"], found["late_replies"], found["frames_dropped"]) == (0, 0, 0)
    assert all(entry["latency"]["count"] for entry in found["entries"].values())


@pytest.mark.long
@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_memory_is_flat(start_host: StartHost, mixed: Path, abi: Abi) -> None:
    host = start_host()
    host.load(mixed, abi=abi, stream_capacity=4, ledger=False)
    rss_kib: list[int] = []
    # Twenty bytes of each call would be more. A busy machine may need one worker more in a later round.
    while len(rss_kib) < 3 or (rss_kib[-1] - rss_kib[-2] >= 640 and len(rss_kib) < 6):
        run_round(host)
        rss_kib.append(host.process().rss_kib)
    if memory_counts():
        assert rss_kib[-1] - rss_kib[-2] < 640, rss_kib


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_refused_frames_go_again(start_host: StartHost, mixed: Path, abi: Abi) -> None:
    """What an inbox has no room for is sent once more, and nothing comes twice or out of order."""
    host = start_host()
    host.load(mixed, abi=abi, stream_capacity=4)
    jobs = [(callers, callers.start(host, calls=callers.calls)) for callers in LONG]
    for callers, job in jobs:
        counts = host.join_callers(job)
        check(callers, counts)
        assert counts.accepted == callers.calls
    assert stats(host)["frames_dropped"] == 0


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_an_unload_under_all_kinds(start_host: StartHost, mixed: Path, abi: Abi) -> None:
    """Whatever a call was at, it has its one answer before the unload is over."""
    host = start_host()
    right = [callers for callers in CALLERS if callers.entry not in FAILING]
    for _ in range(5):
        host.load(mixed, abi=abi, stream_capacity=4)
        jobs = [(callers, callers.start(host, until="unload")) for callers in right]
        until(lambda: all(stats(host)["entries"][callers.entry]["calls"] > 10 for callers in right))
        host.unload()
        for callers, job in jobs:
            counts = host.join_callers(job)
            check(callers, counts)
            assert counts.accepted > 10


ENDING = """
import asyncio
from nylon_ring_py import Plugin

plugin = Plugin("ending", max_buffered=1, shutdown_timeout_s=1)
kept = []
sent = 0

@plugin.on_init
async def watch():
    # Runs where a task has ended, before the loop's own code goes on: the memory that was let go is used again.
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon
    def call_soon_and_use_memory(*args, **kwargs):
        kept.extend(tuple([loop] * length) for length in range(6, 13) for _ in range(500))
        return call_soon(*args, **kwargs)
    loop.call_soon = call_soon_and_use_memory

@plugin.stream("three")
async def three(stream):
    asyncio.current_task().add_done_callback(print)
    global sent
    sent = 0
    for number in range(3):
        await stream.send(str(number))
        sent += 1

@plugin.handle_sync("sent")
def get_sent(req): return str(sent)
"""


def test_a_task_that_ends_when_there_is_room(start_host: StartHost, build: BuildPlugin) -> None:
    """It runs, and its Stream goes, while the loop looks who else waits for room."""
    host = start_host()
    host.load(build(ENDING), abi="v2", stream_capacity=1)
    for _ in range(5):
        call = host.submit("three", kind="stream")
        until(lambda: host.call("sent").reply.text == "2")  # the host and the outbox have one each, the third waits
        assert [frame.text for frame in host.wait(call.sid).frames] == ["0", "1", "2", ""]
