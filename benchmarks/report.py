"""What the rounds came to: medians with their spread, a table, JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Unit = Literal["ns", "/s", "KiB"]

# The steps of each unit, the largest first; a value is shown in the largest that leaves it at 1 or more.
STEPS: dict[Unit, tuple[tuple[float, str], ...]] = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")),
    "/s": ((1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")),
    "KiB": ((1024.0, "MiB"), (1.0, "KiB")),
}


@dataclass(frozen=True)
class Target:
    """What a median is held to: a limit in the row's unit, or, with `ratio`, in multiples of what stands beside it."""

    limit: float
    kind: Literal["at most", "at least", "ratio"]

    def is_met(self, ours: float, beside: float | None) -> bool | None:
        """Whether it is; None where there is nothing beside it to tell by."""
        if self.kind == "at most":
            return ours <= self.limit
        if self.kind == "at least":
            return ours >= self.limit
        return None if not beside else ours / beside <= self.limit


@dataclass
class Row:
    """One line of the table.

    Args:
        title: what was measured.
        unit: of all its values.
        target: what ours should be, if anything.
        beside: what the second column holds.
        ours: one value for each round.
        others: one value for each round of what stands beside; empty where nothing does.
    """

    title: str
    unit: Unit
    target: Target | None = None
    beside: str = "floor"
    ours: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Our median in multiples of the other one; None without."""
        other = statistics.median(self.others) if self.others else 0.0
        return statistics.median(self.ours) / other if other else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.target.is_met(statistics.median(self.ours), statistics.median(self.others) if self.others else None)


def show(value: float, unit: Unit) -> str:
    """A value in the step of its unit that suits it, with three digits."""
    for size, name in STEPS[unit]:
        if abs(value) >= size or size == 1.0:
            scaled = value / size
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return f"{scaled:.{0 if size == 1.0 else digits}f} {name}"
    raise AssertionError(unit)


def show_spread(values: Sequence[float], unit: Unit) -> str:
    """The median, and the least and the most in brackets where there were several rounds."""
    if not values:
        return "-"
    middle = show(statistics.median(values), unit)
    return middle if len(values) == 1 else f"{middle} [{show(min(values), unit)} … {show(max(values), unit)}]"


def show_target(row: Row) -> str:
    """The target and whether it is met."""
    target = row.target
    if target is None:
        return ""
    if target.kind == "ratio":
        limit = f"≤ {target.limit:g} x {row.beside}"
    else:
        limit = f"{'≤' if target.kind == 'at most' else '≥'} {show(target.limit, row.unit)}"
    return f"{limit}: {'not measured' if row.is_met is None else 'met' if row.is_met else 'MISSED'}"


def table(rows: Iterable[Row]) -> str:
    """All rows as a Markdown table, its columns aligned."""
    lines = [("measured", "ours", "beside it", "ratio", "target")]
    for row in rows:
        other = show_spread(row.others, row.unit)
        ratio = row.ratio
        lines.append(
            (
                row.title,
                show_spread(row.ours, row.unit),
                f"{row.beside}: {other}" if row.others else "",
                "" if ratio is None else f"{ratio:.2f}",
                show_target(row),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(text)


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    """The same for JSON; None without values."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def as_json(rows: Iterable[Row], facts: dict[str, Any]) -> dict[str, Any]:
    """What `--json` writes: the facts of the run, then each row in its unit."""
    return {
        **facts,
        "rows": [
            {
                "title": row.title,
                "unit": row.unit,
                "ours": summary(row.ours),
                "beside": row.beside if row.others else None,
                "others": summary(row.others),
                "ratio": row.ratio,
                "target": None if row.target is None else {"kind": row.target.kind, "limit": row.target.limit},
                "met": row.is_met,
            }
            for row in rows
        ],
    }
