"""Whether anything grows: judged where nothing is loaded, at the end of each phase."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from soak.running import Record

#: What resident memory may add after the warm-up, by the line through the points at rest. A byte for each call of a
#: long run would be ten times as much; a KiB for each reload would be as much.
GROWTH_KIB = 6144.0


def warm_up(phases: int, of_a_round: int) -> int:
    """How many phases are left out: half of them, and a round at least. What the heap and Python keep for the next time
    comes nearer and nearer to its end, and a leak does not."""
    return max(phases // 2, min(of_a_round, phases - 1))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between any two points (Theil and Sen): single points do not move it."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] != earlier[0]
    ]
    return median(slopes) if slopes else 0.0


def growth_kib(records: Sequence[Record]) -> float:
    """How much resident memory at rest grows, by that line, from the first of these to the last."""
    points = [(record.phase.number, float(record.rest["rss_kib"])) for record in records]
    return slope(points) * (points[-1][0] - points[0][0]) if len(points) > 1 else 0.0


def faults(after: Sequence[Record]) -> list[str]:
    """What does not hold in the phases after the warm-up, in words."""
    found = []
    for what in ("fds", "threads", "children"):
        values = [record.rest[what] for record in after]
        if max(values) > values[0]:
            found.append(f"{what} at rest grow: {values}")
    grown = growth_kib(after)
    if grown > GROWTH_KIB:
        found.append(
            f"resident memory at rest grows by {grown:.0f} KiB, more than {GROWTH_KIB:.0f}: "
            f"{[record.rest['rss_kib'] for record in after]}"
        )
    return found
