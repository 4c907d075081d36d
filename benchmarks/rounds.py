"""Runs all cases, round after round, the contestants of each by turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.cpu import on_cores
from benchmarks.measure import BenchError
from benchmarks.model import Case, Section, label
from benchmarks.tools import Tools


@dataclass(frozen=True)
class Plan:
    """How much a run measures.

    Args:
        rounds: at most.
        share: of a full run's calls, which each measurement makes.
        quick: leaves out the cases that say so.
        limit_s: no round is begun that would end later, as far as the last one tells; None: no limit.
    """

    rounds: int
    share: float = 1.0
    quick: bool = False
    limit_s: float | None = None


@dataclass(frozen=True)
class Fault:
    """A measurement that did not run, or something to measure that does not build."""

    row: str  # its key; empty where nothing was built to measure
    contestant: str
    said: str

    @property
    def what(self) -> str:
        """Who failed, and at what."""
        return f"{self.row}: {self.contestant} does not run" if self.row else f"{self.contestant} does not build"


@dataclass
class Outcome:
    """What came of a run, besides the values in its rows."""

    rounds: int = 0
    took_s: float = 0.0
    faults: list[Fault] = field(default_factory=list)


def _measure(case: Case, contestant: str, tools: Tools, plan: Plan) -> Fault | None:
    calls = case.calls_of(contestant, plan.share)
    try:
        with on_cores(case.cores):
            values = case.contestants[contestant](tools, calls)
    except BenchError as error:
        return Fault(case.rows[0].key, contestant, str(error))
    for row, value in zip(case.rows, values, strict=True):
        if value is not None and case.tells(row, contestant, calls):
            row.values.setdefault(contestant, []).append(value)
            row.calls[contestant] = calls
    return None


def _round(cases: Sequence[Case], number: int, tools: Tools, plan: Plan, outcome: Outcome) -> None:
    for case in cases:
        for contestant in case.turn(number) if case.contestants else ():
            print(
                f"round {number + 1} of {plan.rounds}: {case.rows[0].title}: {label(contestant)}",
                file=sys.stderr,
                flush=True,
            )
            fault = _measure(case, contestant, tools, plan)
            if fault is not None:
                print(f"  DOES NOT RUN: {fault.said}", file=sys.stderr, flush=True)
                outcome.faults.append(fault)
                del case.contestants[contestant]


def run_all(sections: Sequence[Section], tools: Tools, plan: Plan) -> Outcome:
    """Measure everything; progress goes to stderr.

    A contestant that does not run is not tried again in that case; the others go on.
    """
    cases = [case for section in sections for case in section.cases if case.quick or not plan.quick]
    outcome = Outcome()
    began = time.monotonic()
    last_s = 0.0
    for number in range(plan.rounds):
        if plan.limit_s is not None and outcome.rounds and outcome.took_s + last_s > plan.limit_s:
            print(f"time is up after {number} of {plan.rounds} rounds", file=sys.stderr)
            break
        _round(cases, number, tools, plan, outcome)
        outcome.rounds = number + 1
        last_s = time.monotonic() - began - outcome.took_s
        outcome.took_s += last_s
    return outcome
