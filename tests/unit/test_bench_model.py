"""What the benchmarks hold figures to, and in which order they measure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.cpu import on_cores, pinned
from benchmarks.measure import BenchError
from benchmarks.model import Case, Limit, Measure, Row, Section, at_least, at_most, in_order, overlap
from benchmarks.neighbours import Used, shares, used
from benchmarks.rounds import Plan, run_all
from benchmarks.tools import Tools

TOOLS = Tools(Path("host"), None, {}, Path("loop.so"), Path("folder"))


def row(limits: tuple[Limit, ...] = (), **values: list[float]) -> Row:
    return Row("key", "title", "ns", limits, values=values)


@pytest.mark.parametrize(
    ("limits", "values", "met"),
    [
        ((at_most(200),), {"ours": [100.0, 200.0, 900.0]}, True),
        ((at_most(200),), {"ours": [100.0, 201.0, 900.0]}, False),
        ((at_least(2e6),), {"ours": [1.0, 2e6, 9e6]}, True),
        ((at_least(2e6),), {"ours": [1.0, 1.9e6, 9e6]}, False),
        ((at_most(1.5, "floor"),), {"ours": [149.0, 150.0, 400.0], "floor": [1.0, 100.0, 101.0]}, True),
        ((at_most(1.5, "floor"),), {"ours": [149.0, 151.0, 400.0], "floor": [1.0, 100.0, 101.0]}, False),
        ((at_most(0.25, "go"),), {"ours": [101.0], "go": [400.0]}, False),
        ((at_least(2, "go"),), {"ours": [3.0], "go": [1.5]}, True),
        ((at_most(1.5, "floor"),), {"ours": [150.0]}, None),
        ((at_most(200),), {"floor": [150.0]}, None),
        ((), {"ours": [150.0], "floor": [100.0]}, None),
    ],
)
def test_a_target_is_held_to_medians(
    limits: tuple[Limit, ...], values: dict[str, list[float]], met: bool | None
) -> None:
    assert row(limits, **values).is_met is met


@pytest.mark.parametrize(
    ("go", "met"), [([400.0], True), ([399.0], False), ([], None)], ids=["both kept", "one missed", "one not measured"]
)
def test_a_target_is_met_when_all_of_it_is(go: list[float], met: bool | None) -> None:
    limits = at_most(1.3, "floor"), at_most(0.25, "go")
    assert row(limits, ours=[100.0], floor=[80.0], go=go).is_met is met


def test_what_is_missed_outweighs_what_was_not_measured() -> None:
    assert row((at_most(1, "go"), at_most(50)), ours=[100.0]).is_met is False


def test_a_ratio_is_ours_in_multiples_of_the_other_one() -> None:
    measured = row(ours=[130.0, 140.0, 900.0], floor=[100.0, 100.0, 50.0], c=[0.0])
    assert measured.ratio("floor") == 1.4
    assert measured.ratio("c") is None
    assert measured.ratio("go") is None


def test_what_ours_costs_beside_another_one_is_above_one_where_ours_is_behind() -> None:
    values = {"ours": [50.0], "go": [100.0]}
    assert Row("key", "title", "ns", values=values).cost("go") == 0.5
    assert Row("key", "title", "/s", values=values).cost("go") == 2.0
    assert Row("key", "title", "/s", values=values).cost("rust") is None


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ([1.0, 2.0], [2.0, 3.0], True),
        ([2.0, 3.0], [1.0, 9.0], True),
        ([1.0, 2.0], [2.1, 3.0], False),
        ([2.1, 3.0], [1.0, 2.0], False),
        ([2.0], [1.0, 3.0], False),
        ([], [1.0, 3.0], False),
    ],
)
def test_two_whose_rounds_have_values_in_common_are_not_told_apart(
    one: list[float], other: list[float], is_one: bool
) -> None:
    assert overlap(one, other) is is_one


def test_the_known_contestants_stand_first() -> None:
    assert in_order(["asyncio", "go", "ours", "asyncio", "floor"]) == ["ours", "floor", "go", "asyncio"]


# ---- rounds ----


class Script:
    """Measures, and remembers who was measured with how many calls."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []

    def of(self, name: str, *values: float | None) -> Measure:
        def measure(tools: Tools, calls: int) -> Sequence[float | None]:
            self.made.append((name, calls))
            return values

        return measure


def broken(tools: Tools, calls: int) -> Sequence[float]:
    raise BenchError("no such entry")


