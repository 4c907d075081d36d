"""Rust hosts that await one call at a time: our host for ABI v1, and the released crate nylon-ring-host for v2."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.cases.c_host import INSIDE
from benchmarks.contestants import SHARES, who
from benchmarks.model import BORROW, OURS, Case, Limit, Measure, Row, Section, at_most
from benchmarks.tools import BODY, Tools

LONG = 64 * 1024
INTO_PYTHON = "calling Python at all takes longer than the Rust plugin's whole answer"
FROM_THREADS = (
    "the host copies each frame on our thread and frees it on its own, so both wait for the lock of glibc's malloc, "
    "and the host's task is woken by the kernel. Where the time goes: `perf record -g "
    "host-harness/rust/target/release/nylon-ring-host bench build/bench/plugin.so gen --kind stream --calls 500000`, "
    "then `perf report --no-children --sort comm,symbol`"
)
METADATA = ["--method", "GET", "--path", "/p", "--header", "a: 1", "--header", "b: 2", "--header", "c: 3"]


OBSTACLES = {
    "unary": INTO_PYTHON,
    "frame": "the Rust plugin's frames are there before the host's task reads: none goes from core to core; "
    "the next row has them sent by a thread",
}


def _ns(found: dict[str, Any]) -> float:
    """Nanoseconds a call; a frame of a stream."""
    ns = float(found["ns_per_call"])
    return ns if found["kind"] != "stream" or found.get("per") == "frame" else ns / float(found["frames_per_call"])


def _cores(entry: str) -> int:
    """Two where another thread than the host's answers."""
    return 2 if entry in {"pool", "gen"} else 1


def _v1(entry: str, kind: str) -> Callable[[str], Measure]:
    def of(contestant: str) -> Measure:
        def measure(tools: Tools, calls: int) -> list[float]:
            with tempfile.NamedTemporaryFile(prefix="nylon-bench-") as body:
                body.write(bytes(BODY))
                body.flush()
                options = ["--calls", str(calls), "--body", f"@{body.name}", *(METADATA if kind == "unary" else [])]
                return [_ns(tools.rust_v1(contestant, entry, kind, *options))]

        return measure

    return of


def _v2(entry: str, kind: str, size: int) -> Callable[[str], Measure]:
    def of(contestant: str) -> Measure:
        def measure(tools: Tools, calls: int) -> list[float]:
            return [_ns(tools.rust_v2(contestant, entry, kind, size, "--calls", str(calls)))]

        return measure

    return of


def _all_from_workers(tools: Tools) -> Case:
    """A stream's frame, where nobody sends inside `handle`."""
    inside, away = _v1("gen", "stream"), _v1("gen_worker", "stream")
    contestants = {**who(tools, "v1", "gen", inside, pythons=True), **who(tools, "v1", "gen_worker", away)}
    title = "a frame of a generator, all from another thread"
    row = Row("rust_v1.frame_worker", title, "ns", (at_most(1.5, "rust"),), obstacle=FROM_THREADS)
    return Case([row], contestants, 500_000, 2, shares=SHARES)


def rust_v1(tools: Tools) -> Section:
    """Our Rust host, ABI v1."""

    def case(key: str, title: str, entry: str, kind: str, *limits: Limit, calls: int = 400_000, note: str = "") -> Case:
        row = Row(f"rust_v1.{key}", title, "ns", limits, note=note, obstacle=OBSTACLES.get(key, ""))
        return Case([row], who(tools, "v1", entry, _v1(entry, kind), pythons=True), calls, _cores(entry), shares=SHARES)

    unary = at_most(1.3, "rust"), at_most(1 / 2, "go")
    return Section(
        "Rust host, ABI v1, 128 B: awaits one at a time",
        [
            case("unary", "handle_sync, 3 headers", "sync", "unary", *unary),
            case("raw", "handle_raw(sync=True)", "raw", "raw"),
            case("fast", "handle_raw(sync=True), call_raw_unary_fast", "raw", "fast"),
            case("frame", "a frame of a generator", "gen", "stream", at_most(1.5, "rust"), calls=500_000, note=INSIDE),
            _all_from_workers(tools),
            case("pool", "handle, 3 headers: answered by a worker", "pool", "unary", at_most(1, "go"), calls=20_000),
        ],
    )


def _borrowed(tools: Tools) -> Case:
    """Ours lent the host's memory, beside the others' owned bytes."""
    measure = _v2("owned", "bytes", LONG)
    contestants = who(tools, "v2", "owned", measure, pythons=True)
    for name in contestants:
        if name.split()[0] == OURS:
            contestants[name] = measure(name.replace(OURS, BORROW, 1))
    row = Row("rust_v2.long_borrow", "64 KiB, call_response_bytes, borrow=True", "ns", (at_most(1.1, "c"),))
    return Case([row], contestants, 50_000, 1, shares=SHARES)


def rust_v2(tools: Tools) -> Section:
    """The released crate, ABI v2."""

    def case(
        key: str,
        title: str,
        entry: str,
        kind: str,
        *limits: Limit,
        size: int = BODY,
        calls: int = 400_000,
        pythons: bool = False,
        note: str = "",
    ) -> Case:
        row = Row(f"rust_v2.{key}", title, "ns", limits, note=note)
        contestants = who(tools, "v2", entry, _v2(entry, kind, size), pythons=pythons)
        return Case([row], contestants, calls, _cores(entry), shares=SHARES)

    call, fast = (at_most(2, "c"), at_most(1, "go")), (at_most(1.15, "floor"), at_most(1, "go"))
    return Section(
        "nylon-ring-host 0.2, ABI v2, 128 B where nothing else is said: awaits one at a time",
        [
            case("raw", "handle_raw(sync=True), call_response", "raw", "call_response", *call, pythons=True),
            case("sync", "handle_sync, call_response", "sync", "call_response"),
            case("id", "handle_raw(sync=True), by number", "raw", "id"),
            case("bytes", "handle_raw(sync=True), call_response_bytes", "raw", "bytes"),
            case("fast", "handle_raw(sync=True), call_response_fast", "raw", "fast", *fast, pythons=True),
            case("long", "64 KiB, call_response", "raw", "call_response", size=LONG, calls=50_000),
            case(
                "long_bytes",
                "64 KiB, call_response_bytes",
                "owned",
                "bytes",
                at_most(1.5, "c"),
                size=LONG,
                calls=50_000,
                pythons=True,
            ),
            _borrowed(tools),
            case("pool", "pooled, call_response", "pool", "call_response", calls=20_000),
            case("frame", "a frame of a generator", "gen", "stream", calls=400),
        ],
    )
