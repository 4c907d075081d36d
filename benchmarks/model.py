"""Contestants, the rows they fill, and what ours is held to."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmarks.tools import Tools

Unit = Literal["ns", "/s", "KiB"]
Kind = Literal["at most", "at least"]
Abi = Literal["v1", "v2"]

OURS = "ours"
BORROW = "ours, borrow=True"
LEAST_ABOVE = 10  # calls longer than a percentile: of fewer, one that was held up by chance is the figure
_PERCENTILE = re.compile(r"\.p(\d+(?:\.\d+)?)$")

# The columns of every table, in this order, where a row has them. Ours with another Python and its floor are
# "ours 3.12" and "floor 3.12"; a row may have contestants of its own, which are called what they are.
LABELS = {
    OURS: "ours",
    "floor": "floor",
    "c": "C",
    "rust": "Rust",
    "go": "Go",
    "pyo3": "PyO3",
    "cffi": "cffi",
}


def label(contestant: str) -> str:
    """What a table calls a contestant."""
    return LABELS.get(contestant, contestant)


def in_order(contestants: Sequence[str]) -> list[str]:
    """The known ones as LABELS has them, then the others as they come; each once."""
    known = [name for name in LABELS if name in contestants]
    return known + [name for name in dict.fromkeys(contestants) if name not in LABELS]


@dataclass(frozen=True)
class Limit:
    """What our median is held to.

    Args:
        kind: on which side of the limit it must be; the limit itself is allowed.
        number: the limit in the row's unit, or, with `beside`, in multiples of that contestant's median.
        beside: a contestant of the same row, or None.
    """

    kind: Kind
    number: float
    beside: str | None = None

    def value(self, medians: Mapping[str, float]) -> float | None:
        """The limit in the row's unit; None where what it refers to was not measured."""
        if self.beside is None:
            return self.number
        other = medians.get(self.beside)
        return None if other is None else self.number * other

    def is_met(self, medians: Mapping[str, float], whose: str = OURS) -> bool | None:
        """Whether that one keeps to it; None where one of the two was not measured."""
        held, value = medians.get(whose), self.value(medians)
        if held is None or value is None:
            return None
        return held <= value if self.kind == "at most" else held >= value


def at_most(number: float, beside: str | None = None) -> Limit:
    """No more than that."""
    return Limit("at most", number, beside)


def at_least(number: float, beside: str | None = None) -> Limit:
    """No less than that."""
    return Limit("at least", number, beside)


@dataclass(frozen=True)
class Point:
    """Where a row stands in a plot of several rows.

    Args:
        plot: the plot's title; rows of one plot follow each other.
        x: what the row is called on its axis.
    """

    plot: str
    x: str


def overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the spreads of several rounds have something in common, so that the two are not told apart."""
    return min(len(one), len(other)) > 1 and max(min(one), min(other)) <= min(max(one), max(other))


@dataclass
class Row:
    """One line of a table: one kind of work in one host.

    Args:
        key: its name in the JSON, the same in every run; that of a percentile ends so, as `.p99.9`, or in `.worst`.
        title: what was measured.
        unit: of all its values.
        limits: the target; all of them must be kept.
        point: its place in a plot, or None.
        note: what one must know to compare its columns; empty where nothing.
        obstacle: what stands in the way of its target, said where that is missed.
        values: of each contestant, one for each round.
        calls: of each contestant, in each of them.
    """

    key: str
    title: str
    unit: Unit
    limits: tuple[Limit, ...] = ()
    point: Point | None = None
    note: str = ""
    obstacle: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def above(self) -> float | None:
        """Which share of the calls took longer than a percentile says; None where the row is of all calls."""
        if self.key.endswith(".worst"):
            return 0.0
        found = _PERCENTILE.search(self.key)
        return round(1 - float(found[1]) / 100, 6) if found else None

    @property
    def medians(self) -> dict[str, float]:
        """Of each contestant that was measured."""
        return {name: statistics.median(values) for name, values in self.values.items() if values}

    def ratio(self, contestant: str) -> float | None:
        """Our median in multiples of that one's; None where one of them is missing."""
        medians = self.medians
        ours, other = medians.get(OURS), medians.get(contestant)
        return None if ours is None or not other else ours / other

    def cost(self, contestant: str) -> float | None:
        """How many times as dear as that one ours is: below 1 ours is ahead, of calls a second as well."""
        ratio = self.ratio(contestant)
        if self.unit != "/s" or ratio is None:
            return ratio
        return 1 / ratio if ratio else math.inf

    def overlaps(self, contestant: str) -> bool:
        """Whether our spread and that one's overlap."""
        return overlap(self.values.get(OURS, ()), self.values.get(contestant, ()))

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none, or a part of it cannot be told and none is missed."""
        medians = self.medians
        verdicts = [limit.is_met(medians) for limit in self.limits]
        if False in verdicts:
            return False
        return True if verdicts and None not in verdicts else None


# Measures one contestant once: with what, and how many calls; one value for each row of the case, None where that
# contestant has no such figure.
Measure = Callable[["Tools", int], Sequence[float | None]]


@dataclass
class Case:
    """Rows that one measurement fills.

    Args:
        rows: in the order of the values it gives.
        contestants: how each is measured.
        calls: of a full run.
        cores: how many the measurement is kept on; 0 leaves it on all of them.
        quick: whether a quick run has it.
        whole: whether a short run makes all its calls too.
        shares: contestants too slow for as many calls, and which share of them they make; "floor" is every Python's.
    """

    rows: list[Row]
    contestants: dict[str, Measure]
    calls: int
    cores: int = 0
    quick: bool = True
    whole: bool = False
    shares: Mapping[str, float] = field(default_factory=dict)

    def turn(self, number: int) -> list[str]:
        """The contestants in the order of that round.

        Each is first once in as many rounds as there are of them. Odd rounds go backwards, so that nobody always
        follows the same one.
        """
        names = list(self.contestants)
        step = -1 if number % 2 else 1
        return [names[(number + step * place) % len(names)] for place in range(len(names))]

    def share_of(self, contestant: str) -> float:
        """Which share of the calls it makes."""
        return self.shares.get(contestant, self.shares.get(contestant.partition(" ")[0], 1.0))

    def calls_of(self, contestant: str, share: float) -> int:
        """How many calls it makes when a run makes `share` of all."""
        return max(math.ceil(self.calls * (1.0 if self.whole else share) * self.share_of(contestant)), 1)

    def tells(self, row: Row, contestant: str, calls: int) -> bool:
        """Whether so many calls tell a row's figure: a percentile by those above it, the worst if all made as many."""
        if row.above == 0:
            return self.share_of(contestant) == 1
        return row.above is None or calls * row.above >= LEAST_ABOVE


@dataclass
class Section:
    """Cases that make one table."""

    title: str
    cases: list[Case]

    @property
    def rows(self) -> list[Row]:
        """In the order of the table."""
        return [row for case in self.cases for row in case.rows]