def test_the_contestants_take_turns_in_being_first_and_in_following_each_other() -> None:
    script = Script()
    names = ["ours", "floor", "go"]
    case = Case([row()], {name: script.of(name, 1.0) for name in names}, 1000)
    outcome = run_all([Section("section", [case])], TOOLS, Plan(rounds=3))
    assert outcome.rounds == 3
    assert [name for name, _ in script.made] == ["ours", "floor", "go", "floor", "ours", "go", "go", "ours", "floor"]
    assert case.rows[0].values == {name: [1.0] * 3 for name in names}


def test_slow_contestants_and_short_runs_make_a_share_of_the_calls() -> None:
    script = Script()
    case = Case([row()], {name: script.of(name, 1.0) for name in ("ours", "cffi")}, 1000, shares={"cffi": 0.05})
    run_all([Section("section", [case])], TOOLS, Plan(rounds=1, share=0.5))
    run_all([Section("section", [case])], TOOLS, Plan(rounds=1, share=0.001))
    assert script.made == [("ours", 500), ("cffi", 25), ("ours", 1), ("cffi", 1)]
    assert [
        Case([row()], {}, 1000, shares={"floor": 0.1}).calls_of(f"{name} 3.12", 1.0) for name in ("floor", "ours")
    ] == [
        100,
        1000,
    ]


def test_a_whole_case_makes_all_its_calls_in_a_short_run_too() -> None:
    script = Script()
    case = Case([row()], {"ours": script.of("ours", 1.0)}, 1000, whole=True)
    run_all([Section("section", [case])], TOOLS, Plan(rounds=1, share=0.1))
    assert script.made == [("ours", 1000)]


def test_a_contestant_without_such_a_figure_leaves_the_row_empty() -> None:
    first, second = row(), row()
    case = Case([first, second], {"ours": Script().of("ours", 1.0, 2.0), "python": Script().of("python", 3.0, None)}, 1)
    run_all([Section("section", [case])], TOOLS, Plan(rounds=1))
    assert (first.values, second.values) == ({"ours": [1.0], "python": [3.0]}, {"ours": [2.0]})


def test_a_figure_that_too_few_calls_tell_is_left_out() -> None:
    rows = [Row(f"key.{name}", "title", "ns") for name in ("p50", "p99", "p99.9", "worst")]
    script = Script()
    contestants = {name: script.of(name, 1.0, 2.0, 3.0, 4.0) for name in ("ours", "cffi")}
    case = Case(rows, contestants, 10_000, shares={"cffi": 0.1})
    run_all([Section("section", [case])], TOOLS, Plan(rounds=1))
    both = {"ours", "cffi"}
    assert [set(row.values) for row in rows] == [both, both, {"ours"}, {"ours"}]
    assert rows[0].calls == {"ours": 10_000, "cffi": 1000}
    assert [row.above for row in rows] == [0.5, 0.01, 0.001, 0.0]
    assert row().above is None


def test_what_does_not_run_is_a_fault_and_the_others_go_on() -> None:
    script = Script()
    case = Case([row()], {"go": broken, "ours": script.of("ours", 1.0)}, 1)
    outcome = run_all([Section("section", [case])], TOOLS, Plan(rounds=2))
    assert [(fault.row, fault.contestant, fault.said) for fault in outcome.faults] == [("key", "go", "no such entry")]
    assert case.rows[0].values == {"ours": [1.0, 1.0]}


def test_a_quick_run_leaves_out_what_is_not_quick() -> None:
    script = Script()
    cases = [Case([row()], {"ours": script.of("ours", 1.0)}, calls, quick=calls == 1) for calls in (1, 2)]
    run_all([Section("section", cases)], TOOLS, Plan(rounds=1, quick=True))
    assert script.made == [("ours", 1)]


def test_no_round_is_begun_for_which_there_is_no_time() -> None:
    script = Script()
    case = Case([row()], {"ours": script.of("ours", 1.0)}, 1)
    outcome = run_all([Section("section", [case])], TOOLS, Plan(rounds=5, limit_s=0.0))
    assert (outcome.rounds, len(script.made)) == (1, 1)


# ---- cores ----


def test_what_is_measured_is_kept_on_cores_and_the_harness_is_not() -> None:
    before = os.sched_getaffinity(0)
    with on_cores(1):
        inside = os.sched_getaffinity(0)
        started = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout
    assert len(inside) == int(started) == 1
    assert inside == set(pinned()["1"])
    with on_cores(0):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_the_time_of_others_is_what_the_run_itself_did_not_use() -> None:
    before, after = Used(0.0, 10.0, 1.0, 2.0), Used(10.0, 25.0, 2.0, 7.0)
    assert shares(before, after, cores=2) == {"others": 0.5, "stolen": 0.05}


def test_the_time_of_ended_children_is_our_own() -> None:
    before = used()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    after = used()
    assert after.own_s > before.own_s
    assert after.all_s >= before.all_s
