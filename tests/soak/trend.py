"""Whether anything grows: judged where nothing is loaded, at the end of each phase."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from soak.running import Record

#: What resident memory may add from the warm-up to the end, by the line through the points at rest.
GROWTH_KIB = 4096.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between any two points (Theil and Sen): single points do not move it."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] != earlier[0]
    ]
    return median(slopes) if slopes else 0.0


def growth_kib(records: Sequence[Record], warm_up: int) -> float:
    """How much resident memory at rest grows, by that line, from the phase `warm_up` to the last."""
    points = [(record.phase.number, float(record.rest["rss_kib"])) for record in records[warm_up:]]
    return slope(points) * (points[-1][0] - points[0][0]) if len(points) > 1 else 0.0


def faults(records: Sequence[Record], warm_up: int) -> list[str]:
    """What does not hold, in words. The phases of the warm-up fill caches, and start threads that stay."""
    found = []
    after = [record for record in records[warm_up:] if record.rest]
    if not after:
        return []
    for what in ("fds", "threads", "children"):
        values = [record.rest[what] for record in after]
        if max(values) > values[0]:
            found.append(f"{what} at rest grow: {values}")
    grown = growth_kib(after, 0)
    if grown > GROWTH_KIB:
        found.append(
            f"resident memory at rest grows by {grown:.0f} KiB, more than {GROWTH_KIB:.0f}: "
            f"{[record.rest['rss_kib'] for record in after]}"
        )
    return found
