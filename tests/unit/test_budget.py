"""make budget: what is read of callgrind, and what is compared with what."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from budget_table import Budget, Build, Cost, compare, explain, verdicts_of  # noqa: E402 -- a script, not an installed module
from callgrind import CountError, count, parse, said_by  # noqa: E402

COUNTED = """\
# callgrind format
positions: line
events: Ir
summary: 1530

ob=/env/_core.so
fl=shim/core/dispatch.c
fn=nrpy_handle
0 1000
cob=/usr/lib/libc.so.6
cfi=memcpy.S
cfn=memcpy
calls=10 44
0 500
cfn=nrpy_call_new
calls=3 1
0 40
fi=shim/core/call.h
0 30
fe=shim/core/dispatch.c

ob=/usr/lib/libc.so.6
fl=memcpy.S
fn=memcpy
0 500

totals: 1530
"""
HERE = Build("GCC 12.2.0", "3.11.7 (main)", "glibc 2.36")
COST: Cost = {"ours": 1000, "python": 2000, "libc": 500}


@pytest.mark.parametrize(("now", "verdicts"), [(1030, set()), (1031, {"over"}), (970, set()), (969, {"below"})])
def test_a_rough_way_may_be_off_by_more(now: int, verdicts: set[str]) -> None:
    (line,) = compare({"way": {**COST, "ours": now}}, HERE, HERE, {"way": COST}, {"way"})
    assert line.verdicts == verdicts


def test_what_a_function_spends_itself_and_how_often_it_is_entered() -> None:
    thread = parse(COUNTED)
    assert thread.own == {("/env/_core.so", "nrpy_handle"): 1030, ("/usr/lib/libc.so.6", "memcpy"): 500}
    assert thread.calls == {"memcpy": 10, "nrpy_call_new": 3}
    assert thread.across == {("/env/_core.so", "/usr/lib/libc.so.6"): 500, ("/env/_core.so", "/env/_core.so"): 40}
    assert (thread.ran("nrpy_h*"), thread.ran("nrpy_x")) == (True, False)


@pytest.mark.parametrize(
    ("group", "now", "verdicts"),
    [
        ("ours", 1010, set()),
        ("ours", 1011, {"over"}),
        ("ours", 990, set()),
        ("ours", 989, {"below"}),
        ("python", 2070, set()),
        ("python", 2071, {"over"}),
        ("libc", 429, {"below"}),
    ],
)
def test_which_side_of_its_budget_a_way_is_on(group: str, now: int, verdicts: set[str]) -> None:
    (line,) = compare({"way": {**COST, group: now}}, HERE, HERE, {"way": COST})
    assert line.verdicts == verdicts
    assert str(line).endswith("".join(f" {verdict.upper()}" for verdict in verdicts))


@pytest.mark.parametrize(
    ("build", "ours", "python", "why"),
    [
        (replace(HERE, compiler="GCC 12.3.0"), {"over"}, {"over"}, ""),
        (replace(HERE, python="3.11.9 (main)"), {"over"}, set(), "only ours is compared"),
        (replace(HERE, libc="glibc 2.39"), {"over"}, set(), "only ours is compared"),
        (replace(HERE, compiler="GCC 13.1.0"), set(), set(), "nothing is compared"),
        (replace(HERE, compiler="clang 12.2.0"), set(), set(), "nothing is compared"),
    ],
)
def test_another_build_is_compared_as_far_as_it_can_be(
    build: Build, ours: set[str], python: set[str], why: str
) -> None:
    for group, verdicts in (("ours", ours), ("python", python)):
        (line,) = compare({"way": {**COST, group: 5000}}, build, HERE, {"way": COST})
        assert line.verdicts == verdicts
    assert explain(build, HERE).endswith(why)


def test_a_way_without_a_budget_wants_one() -> None:
    (line,) = compare({"new": COST}, HERE, HERE, {"way": COST})
    assert line.verdicts == {"new"}


def test_ci_is_not_content_where_nothing_at_all_was_compared() -> None:
    elsewhere = replace(HERE, compiler="GCC 13.1.0")
    unheld = compare({"way": COST}, elsewhere, HERE, {"way": COST}) + compare({"way": COST}, HERE, None, {})
    assert (verdicts_of(unheld, is_ci=True), verdicts_of(unheld, is_ci=False)) == ({"unheld"}, set())
    assert verdicts_of([], is_ci=True) == {"unheld"}
    held = compare({"way": COST}, HERE, HERE, {"way": COST})
    assert verdicts_of(unheld + held, is_ci=True) == set()


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(CountError, match=r"(?s)-c .*ended with 3: no such plugin"):
        said_by(sys.executable, "-c", "import sys; print('no such plugin', file=sys.stderr); sys.exit(3)")
    with pytest.raises(CountError, match="/no/such/python"):
        said_by("/no/such/python")


def test_a_count_that_does_not_end_says_what_it_was_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    valgrind = tmp_path / "valgrind"  # takes the place of one that is slow
    valgrind.write_text("#!/bin/sh\necho 'still warming up' >&2\nexec sleep 60\n")
    valgrind.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(CountError, match=r"nrhost bench\nwas not through after 0.5 s under valgrind: still warming up"):
        count(["nrhost", "bench"], ["handle"], "begin", limit_s=0.5)


def test_the_file_is_read_as_it_was_written() -> None:
    budget = Budget({"3.11": HERE, "3.12": replace(HERE, python="3.12")}, {"3.11": {"a way": COST}, "3.12": {}})
    assert Budget.read(budget.write()) == budget
    text = (ROOT / "benchmarks/budget/budget.toml").read_text()
    assert Budget.read(text).write() == text
