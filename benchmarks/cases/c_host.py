"""A C host, ABI v1: calls answered inside handle, their tail, and frames of a stream."""

from __future__ import annotations

from benchmarks.contestants import BUSY, SHARES, figures, who
from benchmarks.model import OURS, Case, Limit, Measure, Point, Row, Section, at_least, at_most
from benchmarks.peers.build import PEERS
from benchmarks.tools import Tools

FRAMES = 1000  # of one stream of `gen`
LONGEST_TAIL_NS = 1e6
BUSY_PACE_NS = 100_000
WAITS = (
    "ours has Python switch threads every 50 µs, the others leave it at the 5 ms that it comes with; on cores that "
    "other processes hold, the thread that computes hardly runs, and few calls wait for it"
)
CHECKS = (
    "what is between the two is what the floor leaves out: the host's pointers are checked, the entry is found by its "
    "whole name, and the call stands where a shutdown on another thread can answer it; `make budget` counts it"
)
INSIDE = "the C and the Rust plugin send their frames inside handle, the others from another thread"


def synchronous(tools: Tools) -> Section:
    """A call that its own thread answers."""
    sync = Row("c.sync", "handle_sync", "ns", (at_most(1.3, "floor"), at_most(1 / 4, "go")))
    elsewhere = Row("c.sync_elsewhere", "handle_sync, from another thread than the host's first", "ns")
    raw = Row("c.raw", "handle_raw(sync=True)", "ns", (at_most(1.2, "floor"), at_most(1 / 3.5, "go")), obstacle=CHECKS)

    def case(row: Row, entry: str, kind: str, **options: object) -> Case:
        measure = figures(entry, kind, "ns_per_call", **options)
        return Case([row], who(tools, "v1", entry, measure, pythons=True), 1_000_000, 1, shares=SHARES)

    return Section(
        "C host, ABI v1, 128 B, 3 headers: answered inside handle",
        [
            case(sync, "sync", "unary"),
            case(elsewhere, "sync", "unary", elsewhere=True),
            case(raw, "raw", "raw"),
        ],
    )


def _busy_share(contestant: str) -> float:
    """Each call of the others waits as long as CPython lets a thread compute when nobody says otherwise: 5 ms."""
    if contestant.startswith(OURS):
        return 1.0 if contestant == OURS else 0.3
    return 0.02 if contestant in PEERS else 0.01


def beside_python(tools: Tools) -> Section:
    """What a call waits for the GIL while another thread computes in Python and does not let go of it by itself.

    With a pause after each call: in one burst most of them are over before the thread that computes is back.
    """
    plot = "handle_sync while Python is busy"
    keys = {"p50_ns": "p50", "p90_ns": "p90", "p99_ns": "p99", "p999_ns": "p99.9", "max_ns": "worst"}
    rows = [
        Row(f"c.sync_busy.{name}", f"handle_sync, {name}", "ns", (), Point(plot, name), WAITS) for name in keys.values()
    ]
    measure = figures("sync", "latency", *keys, pace=BUSY_PACE_NS, **BUSY)
    contestants = who(tools, "v1", "busy", measure, pythons=True)
    return Section(
        f"C host, ABI v1: while another thread computes in Python; {BUSY_PACE_NS // 1000} µs between calls",
        [Case(rows, contestants, 10_000, 2, shares={name: _busy_share(name) for name in contestants})],
    )


def tail(tools: Tools) -> Section:
    """What two threads that call at once see at their worst, a million calls in all."""
    plot = "two threads in handle_sync"
    keys = {"p50_ns": "p50", "p99_ns": "p99", "p999_ns": "p99.9", "p9999_ns": "p99.99", "max_ns": "worst"}
    limits = {"p9999_ns": (at_most(LONGEST_TAIL_NS),)}
    rows = [
        Row(
            f"c.two_threads.{name}", f"handle_sync from 2 threads, {name}", "ns", limits.get(key, ()), Point(plot, name)
        )
        for key, name in keys.items()
    ]
    contestants = who(tools, "v1", "sync", figures("sync", "latency", *keys, threads=2), pythons=True)
    return Section(
        "C host, ABI v1: the tail of a million calls from two threads, each timed by itself",
        [Case(rows, contestants, 1_000_000, 2, whole=True, shares=SHARES)],
    )


def streams(tools: Tools) -> Section:
    """A stream's frames, from the thread that makes them to the host's counter."""
    inside = who(tools, "v1", "gen", figures("gen", "stream", "frames_per_s"), pythons=True)
    away = who(tools, "v1", "gen_worker", figures("gen_worker", "stream", "frames_per_s"))

    def case(key: str, title: str, contestants: dict[str, Measure], *limits: Limit, note: str = "") -> Case:
        row = Row(key, title, "/s", limits, note=note)
        return Case([row], contestants, 1_000_000 // FRAMES, 2, shares=SHARES)

    return Section(
        "C host, ABI v1: streams",
        [
            case("c.gen", "generator, frames of 128 B", inside, at_least(6e6), note=INSIDE),
            case("c.gen_worker", "generator, all from another thread", {**inside, **away}),
        ],
    )
