"""What is measured, one function for each line or pair of lines of the table, and what each is held to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import HERE, Tools, build_command, wall_ns
from benchmarks.report import Row, Target

FRAMES = 1000  # of one stream, in plugin.py

Peer = Callable[[Tools, int], list[float]]


@dataclass
class Case:
    """Rows that one measurement fills.

    Args:
        rows: what it fills, in the order of the values it gives.
        ours: measures our side: tools, and how many calls; one value for each row.
        other: measures what stands beside it, or None.
        calls: of a full run.
    """

    rows: list[Row]
    ours: Peer
    other: Peer | None
    calls: int

    def once(self, tools: Tools, calls: int, *, others_first: bool) -> None:
        """Measure both sides once, in one order or the other."""
        sides = [(self.ours, "ours"), (self.other, "others")]
        for peer, name in reversed(sides) if others_first else sides:
            if peer is not None:
                for row, value in zip(self.rows, peer(tools, calls), strict=True):
                    getattr(row, name).append(value)


@dataclass
class Hops:
    """How far the cores were from each other, in nanoseconds, with each measurement that passes between threads."""

    seen: list[float] = field(default_factory=list)

    def note(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Keep it, and give the figures on."""
        self.seen.append(figures["hop_ns"])
        return figures


def inside(plugin: str, entry: str, kind: str, threads: int = 1) -> Peer:
    """Calls that are answered inside handle: nanoseconds a call, or calls a second of several threads."""

    def peer(tools: Tools, calls: int) -> list[float]:
        figures = tools.bench(path(tools, plugin), entry, kind, calls=calls, threads=threads)
        return [figures["ns_per_call"] if threads == 1 else figures["calls_per_s"]]

    return peer


def path(tools: Tools, plugin: str) -> Path:
    """The plugin or the floor."""
    return tools.floor if plugin == "floor" else tools.plugin


def submit(hops: Hops, **options: object) -> Peer:
    """How long handle takes of the host's time, the clock's share taken off: p50 and p99."""

    def peer(tools: Tools, calls: int) -> list[float]:
        figures = hops.note(tools.bench(tools.plugin, "pool", "submit", calls=calls, **options))
        return [max(figures[key] - figures["clock_ns"], 0.0) for key in ("p50_ns", "p99_ns")]

    return peer


def pooled(hops: Hops, entry: str, kind: str, *keys: str) -> Peer:
    """Calls that workers answer."""

    def peer(tools: Tools, calls: int) -> list[float]:
        figures = hops.note(tools.bench(tools.plugin, entry, kind, calls=calls))
        return [figures[key] for key in keys]

    return peer


def load_first(tools: Tools, calls: int) -> list[float]:
    """From opening the file to the first reply, and the memory it takes, Python and all."""
    figures = tools.bench(tools.plugin, "sync", "load")
    return [float(figures["first_reply_ns"]), float(figures["rss_kib"])]


def python_alone(tools: Tools, calls: int) -> list[float]:
    """A Python that starts and ends, process and all; and the memory it takes inside the floor, without `site`."""
    figures = tools.bench(tools.floor, "sync", "load")
    return [wall_ns([sys.executable, "-I", "-c", "pass"]), float(figures["rss_kib"])]


def load_second(tools: Tools, calls: int) -> list[float]:
    """The same of one more plugin in the same process."""
    figures = tools.bench(tools.plugin, "sync", "load", second=tools.second)
    return [float(figures["second_first_reply_ns"]), float(figures["second_rss_kib"])]


def build(tools: Tools, calls: int) -> list[float]:
    """One file built into a plugin, as a user would."""
    return [wall_ns(build_command(HERE / "plugin.py", tools.plugin.with_name("again.so")))]


def all_cases(hops: Hops) -> list[Case]:
    """Every case, in the order of the table."""
    at_most_200ns, at_most_2us = Target(200, "at most"), Target(2000, "at most")
    busy = {"window": 1000, "pace": 5000, "busy": "busy", "busy_end": "busy_end"}
    first = [
        Row("load to first reply", "ns", beside="python -I -c pass"),
        Row("memory of the first plugin, with Python", "KiB"),
    ]
    second = [Row("second plugin: load to first reply", "ns"), Row("second plugin: memory", "KiB")]
    return [
        Case(
            [Row("handle_sync, 128 B, 3 headers", "ns", Target(1.5, "ratio"))],
            inside("ours", "sync", "unary"),
            inside("floor", "sync", "unary"),
            1_000_000,
        ),
        Case(
            [Row("handle_raw(sync=True), 128 B", "ns")],
            inside("ours", "raw", "raw"),
            inside("floor", "raw", "raw"),
            1_000_000,
        ),
        Case(
            [Row("handle_sync, 2 threads together", "/s")],
            inside("ours", "sync", "unary", 2),
            inside("floor", "sync", "unary", 2),
            400_000,
        ),
        Case(
            [Row("pool: handle returns, p50", "ns"), Row("pool: handle returns, p99", "ns")],
            submit(hops),
            None,
            200_000,
        ),
        Case(
            [Row("pool, a call each 5 µs: p50", "ns"), Row("pool, a call each 5 µs: p99", "ns")],
            submit(hops, window=1000, pace=5000),
            None,
            20_000,
        ),
        Case(
            [
                Row("the same, Python busy: p50", "ns", at_most_200ns),
                Row("the same, Python busy: p99", "ns", at_most_2us),
            ],
            submit(hops, **busy),
            None,
            20_000,
        ),
        Case(
            [Row("pool: throughput", "/s", Target(2e6, "at least"))],
            pooled(hops, "pool", "throughput", "calls_per_s"),
            None,
            1_000_000,
        ),
        Case(
            [Row("pool: round trip, p50", "ns"), Row("pool: round trip, p99", "ns")],
            pooled(hops, "pool", "roundtrip", "p50_ns", "p99_ns"),
            None,
            50_000,
        ),
        Case(
            [Row("generator: frames of 128 B", "/s", Target(3e6, "at least"))],
            pooled(hops, "gen", "stream", "frames_per_s"),
            None,
            1_000_000 // FRAMES,
        ),
        Case(first, load_first, python_alone, 1),
        Case(second, load_second, None, 1),
        Case([Row("build-plugin, one file", "ns", Target(1e9, "at most"))], build, None, 1),
    ]
