"""What the benchmarks write of their rounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.beside import Beside, behind, beside, verdict
from benchmarks.model import Case, Limit, Point, Row, Section, Unit, at_least, at_most
from benchmarks.report import SCHEMA, as_json
from benchmarks.rounds import Fault, Outcome
from benchmarks.table import (
    count_targets,
    notes,
    obstacles,
    pythons_table,
    show,
    show_calls,
    show_limit,
    show_ratio,
    show_spread,
    table,
)


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
    assert show_spread([300.0, 100.0, 120.0], "ns") == "120 ns [100…300]"
    assert show_spread([900.0, 26_700.0, 52_500.0], "ns") == "26.7 µs [0.90…52.5]"
    assert show_spread([300.0], "ns") == "300 ns"
    assert show_spread([], "ns") == "-"


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (at_most(1e6), "≤ 1.00 ms"),
        (at_most(1.3, "floor"), "≤ 1.3 x floor"),
        (at_most(1 / 3.5, "go"), "≤ Go ÷ 3.5"),
        (at_most(1, "go"), "≤ Go"),
        (at_least(2, "go"), "≥ 2 x Go"),
    ],
)
def test_a_limit_reads_as_one_would_say_it(limit: Limit, text: str) -> None:
    assert show_limit(limit, "ns") == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.404, "1.40"), (0.1, "0.10"), (0.004, "0.004"), (9.994, "9.99"), (452.6, "453")]
)
def test_a_ratio_has_the_digits_that_mean_something(ratio: float, text: str) -> None:
    assert show_ratio(ratio) == text


def sections() -> list[Section]:
    near = Row(
        "near", "near the floor", "ns", (at_most(1.5, "floor"), at_most(0.25, "go")), Point("plot", "a"), "a note"
    )
    near.values = {"go": [600.0], "ours": [140.0, 130.0, 150.0], "floor": [100.0, 90.0, 110.0]}
    near.values |= {"ours 3.12": [150.0, 160.0], "floor 3.12": [120.0, 155.0]}
    near.calls = {"ours": 20_000, "floor": 20_000, "go": 1000}
    fast = Row("fast", "fast", "/s", (at_least(2e6),), values={"ours": [1e6]})
    empty = Row("empty", "not measured at all", "ns", (at_most(1),))
    alone = Row("alone", "without the other one", "ns", (at_most(2, "c"),), values={"ours": [60.0]})
    return [Section("first", [Case([near, fast, empty], {}, 1)]), Section("second", [Case([alone], {}, 1)])]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_a_table_says_for_each_row_what_came_and_what_of_the_target() -> None:
    text = table(sections()[0])
    lines = cells(text)
    assert lines[0] == ["measured", "calls", "ours", "floor", "Go", "target"]
    assert set("".join(lines[1])) == {"-"}
    spread, target = "140 ns [130…150]", "≤ 1.5 x floor: met, ≤ Go ÷ 4: met"
    assert lines[2:] == [
        ["near the floor", "20 k", spread, "100 ns [90…110] (1.40)", "600 ns (0.23)", target],
        ["fast", "", "1.00 M/s", "", "", "≥ 2.00 M/s: MISSED"],
    ]
    assert len({len(line) for line in text.splitlines()}) == 1
    assert cells(table(sections()[1]))[2] == ["without the other one", "", "60 ns", "≤ 2 x C: not measured"]


def test_a_section_without_figures_has_no_table() -> None:
    assert table(Section("empty", [Case([Row("empty", "title", "ns")], {}, 1)])) == ""


def test_other_pythons_stand_beside_their_own_floors() -> None:
    assert cells(pythons_table(sections()))[::2] == [
        ["row", "measured", "the main one", "3.12"],
        [
            "near",
            "near the floor",
            "140 ns [130…150], floor 100 ns [90…110] (1.40)",
            "155 ns [150…160], floor 138 ns [120…155] (≈ 1.13)",
        ],
    ]
    assert pythons_table(sections()[1:]) == ""


def test_notes_and_counts() -> None:
    fewer = "Go: 0.05 of the calls, and no figure for which these are too few"
    assert notes(sections()) == ["near the floor: a note", fewer]
    given = sections()
    given[0].cases[0].rows[1].calls = {"ours": 1000, "go": 10, "floor": 10}
    ranges = [line.partition(" of")[0] for line in notes(given)[1:]]
    assert ranges == ["Go: 0.01 to 0.05", "floor: 0.01"]
    assert count_targets(sections()) == {"met": 1, "missed": 1, "not measured": 1}


def test_json_holds_every_round_the_facts_and_the_faults() -> None:
    outcome = Outcome(rounds=3, took_s=12.34, faults=[Fault("alone", "c", "it fell")])
    written = json.loads(json.dumps(as_json(sections(), outcome, {"python": "3.11.7"}, {"go": "no go on PATH"})))
    assert written["schema"] == SCHEMA
    assert written["facts"] == {"python": "3.11.7", "rounds": 3, "took_s": 12.3}
    assert written["missing"] == {"go": "no go on PATH"}
    assert written["faults"] == [{"row": "alone", "contestant": "c", "said": "it fell"}]
    assert written["targets"] == {"met": 1, "missed": 1, "not measured": 1}
    assert list(written["contestants"]) == ["ours", "floor", "go", "ours 3.12", "floor 3.12"]
    first, second = written["sections"]
    near, fast = first["rows"]
    assert near["values"]["ours"] == {"median": 140.0, "min": 130.0, "max": 150.0, "rounds": [140.0, 130.0, 150.0]}
    assert near["ratios"]["floor"] == 1.4
    assert (near["calls"]["go"], near["overlaps"]) == (1000, ["ours 3.12", "floor 3.12"])
    assert near["point"] == {"plot": "plot", "x": "a"}
    assert near["limits"][1] == {
        "kind": "at most",
        "number": 0.25,
        "beside": "go",
        "text": "≤ Go ÷ 4",
        "value": 150.0,
        "met": True,
    }
    assert (near["met"], near["better"], fast["better"], fast["met"]) == (True, "less", "more", False)
    assert (second["rows"][0]["met"], second["rows"][0]["limits"][0]["value"]) == (None, None)


@pytest.mark.parametrize(
    ("calls", "text"), [({}, ""), ({"ours": 1}, ""), ({"ours": 400}, "400"), ({"ours": 1_500_000, "go": 9}, "1.5 M")]
)
def test_the_calls_of_a_row_are_those_of_who_makes_most(calls: dict[str, int], text: str) -> None:
    assert show_calls(calls) == text


def test_what_is_in_the_way_of_a_target_is_said_with_what_the_floor_makes_of_it() -> None:
    def missed(obstacle: str, floor: list[float]) -> list[str]:
        row = Row("key", "far", "ns", (at_most(2, "rust"),), obstacle=obstacle)
        row.values = {"ours": [300.0], "rust": [100.0], "floor": floor}
        return obstacles([Section("section", [Case([row], {}, 1)])])

    assert missed("a wall", []) == ["far: a wall"]
    assert missed("a wall", [250.0]) == ["far: a wall; ≤ 2 x Rust: the floor, with 250 ns, misses it as well"]
    assert missed("", [150.0]) == ["far: ≤ 2 x Rust: the floor, with 150 ns, keeps to it"]
    assert missed("", []) == []
    assert obstacles(sections()) == []


# ---- ours beside another one ----


def compared() -> Beside:
    def at(key: str, ours: list[float], go: list[float], unit: Unit = "ns") -> Row:
        return Row(key, f"the {key}", unit, values={"ours": ours, "go": go})

    rows = [
        at("ahead", [50.0, 60.0], [100.0, 110.0]),
        at("rate", [200.0, 220.0], [100.0, 100.0], "/s"),
        at("behind", [300.0, 320.0], [100.0, 100.0]),
        at("behind_in_rate", [10.0, 10.0], [90.0, 110.0], "/s"),
        at("open", [90.0, 120.0], [100.0, 110.0]),
        Row("alone", "without Go", "ns", values={"ours": [1.0]}),
    ]
    return beside([Section("section", [Case(rows, {}, 1)])], "go")


def test_each_row_is_ahead_behind_or_not_told_apart() -> None:
    found = compared()
    sides = [[row.key for row in rows] for rows in (found.ahead, found.behind, found.open)]
    assert sides == [["ahead", "rate"], ["behind", "behind_in_rate"], ["open"]]
    assert verdict(found) == (
        "Ahead of Go in 2 of 5 rows, behind in 2, not told apart in 1: from 0.48 (the rate) to 10 (the behind_in_rate) "
        "times what Go needs, 1.00 in the middle."
    )


def test_the_rows_behind_are_shown_the_worst_first() -> None:
    assert cells(behind(compared()))[2:] == [
        ["behind_in_rate", "the behind_in_rate", "10 /s [10…10]", "100 /s [90…110]", "10"],
        ["behind", "the behind", "310 ns [300…320]", "100 ns [100…100]", "3.10"],
    ]


def test_who_was_not_measured_is_said_not_to_have_been() -> None:
    nobody = beside([], "rust")
    assert (verdict(nobody), behind(nobody)) == ("Rust was not measured beside ours.", "")
