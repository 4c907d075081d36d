"""What the rounds came to, as text: values in a unit that suits them, targets, a table for each section."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.model import OURS, Limit, Row, Section, Unit, in_order, label, overlap

# The steps of each unit, the largest first; a value is shown in the largest that leaves it at 1 or more.
STEPS: dict[Unit, tuple[tuple[float, str], ...]] = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")),
    "/s": ((1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")),
    "KiB": ((1024.0, "MiB"), (1.0, "KiB")),
}
COUNTS = ((1_000_000, "M"), (1000, "k"), (1, ""))
SAME = "≈"  # before a ratio of two whose rounds do not tell them apart
LEGEND = (
    "Each cell is the median of the rounds and, in brackets, the least and the most of them. Of the others than ours "
    f"there follows, in round brackets, ours in multiples of that one, with {SAME} where the two spreads overlap: "
    "these rounds do not tell them apart. Calls are those of one process in a "
    "round; where frames are measured, its frames or its streams."
)
VERDICTS = {True: "met", False: "MISSED", None: "not measured"}


def _step(value: float, unit: Unit) -> tuple[float, str]:
    """The step that suits a value: its size, and what it is called."""
    steps = STEPS[unit]
    return next((step for step in steps if abs(value) >= step[0]), steps[-1])


def _digits(value: float, size: float) -> str:
    """A value in a step, with three digits; of the smallest step no fractions."""
    scaled = value / size
    digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
    return f"{scaled:.{0 if size == 1.0 else digits}f}"


def show(value: float, unit: Unit) -> str:
    """A value in the step of its unit that suits it, with three digits."""
    size, name = _step(value, unit)
    return f"{_digits(value, size)} {name}"


def show_spread(values: Sequence[float], unit: Unit) -> str:
    """The median, and, in the same step, the least and the most in brackets where there were several rounds."""
    if not values:
        return "-"
    middle = statistics.median(values)
    if len(values) == 1:
        return show(middle, unit)
    size, _ = _step(middle, unit)
    return f"{show(middle, unit)} [{_digits(min(values), size)}…{_digits(max(values), size)}]"


def show_calls(calls: Mapping[str, int]) -> str:
    """How many calls a contestant of a row makes in a round; empty where it is a single one."""
    most = max(calls.values(), default=0)
    size, name = next((step for step in COUNTS if most >= step[0]), COUNTS[-1])
    return f"{most / size:.4g} {name}".strip() if most > 1 else ""


def show_ratio(ratio: float) -> str:
    """A multiple with as many digits as mean something."""
    return f"{ratio:.2f}" if 0.1 <= ratio < 10 else f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def show_limit(limit: Limit, unit: Unit) -> str:
    """A limit in words: `≤ 1.3 x floor`, `≤ Go ÷ 4`, `≥ 3.00 M/s`."""
    sign = "≤" if limit.kind == "at most" else "≥"
    if limit.beside is None:
        return f"{sign} {show(limit.number, unit)}"
    if limit.number == 1:
        return f"{sign} {label(limit.beside)}"
    if limit.number < 1:
        return f"{sign} {label(limit.beside)} ÷ {1 / limit.number:.4g}"
    return f"{sign} {limit.number:g} x {label(limit.beside)}"


def show_target(row: Row) -> str:
    """Each limit of a row and what came of it; empty where it has none."""
    medians = row.medians
    return ", ".join(f"{show_limit(limit, row.unit)}: {VERDICTS[limit.is_met(medians)]}" for limit in row.limits)


def show_multiple(ratio: float | None, overlaps: bool) -> str:
    """Ours in multiples of another one, in brackets; empty where there is no such figure."""
    return "" if ratio is None else f" ({f'{SAME} ' if overlaps else ''}{show_ratio(ratio)})"


def show_beside(row: Row, contestant: str) -> str:
    """Another one's values, and ours in multiples of them."""
    values = row.values.get(contestant)
    if not values:
        return ""
    return show_spread(values, row.unit) + show_multiple(row.ratio(contestant), row.overlaps(contestant))


