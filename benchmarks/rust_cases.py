"""What calls cost in Rust hosts, awaited one at a time, beside native plugins: our v1 host, and the released crate."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Peer
from benchmarks.measure import Tools, run
from benchmarks.report import Row, Target, Unit

BODY = 128
LONG = 64 * 1024
METADATA = ["--method", "GET", "--path", "/p", "--header", "a: 1", "--header", "b: 2", "--header", "c: 3"]

# Which plugin's file: ours, and the least that one in Rust (v1) or C (v2) does.
OURS, RUST, C = "ours", "rust", "c"


def _file(tools: Tools, whose: str) -> Path:
    assert tools.rust is not None
    return {OURS: tools.plugin, RUST: tools.rust / "libbench_peer.so", C: tools.peer}[whose]


def _figures(command: list[str]) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(run(command))
    return figures


def _figure(figures: dict[str, Any]) -> float:
    """Nanoseconds a call; frames a second of a stream."""
    ns = float(figures["ns_per_call"])
    if figures["kind"] != "stream":
        return ns
    return 1e9 / ns if figures.get("per") == "frame" else 1e9 * float(figures["frames_per_call"]) / ns


def _v1(whose: str, entry: str, kind: str) -> Peer:
    """Our Rust host for ABI v1."""

    def peer(tools: Tools, calls: int) -> list[float]:
        assert tools.rust is not None
        with tempfile.NamedTemporaryFile(prefix="nylon-bench-") as body:
            body.write(bytes(BODY))
            body.flush()
            command = [str(tools.rust / "nylon-ring-host"), "bench", str(_file(tools, whose)), entry]
            command += ["--kind", kind, "--calls", str(calls), "--body", f"@{body.name}", "--json"]
            return [_figure(_figures([*command, *(METADATA if kind == "unary" else [])]))]

    return peer


def _v2(whose: str, entry: str, kind: str, size: int = BODY) -> Peer:
    """The crate nylon-ring-host 0.2."""

    def peer(tools: Tools, calls: int) -> list[float]:
        assert tools.rust is not None
        command = [str(tools.rust / "nylon-ring-crates"), "bench", str(_file(tools, whose)), entry]
        return [_figure(_figures([*command, "--kind", kind, "--calls", str(calls), "--size", str(size), "--json"]))]

    return peer


def rust_cases() -> list[Case]:
    """Every case, in the order of the table."""
    v1, v2 = "Rust host, v1", "nylon-ring-host 0.2"
    rust, c = "Rust plugin", "C plugin"

    def one(title: str, unit: Unit, target: Target | None, beside: str, ours: Peer, other: Peer, calls: int) -> Case:
        return Case([Row(title, unit, target, beside)], ours, other, calls)

    def unary(title: str, target: Target | None, entry: str, kind: str) -> Case:
        return one(f"{v2}: {title}", "ns", target, c, _v2(OURS, entry, kind), _v2(C, "echo", kind), 400_000)

    at_least_2m = Target(2e6, "at least")
    return [
        one(
            f"{v1}: handle_sync, 3 headers",
            "ns",
            Target(1.5, "ratio"),
            rust,
            _v1(OURS, "sync", "unary"),
            _v1(RUST, "echo", "unary"),
            400_000,
        ),
        one(
            f"{v1}: handle_raw(sync=True)",
            "ns",
            None,
            rust,
            _v1(OURS, "raw", "raw"),
            _v1(RUST, "echo", "raw"),
            400_000,
        ),
        one(f"{v1}: the same, fast", "ns", None, rust, _v1(OURS, "raw", "fast"), _v1(RUST, "echo", "fast"), 400_000),
        one(
            f"{v1}: frames of a generator",
            "/s",
            at_least_2m,
            f"{rust}, inside handle",
            _v1(OURS, "gen", "stream"),
            _v1(RUST, "frames", "stream"),
            1_000_000,
        ),
        unary("handle_raw(sync=True), call_response", Target(2.2, "ratio"), "raw", "call_response"),
        unary("the same, by number", None, "raw", "id"),
        unary("the same, call_response_fast", Target(180, "at most"), "raw", "fast"),
        unary("handle_sync, call_response", None, "sync", "call_response"),
        one(
            f"{v2}: 64 KiB, call_response_bytes",
            "ns",
            Target(1.6, "ratio"),
            f"{c}, owned",
            _v2(OURS, "raw", "bytes", LONG),
            _v2(C, "owned", "bytes", LONG),
            100_000,
        ),
        one(
            f"{v2}: 64 KiB, call_response",
            "ns",
            None,
            c,
            _v2(OURS, "raw", "call_response", LONG),
            _v2(C, "echo", "call_response", LONG),
            100_000,
        ),
        one(
            f"{v2}: frames of a generator",
            "/s",
            None,
            f"{c}, from a thread",
            _v2(OURS, "gen", "stream"),
            _v2(C, "frames", "stream"),
            400,
        ),
    ]
