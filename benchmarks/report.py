"""What the rounds came to, as JSON; and back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.model import Case, Limit, Point, Row, Section, in_order, label
from benchmarks.rounds import Outcome
from benchmarks.table import count_targets, show_limit

SCHEMA = 3  # one more whenever a reader of the JSON would have to change


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
        "obstacle": row.obstacle,
        "point": None if row.point is None else asdict(row.point),
        "values": {name: summary(row.values[name]) for name in names},
        "calls": {name: row.calls[name] for name in names if name in row.calls},
        "ratios": {name: row.ratio(name) for name in names if name != "ours"},
        "overlaps": [name for name in names if name != "ours" and row.overlaps(name)],
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


def sections_of(report: Mapping[str, Any]) -> list[Section]:
    """The rows that `as_json` wrote, with their values and without what measured them.

    Raises:
        ValueError: the report is of another schema.
    """
    if report.get("schema") != SCHEMA:
        raise ValueError(f"the figures are of schema {report.get('schema')}, not {SCHEMA}: run make bench again")
    return [
        Section(section["title"], [Case([_row_of(row) for row in section["rows"]], {}, 0)])
        for section in report["sections"]
    ]


def _row_of(row: Mapping[str, Any]) -> Row:
    return Row(
        row["key"],
        row["title"],
        row["unit"],
        tuple(Limit(limit["kind"], limit["number"], limit["beside"]) for limit in row["limits"]),
        None if row["point"] is None else Point(**row["point"]),
        row["note"],
        row["obstacle"],
        {name: list(found["rounds"]) for name, found in row["values"].items()},
        dict(row["calls"]),
    )
