"""Coroutines, duplex streams, executors and codecs: what each is held to, and what stands beside it."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import FRAMES, Case, Hops, Peer
from benchmarks.measure import HERE, Tools, run
from benchmarks.report import Row, Target

IN_FLIGHT = 1000
MANY_STREAMS = 64
IDLE_STREAMS = 10_000
IDLE_LIMIT_KIB = 20 * 1024

AT_LEAST_300K = Target(300e3, "at least")


def _script(name: str, *arguments: object) -> dict[str, Any]:
    """What a file beside this one prints, run by this Python."""
    figures: dict[str, Any] = json.loads(run([sys.executable, "-P", str(HERE / name), *map(str, arguments)]))
    return figures


def _loop(hops: Hops, entry: str, kind: str, *keys: str, **options: object) -> Peer:
    """Calls or frames of the plugin with an event loop; one value for each key."""

    def peer(tools: Tools, calls: int) -> list[float]:
        figures = hops.note(tools.bench(tools.loop, entry, kind, calls=calls, **options))
        return [figures[key] for key in keys]

    return peer


def _tasks(hops: Hops) -> Case:
    def ours(tools: Tools, calls: int) -> list[float]:
        return _loop(hops, "task", "throughput", "calls_per_s", window=IN_FLIGHT)(tools, calls) * 2

    def others(tools: Tools, calls: int) -> list[float]:
        pool = tools.bench(tools.plugin, "pool", "throughput", calls=calls, window=IN_FLIGHT)
        bare = _script("bare_tasks.py", "tasks", "--calls", calls, "--window", IN_FLIGHT)
        return [bare["calls_per_s"], pool["calls_per_s"]]

    rows = [
        Row("async def, 1,000 in flight", "/s", AT_LEAST_300K, beside="bare asyncio.Task"),
        Row("the same", "/s", beside="pool"),
    ]
    return Case(rows, ours, others, 200_000)


def _echo(hops: Hops, title: str, entry: str, streams: int) -> Case:
    ours, others = (_loop(hops, name, "echo", "frames_per_s", streams=streams) for name in (entry, "hooks"))
    return Case([Row(title, "/s", AT_LEAST_300K, beside="stream_data hook")], ours, others, 200_000)


def _idle() -> Case:
    def ours(tools: Tools, calls: int) -> list[float]:
        return [float(tools.bench(tools.loop, "async_echo", "idle", streams=IDLE_STREAMS, body=0)["rss_kib"])]

    def others(tools: Tools, calls: int) -> list[float]:
        return [float(_script("bare_tasks.py", "idle", "--streams", IDLE_STREAMS)["rss_kib"])]

    row = Row(
        "10,000 idle async streams, opened without a body: memory",
        "KiB",
        Target(IDLE_LIMIT_KIB, "at most"),
        "asyncio.Task with asyncio.Queue",
    )
    return Case([row], ours, others, 1)


def _codec() -> Case:
    """Both sides come from one run, in which they take turns."""
    seen: list[float] = []

    def ours(tools: Tools, calls: int) -> list[float]:
        with tempfile.NamedTemporaryFile(prefix="nylon-bench-") as file:
            run(
                [
                    sys.executable,
                    "-P",
                    str(HERE / "codec.py"),
                    "--rounds",
                    "5",
                    "--calls",
                    str(calls),
                    "--json",
                    file.name,
                ]
            )
            figures = json.loads(Path(file.name).read_text())
        seen[:] = [figures["direct_ns"]]
        return [figures["ours_ns"]]

    def others(tools: Tools, calls: int) -> list[float]:
        if not seen:
            ours(tools, calls)
        return [seen.pop()]

    row = Row(
        "codec json, typed body of 1 KiB, no host",
        "ns",
        Target(2, "ratio"),
        "msgspec decodes and checks, it or orjson encodes",
    )
    return Case([row], ours, others, 2000)


def loop_cases(hops: Hops) -> list[Case]:
    """Every case, in the order of the table."""
    trips = ("p50_ns", "p99_ns")

    def pooled_trips(tools: Tools, calls: int) -> list[float]:
        figures = hops.note(tools.bench(tools.plugin, "pool", "roundtrip", calls=calls))
        return [figures[key] for key in trips]

    return [
        _tasks(hops),
        _echo(hops, "async Stream, echo, 1 stream: frames", "async_echo", 1),
        _echo(hops, f"async Stream, echo, {MANY_STREAMS} streams", "async_echo", MANY_STREAMS),
        _echo(hops, "plain-def Stream, echo, 1 stream", "sync_echo", 1),
        _echo(hops, f"plain-def Stream, echo, {MANY_STREAMS} streams", "sync_echo", MANY_STREAMS),
        Case(
            [Row("async generator: frames of 128 B", "/s")],
            _loop(hops, "async_gen", "stream", "frames_per_s"),
            None,
            400_000 // FRAMES,
        ),
        _idle(),
        Case(
            [
                Row("executor of one thread: round trip, p50", "ns", beside="pool"),
                Row("executor of one thread: round trip, p99", "ns", beside="pool"),
            ],
            _loop(hops, "threads", "roundtrip", *trips),
            pooled_trips,
            2000,
        ),
        _codec(),
    ]
