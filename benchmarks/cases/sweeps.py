"""How the cost of a synchronous call grows with its body, its headers, and the threads that call."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.contestants import SHARES, figures, who
from benchmarks.model import OURS, Case, Measure, Point, Row, Section, Unit
from benchmarks.tools import Tools

BODIES = {0: "0 B", 128: "128 B", 1024: "1 KiB", 4096: "4 KiB", 16384: "16 KiB", 65536: "64 KiB", 262144: "256 KiB"}
BODIES[1024 * 1024] = "1 MiB"
HEADERS = (0, 1, 3, 10, 25, 50)
THREADS = (1, 2, 4, 8)
IN_QUICK = {
    "0 B",
    "4 KiB",
    "64 KiB",
    "1 MiB",
    "0 headers",
    "10 headers",
    "50 headers",
    "1 thread",
    "2 threads",
    "8 threads",
}
READ = (1, 3, 10, 50)
GO = "go"
DECODES = "the Go SDK decodes the whole request before it calls a handler, which then reads no header here"


def _bytes_each(size: int) -> int:
    """Fewer calls with long bodies, so that each point takes about as long."""
    return max(400_000 // (1 + size // 2048), 2000)


def _row(key: str, title: str, unit: Unit, plot: str, x: str) -> Row:
    return Row(f"{key}.{x.split()[0] if key != 'body' else x.replace(' ', '')}", title, unit, (), Point(plot, x))


def _case(tools: Tools, row: Row, of: Callable[[str], Measure], calls: int, cores: int) -> Case:
    assert row.point is not None
    return Case([row], who(tools, "v1", "sync", of), calls, cores, row.point.x in IN_QUICK, shares=SHARES)


def _bodies(tools: Tools) -> list[Case]:
    return [
        _case(
            tools,
            _row("body", f"echo of {name}", "ns", "handle_sync by size of the body", name),
            figures("sync", "unary", "ns_per_call", body=size),
            _bytes_each(size),
            1,
        )
        for size, name in BODIES.items()
    ]


def _headers(tools: Tools) -> list[Case]:
    made = []
    for count in HEADERS:
        name = f"{count} header{'s' * (count != 1)}"
        row = _row("headers", f"128 B, {name}", "ns", "handle_sync by number of headers", name)
        made.append(_case(tools, row, figures("sync", "unary", "ns_per_call", headers=count), 400_000, 1))
    return [*made, *_read(tools, "header", "one read by its name"), *_read(tools, "headers", "all read")]


def _read(tools: Tools, entry: str, what: str) -> list[Case]:
    """A handler of ours that reads headers, beside Go's call, which has decoded all of them."""
    made = []
    for count in READ:
        name = f"{count} header{'s' * (count != 1)}"
        row = _row(f"{entry}_read", f"128 B, {name}, {what}", "ns", f"handle_sync, {what}, by number of headers", name)
        row.note = DECODES
        both = {OURS: entry, GO: "sync"}
        contestants = {
            contestant: figures(of, "unary", "ns_per_call", headers=count)(contestant)
            for contestant, of in both.items()
            if contestant in tools.plugins
        }
        made.append(Case([row], contestants, 100_000, 1, count == 10))
    return made


def _threads(tools: Tools) -> list[Case]:
    made = []
    for count in THREADS:
        name = f"{count} thread{'s' * (count != 1)}"
        row = _row("threads", f"128 B, 3 headers, {name} together", "/s", "handle_sync by threads of the host", name)
        of = figures("sync", "unary", "calls_per_s", threads=count)
        made.append(_case(tools, row, of, 400_000, min(count, 2) if count < 4 else 0))
    return made


def sweeps(tools: Tools) -> list[Section]:
    """A section for each thing that grows."""
    return [
        Section("C host, handle_sync: bodies", _bodies(tools)),
        Section("C host, handle_sync: headers", _headers(tools)),
        Section("C host, handle_sync: threads that call at once", _threads(tools)),
    ]
