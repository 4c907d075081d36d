"""What the rounds came to, as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.model import Row, Section, in_order, label
from benchmarks.rounds import Outcome
from benchmarks.table import count_targets, show_limit

SCHEMA = 1  # one more whenever a reader of the JSON would have to change


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Of one contestant in one row."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def _row(row: Row) -> dict[str, Any]:
    medians = row.medians
    names = in_order(list(medians))
    return {
        "key": row.key,
        "title": row.title,
        "unit": row.unit,
        "better": "more" if row.unit == "/s" else "less",
        "note": row.note,
        "point": None if row.point is None else asdict(row.point),
        "values": {name: summary(row.values[name]) for name in names},
        "ratios": {name: row.ratio(name) for name in names if name != "ours"},
        "limits": [
            {
                **asdict(limit),
                "text": show_limit(limit, row.unit),
                "value": limit.value(medians),
                "met": limit.is_met(medians),
            }
            for limit in row.limits
        ],
        "met": row.is_met,
    }


def as_json(
    sections: Sequence[Section], outcome: Outcome, facts: dict[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    """What `--json` writes.

    Args:
        sections: with the values of the run.
        outcome: of the run.
        facts: what one must know of the machine and of how it was measured.
        missing: contestants that were left out, and why.
    """
    made: list[dict[str, Any]] = [
        {"title": section.title, "rows": [_row(row) for row in section.rows if any(row.values.values())]}
        for section in sections
    ]
    made = [section for section in made if section["rows"]]
    names = [name for section in made for row in section["rows"] for name in row["values"]]
    return {
        "schema": SCHEMA,
        "facts": {**facts, "rounds": outcome.rounds, "took_s": round(outcome.took_s, 1)},
        "contestants": {name: label(name) for name in in_order(names)},
        "missing": missing,
        "faults": [asdict(fault) for fault in outcome.faults],
        "targets": count_targets(sections),
        "sections": made,
    }
