"""What the benchmarks make of their rounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.report import Row, Target, Unit, as_json, show, show_spread, table


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (85.4, "ns", "85 ns"),
        (0.0, "ns", "0 ns"),
        (999.4, "ns", "999 ns"),
        (1500.0, "ns", "1.50 µs"),
        (55_300.0, "ns", "55.3 µs"),
        (120_000_000.0, "ns", "120 ms"),
        (1e9, "ns", "1.00 s"),
        (7_940_000.0, "/s", "7.94 M/s"),
        (60.0, "KiB", "60 KiB"),
        (8840.0, "KiB", "8.63 MiB"),
        (-2048.0, "KiB", "-2.00 MiB"),
    ],
)
def test_a_value_is_shown_in_the_step_that_suits_it(value: float, unit: Unit, text: str) -> None:
    assert show(value, unit) == text


def test_spread_is_the_median_between_the_extremes() -> None:
    assert show_spread([300.0, 100.0, 120.0], "ns") == "120 ns [100 ns … 300 ns]"
    assert show_spread([300.0], "ns") == "300 ns"
    assert show_spread([], "ns") == "-"


@pytest.mark.parametrize(
    ("target", "ours", "others", "met"),
    [
        (Target(200, "at most"), [100.0, 200.0, 900.0], [], True),
        (Target(200, "at most"), [100.0, 201.0, 900.0], [], False),
        (Target(2e6, "at least"), [1.0, 2e6, 9e6], [], True),
        (Target(2e6, "at least"), [1.0, 1.9e6, 9e6], [], False),
        (Target(1.5, "ratio"), [149.0, 150.0, 400.0], [1.0, 100.0, 101.0], True),
        (Target(1.5, "ratio"), [149.0, 151.0, 400.0], [1.0, 100.0, 101.0], False),
        (Target(1.5, "ratio"), [150.0], [], None),
        (None, [150.0], [100.0], None),
    ],
)
def test_a_target_is_held_to_medians(
    target: Target | None, ours: list[float], others: list[float], met: bool | None
) -> None:
    assert Row("row", "ns", target, ours=ours, others=others).is_met is met


def rows() -> list[Row]:
    return [
        Row("near the floor", "ns", Target(1.5, "ratio"), ours=[140.0, 130.0, 150.0], others=[100.0, 90.0, 110.0]),
        Row("fast", "/s", Target(2e6, "at least"), ours=[1e6]),
        Row("of interest", "KiB", ours=[60.0]),
        Row("without its other side", "ns", Target(2, "ratio"), ours=[60.0]),
    ]


def test_table_says_for_each_row_what_came_and_what_of_the_target() -> None:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(rows()).splitlines()]
    assert lines[0] == ["measured", "ours", "beside it", "ratio", "target"]
    assert set("".join(lines[1])) == {"-"}
    assert lines[2:] == [
        ["near the floor", "140 ns [130 ns … 150 ns]", "floor: 100 ns [90 ns … 110 ns]", "1.40", "≤ 1.5 x floor: met"],
        ["fast", "1.00 M/s", "", "", "≥ 2.00 M/s: MISSED"],
        ["of interest", "60 KiB", "", "", ""],
        ["without its other side", "60 ns", "", "", "≤ 2 x floor: not measured"],
    ]
    assert len({len(line) for line in table(rows()).splitlines()}) == 1


def test_json_holds_every_round_and_the_facts() -> None:
    written = json.loads(json.dumps(as_json(rows(), {"python": "3.11.7"})))
    assert written["python"] == "3.11.7"
    first, second, third, _ = written["rows"]
    assert first == {
        "title": "near the floor",
        "unit": "ns",
        "ours": {"median": 140.0, "min": 130.0, "max": 150.0, "rounds": [140.0, 130.0, 150.0]},
        "beside": "floor",
        "others": {"median": 100.0, "min": 90.0, "max": 110.0, "rounds": [100.0, 90.0, 110.0]},
        "ratio": 1.4,
        "target": {"kind": "ratio", "limit": 1.5},
        "met": True,
    }
    assert (second["met"], second["others"], second["ratio"]) == (False, None, None)
    assert (third["met"], third["target"]) == (None, None)
