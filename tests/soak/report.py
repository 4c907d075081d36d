"""The report of a run that held: a page of figures, with charts beside it."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from soak import figures, trend
from soak.running import Record

if TYPE_CHECKING:
    from soak.run import Run

Samples = Sequence[dict[str, Any]]

#: The kinds whose latencies are drawn: one of each way through the core.
DRAWN = (
    "two.raw_sync.fast_id", "one.sync.fast", "two.pooled.id_many", "one.pooled.handle", "one.coroutine.handle",
    "raw.executor.handle", "two.async_duplex.duplex", "one.generator.stream",
)  # fmt: skip


def machine() -> str:
    """What it ran on."""
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"


def write(run: Run, file: Path) -> None:
    """Write the page and its charts.

    Args:
        run: one in which everything held.
        file: the .md; charts are called after it.
    """
    samples = [sample for record in run.records for sample in record.samples]
    charts = [(name, file.with_name(f"{file.stem}-{name}.svg")) for name in ("memory", "rate", "latency", "queue")]
    _draw(run, samples, dict(charts))
    text = [
        "# The soak test's last long run",
        "",
        f"Written by `make soak MINUTES={run.minutes:g} SEED={run.seed} REPORT=…` ({machine()}); "
        "what it does stands in [robustness](robustness.md#soak).",
        "",
        _summary(run),
        "",
        *[f"![{name}]({chart.name})\n" for name, chart in charts],
        "## At the end of each phase, nothing being loaded",
        "",
        *_phases(run.records),
        "",
        "## Every kind of call",
        "",
        "Times in microseconds from the call to its terminal reply, as the caller sees it: the median of the phases' "
        "p50 and p99, and the worst p99.9 of any phase.",
        "",
        *_kinds(run.records),
        "",
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(text))


def _summary(run: Run) -> str:
    ledgers = [ledger for record in run.records for ledger in record.ledgers.values()]
    total = {
        key: sum(int(ledger[key]) for ledger in ledgers) for key in ("accepted", "terminals", "refused", "replies")
    }
    rows = [
        ("calls accepted", f"{total['accepted']:,}"),
        ("of these answered, exactly once each", f"{total['terminals']:,}"),
        ("calls refused, and never answered", f"{total['refused']:,}"),
        ("frames and replies", f"{total['replies']:,}"),
        ("promises broken", "0"),
        ("reloads under load", f"{run.reloads:,}"),
        ("loads and unloads besides", f"{len(ledgers):,}"),
        ("workers of process pools killed", f"{sum(record.killed for record in run.records):,}"),
        ("signals sent to the host", f"{sum(record.signals for record in run.records):,}"),
        ("time", f"{run.seconds:,.0f} s"),
        (
            f"resident memory at rest, growth in the last {len(run.warm)} phases",
            f"{trend.growth_kib(run.warm):,.0f} KiB (at most {trend.GROWTH_KIB:,.0f} is let pass)",
        ),
    ]
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)])


def _draw(run: Run, samples: Samples, charts: dict[str, Path]) -> None:
    charts["memory"].parent.mkdir(parents=True, exist_ok=True)
    rest = [(record.samples[-1]["at_s"], record.rest["rss_kib"] / 1024) for record in run.records if record.samples]
    figures.draw(
        charts["memory"],
        "Resident memory (MiB), threads and descriptors of the host",
        {
            "memory at work, MiB": [(s["at_s"], s["rss_kib"] / 1024) for s in samples],
            "memory at rest, MiB": rest,
            "threads": [(s["at_s"], s["threads"]) for s in samples],
            "descriptors": [(s["at_s"], s["fds"]) for s in samples],
            "Python blocks, thousands": [(s["at_s"], s["blocks"] / 1000) for s in samples if s["blocks"]],
        },
    )
    figures.draw(
        charts["rate"],
        "Calls accepted and frames received in a second",
        {"calls": rates(samples, "accepted"), "frames": rates(samples, "frames")},
        logarithmic=True,
    )
    figures.draw(
        charts["latency"],
        "p99 of a second, microseconds",
        {name: quantiles(samples, name, "p99_us") for name in DRAWN},
        logarithmic=True,
    )
    figures.draw(
        charts["queue"],
        "Calls that wait for an answer, and the age of the oldest in the queue (ms)",
        {
            "open calls": [(s["at_s"], s["open"]) for s in samples],
            "queued in Python": [(s["at_s"], s["queued"]) for s in samples],
            "queue age, ms": [(s["at_s"], s["queue_age_s"] * 1e3) for s in samples if s["queue_age_s"] is not None],
        },
    )


def rates(samples: Samples, what: str) -> list[tuple[float, float]]:
    """Of all lanes, a second: from one sample to the next of the same phase."""
    found = []
    for before, now in itertools.pairwise(samples):
        if before["phase"] == now["phase"]:
            added = sum(now["lanes"][name][what] - before["lanes"].get(name, {what: 0})[what] for name in now["lanes"])
            found.append((now["at_s"], max(1.0, added / (now["at_s"] - before["at_s"]))))
    return found


def quantiles(samples: Samples, lane: str, what: str) -> list[tuple[float, float]]:
    """Of one lane, where it was asked."""
    return [(s["at_s"], max(0.01, s["lanes"][lane][what])) for s in samples if what in s["lanes"].get(lane, {})]


def _phases(records: Sequence[Record]) -> list[str]:
    head = ["phase", "", "seconds", "calls", "reloads", "memory, MiB", "threads", "descriptors", "children"]
    rows = [
        [
            record.phase.number, record.phase.name, f"{record.phase.seconds:.0f}", f"{record.calls:,}",
            f"{record.reloads:,}", f"{record.rest['rss_kib'] / 1024:.1f}", record.rest["threads"],
            record.rest["fds"], record.rest["children"],
        ]
        for record in records
    ]  # fmt: skip
    return table(head, rows)


def _kinds(records: Sequence[Record]) -> list[str]:
    head = ["plugin, entry, way", "calls", "refused", "answered", "Err", "dropped", "p50", "p99", "p99.9"]
    rows = []
    for name in sorted({name for record in records for name in record.lanes}):
        lanes = [record.lanes[name] for record in records if name in record.lanes]
        timed = [lane for lane in lanes if "p50_us" in lane]
        sums = [f"{sum(lane[key] for lane in lanes):,}" for key in ("calls", "refused", "replies", "failed", "dropped")]
        times = [median(lane[key] for lane in timed) for key in ("p50_us", "p99_us")] if timed else []
        worst = [max(lane["p999_us"] for lane in timed)] if timed else []
        rows.append([name, *sums, *([f"{value:,.1f}" for value in times + worst] or ["", "", ""])])
    return table(head, rows)


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """Markdown; the first two columns are words."""
    line = ["| " + " | ".join(map(str, head)) + " |", "| --- | " + " | ".join(["---:"] * (len(head) - 1)) + " |"]
    return line + ["| " + " | ".join(map(str, row)) + " |" for row in rows]
