"""Coroutines, duplex streams, executors and codecs, with what each is made of beside it."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases.c_host import FRAMES
from benchmarks.contestants import SHARES, figures, who
from benchmarks.measure import HERE, figures_of, run
from benchmarks.model import OURS, Case, Measure, Row, Section, at_least, at_most
from benchmarks.tools import Tools

IN_FLIGHT = 1000
MANY_STREAMS = 64
IDLE_STREAMS = 10_000
IDLE_LIMIT_KIB = 20 * 1024

ASYNCIO, POOL, HOOK = "bare asyncio", "ours, pool", "ours, stream_data hook"
CODECS = "msgspec, orjson"
GOROUTINES = "of Go each call is a goroutine of its own"
BACK_AT_ONCE = (
    "the peers send a frame back inside stream_data, on the host's own thread, as Go's SDK does: none crosses from "
    "one thread to another; ours goes to a handler on a thread of its own, which may wait for the next one"
)


def _script(name: str, *arguments: object) -> dict[str, Any]:
    """What a file of this folder prints, run by this Python."""
    return figures_of([sys.executable, "-P", str(HERE / name), *map(str, arguments)])


def _loop(entry: str, kind: str, *keys: str, **options: object) -> Measure:
    """Calls or frames of the plugin with an event loop; one value for each key."""

    def measure(tools: Tools, calls: int) -> list[float]:
        found = tools.bench_loops(entry, kind, calls=calls, **options)
        return [float(found[key]) for key in keys]

    return measure


def _pool(kind: str, *keys: str, **options: object) -> Measure:
    """The same work by our pool."""

    def measure(tools: Tools, calls: int) -> list[float]:
        found = tools.bench(OURS, "pool", kind, calls=calls, **options)
        return [float(found[key]) for key in keys]

    return measure


def _bare_tasks(tools: Tools, calls: int) -> list[float]:
    return [float(_script("bare_tasks.py", "tasks", "--calls", calls, "--window", IN_FLIGHT)["calls_per_s"])]


def _tasks(tools: Tools) -> Case:
    in_flight = figures("pool", "throughput", "calls_per_s", window=IN_FLIGHT)
    contestants = {
        OURS: _loop("task", "throughput", "calls_per_s", window=IN_FLIGHT),
        **{name: measure for name, measure in who(tools, "v1", "pool", in_flight).items() if name == "go"},
        ASYNCIO: _bare_tasks,
        POOL: _pool("throughput", "calls_per_s", window=IN_FLIGHT),
    }
    row = Row("async.tasks", "async def, 1,000 in flight", "/s", (at_least(500e3),), note=GOROUTINES)
    return Case([row], contestants, 200_000, 2)


def _echo(tools: Tools, title: str, entry: str, streams: int) -> Case:
    peers = who(tools, "v1", "echo", figures("echo", "echo", "frames_per_s", streams=streams))
    contestants = {
        OURS: _loop(entry, "echo", "frames_per_s", streams=streams),
        HOOK: _loop("hooks", "echo", "frames_per_s", streams=streams),
        **peers,
    }
    row = Row(f"duplex.{entry}.{streams}", title, "/s", (at_least(300e3),), note=BACK_AT_ONCE)
    return Case([row], contestants, 200_000, 2, quick=entry == "async_echo", shares=SHARES)


def _idle() -> Case:
    def bare(tools: Tools, calls: int) -> list[float]:
        return [float(_script("bare_tasks.py", "idle", "--streams", IDLE_STREAMS)["rss_kib"])]

    contestants = {OURS: _loop("async_echo", "idle", "rss_kib", streams=IDLE_STREAMS, body=0), ASYNCIO: bare}
    row = Row("duplex.idle_rss", "10,000 idle async streams: memory", "KiB", (at_most(IDLE_LIMIT_KIB),))
    return Case([row], contestants, 1, quick=False)


def _codec() -> Case:
    """Both sides come from one run, in which they take turns: it is the measurement of both."""

    def both(key: str) -> Measure:
        def measure(tools: Tools, calls: int) -> list[float]:
            with tempfile.NamedTemporaryFile(prefix="nylon-bench-") as file:
                options = ["--rounds", "5", "--calls", str(calls), "--json", file.name]
                run([sys.executable, "-P", str(HERE / "codec.py"), *options])
                return [float(json.loads(Path(file.name).read_text())[key])]

        return measure

    row = Row("codec.json", "codec json, typed body of 1 KiB, no host", "ns", (at_most(2, CODECS),))
    return Case([row], {OURS: both("ours_ns"), CODECS: both("direct_ns")}, 2000, 1, quick=False)


def _executor() -> Case:
    keys = {"p50_ns": "p50", "p99_ns": "p99"}
    rows = [Row(f"executor.{name}", f"executor of one thread: round trip, {name}", "ns") for name in keys.values()]
    contestants = {OURS: _loop("threads", "roundtrip", *keys), POOL: _pool("roundtrip", *keys)}
    return Case(rows, contestants, 2000, 2, quick=False)


def loops(tools: Tools) -> Section:
    """Every case, in the order of the table."""
    frames = Row("async.gen", "async generator: frames of 128 B", "/s")
    return Section(
        "Coroutines, duplex streams, executors, codecs",
        [
            _tasks(tools),
            Case([frames], {OURS: _loop("async_gen", "stream", "frames_per_s")}, 400_000 // FRAMES, 2),
            _echo(tools, "async Stream, echo, 1 stream: frames", "async_echo", 1),
            _echo(tools, f"async Stream, echo, {MANY_STREAMS} streams", "async_echo", MANY_STREAMS),
            _echo(tools, "plain-def Stream, echo, 1 stream", "sync_echo", 1),
            _echo(tools, f"plain-def Stream, echo, {MANY_STREAMS} streams", "sync_echo", MANY_STREAMS),
            _idle(),
            _executor(),
            _codec(),
        ],
    )
