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

# Which plugin's file, given the tools.
OURS, RUST, C = "ours", "rust", "c"


def _file(tools: Tools, whose: str) -> Path:
    assert tools.rust is not None
    return {OURS: tools.plugin, RUST: tools.rust / "libconformance.so", C: tools.host.parent / "conformance.so"}[whose]


def _figures(command: list[str]) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(run(command))
    return figures


def _v1(whose: str, entry: str, kind: str) -> Peer:
    """Our Rust host for ABI v1."""

    def peer(tools: Tools, calls: int) -> list[float]:
        assert tools.rust is not None
        with tempfile.NamedTemporaryFile(prefix="nylon-bench-") as body:
            body.write(bytes(BODY))
            body.flush()
            command = [str(tools.rust / "nylon-ring-host"), "bench", str(_file(tools, whose)), entry]
            command += ["--kind", kind, "--calls", str(calls), "--body", f"@{body.name}", "--json"]
            return [_figures([*command, *(METADATA if kind == "unary" else [])])["ns_per_call"]]

    return peer


def _v2(whose: str, entry: str, kind: str, size: int = BODY) -> Peer:
    """The crate nylon-ring-host 0.2."""

    def peer(tools: Tools, calls: int) -> list[float]:
        assert tools.rust is not None
        command = [str(tools.rust / "nylon-ring-crates"), "bench", str(_file(tools, whose)), entry]
        figures = _figures([*command, "--kind", kind, "--calls", str(calls), "--size", str(size), "--json"])
        return [figures["ns_per_call"] if kind != "stream" else 1e9 / (figures["ns_per_call"])]

    return peer


def rust_cases() -> list[Case]:
    """Every case, in the order of the table. Synchronous entries, unless the title says otherwise."""
    v1, v2 = "Rust host, v1", "nylon-ring-host 0.2"
    return [
        Case(
            [Row(f"{v1}: unary, 3 headers", "ns", Target(1.5, "ratio"), "Rust plugin")],
            _v1(OURS, "sync", "unary"),
            _v1(RUST, "echo_sync", "unary"),
            200_000,
        ),
        Case(
            [Row(f"{v1}: raw", "ns", None, "Rust plugin")],
            _v1(OURS, "raw", "raw"),
            _v1(RUST, "raw_sync", "raw"),
            200_000,
        ),
        Case(
            [Row(f"{v1}: fast", "ns", None, "Rust plugin")],
            _v1(OURS, "sync", "fast"),
            _v1(RUST, "echo_sync", "fast"),
            200_000,
        ),
        Case(
            [Row(f"{v1}: pooled entry", "ns", None, "Rust plugin")],
            _v1(OURS, "pool", "unary"),
            _v1(RUST, "echo", "unary"),
            20_000,
        ),
        Case(
            [Row(f"{v2}: call_response", "ns", Target(2.2, "ratio"), "C plugin")],
            _v2(OURS, "sync", "call_response"),
            _v2(C, "echo_sync", "call_response"),
            400_000,
        ),
        Case(
            [Row(f"{v2}: by number", "ns", None, "C plugin")],
            _v2(OURS, "sync", "id"),
            _v2(C, "echo_sync", "id"),
            400_000,
        ),
        Case(
            [Row(f"{v2}: call_response_fast", "ns", Target(180, "at most"), "C plugin")],
            _v2(OURS, "sync", "fast"),
            _v2(C, "echo_sync", "fast"),
            400_000,
        ),
        Case(
            [Row(f"{v2}: 64 KiB, call_response_bytes", "ns", Target(1.6, "ratio"), "C plugin, owned")],
            _v2(OURS, "raw", "bytes", LONG),
            _v2(C, "echo_owned", "bytes", LONG),
            100_000,
        ),
        Case(
            [Row(f"{v2}: 64 KiB, call_response", "ns", None, "C plugin")],
            _v2(OURS, "raw", "call_response", LONG),
            _v2(C, "echo_sync", "call_response", LONG),
            100_000,
        ),
        Case(
            [Row(f"{v2}: pooled entry", "ns", None, "C plugin")],
            _v2(OURS, "pool", "call_response"),
            _v2(C, "echo", "call_response"),
            20_000,
        ),
        Case(
            [Row(f"{v2}: generator, frames of 128 B", "/s", Target(2e6, "at least"))],
            _v2(OURS, "gen", "stream"),
            None,
            1000,
        ),
    ]
