"""Where ours is ahead of another one and where behind, over all rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.model import OURS, Row, Section, label
from benchmarks.table import lay_out, show_ratio, show_spread


@dataclass(frozen=True)
class Beside:
    """The rows that both of them have.

    Args:
        contestant: the other one.
        ahead: ours is cheaper, and the rounds tell them apart.
        behind: ours is dearer.
        open: the rounds do not tell them apart.
    """

    contestant: str
    ahead: list[Row]
    behind: list[Row]
    open: list[Row]

    @property
    def rows(self) -> list[Row]:
        """All of them, by how ours stands there, the best first."""
        return sorted([*self.ahead, *self.behind, *self.open], key=self.cost)

    def cost(self, row: Row) -> float:
        """How many times as dear as the other one ours is in one of its rows."""
        cost = row.cost(self.contestant)
        assert cost is not None
        return cost


def beside(sections: Sequence[Section], contestant: str) -> Beside:
    """What a run says of ours and another one."""
    found = Beside(contestant, [], [], [])
    for section in sections:
        for row in section.rows:
            cost = row.cost(contestant)
            if cost is not None:
                (found.open if row.overlaps(contestant) else found.ahead if cost < 1 else found.behind).append(row)
    return found


def verdict(found: Beside) -> str:
    """How many rows are on which side, and from where to where they go."""
    name = label(found.contestant)
    if not found.rows:
        return f"{name} was not measured beside ours."
    costs = [found.cost(row) for row in found.rows]
    first, last = found.rows[0], found.rows[-1]
    return (
        f"Ahead of {name} in {len(found.ahead)} of {len(costs)} rows, behind in {len(found.behind)}, not told apart in "
        f"{len(found.open)}: from {show_ratio(costs[0])} ({first.title}) to {show_ratio(costs[-1])} ({last.title}) "
        f"times what {name} needs, {show_ratio(statistics.median(costs))} in the middle."
    )


def behind(found: Beside) -> str:
    """The rows where the other one is ahead, as a table, the worst first; empty where there is none."""
    name = label(found.contestant)
    lines = [
        [
            row.key,
            row.title,
            show_spread(row.values[OURS], row.unit),
            show_spread(row.values[found.contestant], row.unit),
            show_ratio(found.cost(row)),
        ]
        for row in sorted(found.behind, key=found.cost, reverse=True)
    ]
    return lay_out([["row", "measured", "ours", name, f"times {name}"], *lines]) if lines else ""
