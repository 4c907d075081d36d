"""What calls cost in Rust hosts, awaited one at a time, beside native plugins: our v1 host, and the released crate."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Peer
from benchmarks.measure import Tools, run
from benchmarks.report import Row, Target

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


def _case(title: str, kind: str, sides: tuple[Peer, Peer], beside: str, target: Target | None, calls: int) -> Case:
    return Case([Row(title, "/s" if kind == "stream" else "ns", target, beside)], *sides, calls)


def _v1_case(
    title: str, kind: str, ours: str, other: str, target: Target | None = None, where: str = "", calls: int = 400_000
) -> Case:
    sides = _v1(OURS, ours, kind), _v1(RUST, other, kind)
    return _case(f"Rust host, v1: {title}", kind, sides, f"Rust plugin{where}", target, calls)


def _v2_case(
    title: str,
    kind: str,
    ours: str,
    other: str,
    target: Target | None = None,
    where: str = "",
    calls: int = 400_000,
    size: int = BODY,
) -> Case:
    sides = _v2(OURS, ours, kind, size), _v2(C, other, kind, size)
    return _case(f"nylon-ring-host 0.2: {title}", kind, sides, f"C plugin{where}", target, calls)


def rust_cases() -> list[Case]:
    """Every case, in the order of the table."""
    frames = Target(2e6, "at least")
    return [
        _v1_case("handle_sync, 3 headers", "unary", "sync", "sync", Target(1.5, "ratio")),
        _v1_case("handle_raw(sync=True)", "raw", "raw", "raw"),
        _v1_case("the same, fast", "fast", "raw", "raw"),
        _v1_case("frames of a generator", "stream", "gen", "gen", frames, ", inside handle", 1_000_000),
        _v2_case("handle_raw(sync=True), call_response", "call_response", "raw", "raw", Target(2.2, "ratio")),
        _v2_case("the same, by number", "id", "raw", "raw"),
        _v2_case("the same, call_response_fast", "fast", "raw", "raw", Target(180, "at most")),
        _v2_case("handle_sync, call_response", "call_response", "sync", "sync"),
        _v2_case(
            "64 KiB, call_response_bytes",
            "bytes",
            "raw",
            "owned",
            Target(1.6, "ratio"),
            ", owned",
            calls=100_000,
            size=LONG,
        ),
        _v2_case("64 KiB, call_response", "call_response", "raw", "raw", calls=100_000, size=LONG),
        _v2_case("frames of a generator", "stream", "gen", "gen", None, ", from a thread", 400),
    ]
