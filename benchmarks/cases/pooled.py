"""Calls that a worker answers: how soon handle returns, how soon the reply comes, and how many a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.contestants import BUSY, SHARES, can, figures, who
from benchmarks.model import Case, Measure, Point, Row, Section, at_least, at_most
from benchmarks.tools import Tools

PERCENTILES = {"p50_ns": "p50", "p99_ns": "p99", "p999_ns": "p99.9"}
PACE_NS = 5000
# cffi takes the GIL to submit, and is let in after 5 ms.
BUSY_SHARES = {"cffi": 0.01}
ALSO_IDLE = "C, Rust and Go have no Python to keep busy: they are as idle as in the row before"


def _submit(**options: object) -> Callable[[str], Measure]:
    """How long handle takes of the host's time, the clock's share taken off."""

    def of(contestant: str) -> Measure:
        busy = BUSY if options.get("is_busy") and can(contestant, "v1", "busy") else {}
        given = {name: value for name, value in options.items() if name != "is_busy"}

        def measure(tools: Tools, calls: int) -> list[float]:
            found = tools.bench(contestant, "pool", "submit", calls=calls, **given, **busy)
            return [max(found[key] - found["clock_ns"], 0.0) for key in PERCENTILES]

        return measure

    return of


def _percentiles(key: str, title: str, plot: str, limits: dict[str, tuple[float, ...]], note: str = "") -> list[Row]:
    return [
        Row(
            f"{key}.{name}",
            f"{title}, {name}",
            "ns",
            tuple(map(at_most, limits.get(name, ()))),
            Point(plot, name),
            note,
        )
        for name in PERCENTILES.values()
    ]


def pooled(tools: Tools) -> Section:
    """Every case of the pool, in the order of the table."""
    idle = _percentiles("c.submit_idle", "handle returns, Python idle", "pooled submit, Python idle", {})
    busy = _percentiles(
        "c.submit_busy",
        "handle returns, Python busy",
        "pooled submit, Python busy",
        {"p50": (100.0,), "p99": (1000.0,)},
        ALSO_IDLE,
    )
    burst = _percentiles("c.submit_burst", "handle returns, call upon call", "pooled submit, call upon call", {})
    trip = _percentiles(
        "c.trip", "round trip, spinning host", "pooled round trip", {"p50": (1000.0,), "p99": (20_000.0,)}
    )
    rate = Row("c.throughput", "throughput", "/s", (at_least(3e6), at_least(2, "go")))

    def case(rows: list[Row], of: Callable[[str], Measure], calls: int, shares: Mapping[str, float] = SHARES) -> Case:
        return Case(rows, who(tools, "v1", "pool", of, pythons=True), calls, 2, shares=shares)

    paced = {"window": 1000, "pace": PACE_NS}
    return Section(
        f"C host, ABI v1: pooled; a call each {PACE_NS // 1000} µs where none other is said",
        [
            case(idle, _submit(**paced), 20_000),
            case(busy, _submit(**paced, is_busy=True), 20_000, BUSY_SHARES),
            case(burst, _submit(), 200_000),
            case([rate], figures("pool", "throughput", "calls_per_s"), 1_000_000),
            case(trip, figures("pool", "roundtrip", *PERCENTILES), 50_000),
        ],
    )