def lay_out(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first line is its head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(text)


def is_other_python(contestant: str) -> bool:
    """Whether it is ours, or the floor, with another Python than the main one."""
    return contestant.startswith(("ours 3.", "floor 3."))


def table(section: Section) -> str:
    """A section: ours, each other one with the ratio, the target; empty without values."""
    rows = [row for row in section.rows if any(row.values.values())]
    if not rows:
        return ""
    seen = [name for row in rows for name, values in row.values.items() if values and not is_other_python(name)]
    others = [name for name in in_order(seen) if name != OURS]
    lines = [["measured", "calls", label(OURS), *map(label, others), "target"]]
    for row in rows:
        cells = [show_beside(row, name) for name in others]
        lines.append([row.title, show_calls(row.calls), show_spread(row.values.get(OURS, []), row.unit), *cells])
        lines[-1].append(show_target(row))
    return lay_out(lines)


def pythons_table(sections: Sequence[Section]) -> str:
    """Ours with the other Pythons, each beside the floor of its own; empty where there are none."""
    rows = [row for section in sections for row in section.rows if any(map(is_other_python, row.values))]
    if not rows:
        return ""
    versions = sorted({name.split()[1] for row in rows for name in row.values if is_other_python(name)})
    lines = [["row", "measured", "the main one", *versions]]
    for row in rows:
        cells = [_with_floor(row, OURS, "floor"), *(_with_floor(row, f"ours {v}", f"floor {v}") for v in versions)]
        lines.append([row.key, row.title, *cells])
    return lay_out(lines)


def _with_floor(row: Row, ours: str, floor: str) -> str:
    medians = row.medians
    if ours not in medians:
        return ""
    text = show_spread(row.values[ours], row.unit)
    if not medians.get(floor):
        return text
    multiple = show_multiple(medians[ours] / medians[floor], overlap(row.values[ours], row.values[floor]))
    return f"{text}, floor {show_spread(row.values[floor], row.unit)}{multiple}"


def notes(sections: Sequence[Section]) -> list[str]:
    """What must be known to compare: each note with the first measured row that has it; who makes fewer calls."""
    rows = [row for section in sections for row in section.rows if row.values]
    first = {row.note: row.title for row in reversed(rows) if row.note}
    return [f"{title}: {note}" for note, title in reversed(first.items())] + _fewer(rows)


def _fewer(rows: Sequence[Row]) -> list[str]:
    """Who is so slow that it makes a part of the calls only."""
    parts: dict[str, set[float]] = {}
    for row in rows:
        most = max(row.calls.values(), default=0)
        for name, calls in row.calls.items():
            if calls < most:
                parts.setdefault(name, set()).add(float(f"{calls / most:.2g}"))
    said = {name: " to ".join(f"{part:g}" for part in sorted({min(parts[name]), max(parts[name])})) for name in parts}
    return [
        f"{', '.join(label(name) for name in in_order(list(said)) if said[name] == part)}: {part} of the calls, and no "
        "figure for which these are too few"
        for part in dict.fromkeys(said.values())
    ]


def obstacles(sections: Sequence[Section]) -> list[str]:
    """What stands in the way of the targets that were missed, and whether a bare embedding of Python misses them."""
    rows = [row for section in sections for row in section.rows if row.is_met is False]
    said = [
        (row.title, "; ".join(filter(None, [row.obstacle, *map(partial(_floor_too, row), row.limits)]))) for row in rows
    ]
    return [f"{title}: {words}" for title, words in said if words]


def _floor_too(row: Row, limit: Limit) -> str:
    """Of a limit that ours misses: what the floor makes of it."""
    medians = row.medians
    if limit.beside == "floor" or limit.is_met(medians) is not False or "floor" not in medians:
        return ""
    words = "keeps to it" if limit.is_met(medians, "floor") else "misses it as well"
    return f"{show_limit(limit, row.unit)}: the floor, with {show(medians['floor'], row.unit)}, {words}"


def count_targets(sections: Sequence[Section]) -> dict[str, int]:
    """How many rows with a target met it, missed it, or could not be told."""
    verdicts = [row.is_met for section in sections for row in section.rows if row.limits and row.values]
    return {"met": verdicts.count(True), "missed": verdicts.count(False), "not measured": verdicts.count(None)}
