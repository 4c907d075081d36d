"""What `Plugin.stats` gives: counts and times of every entry, as they were at one moment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

BUCKETS = 40
"""Of a histogram: bucket i counts times from 2**i nanoseconds up to 2**(i+1), so the last begins at nine minutes."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long calls took, from the host's `handle` to the terminal reply.

    `counts` are those of `BUCKETS` buckets, each reaching twice as far as the one before; `sum_s` is the time of all
    calls together, in seconds. Of an entry that is called often not every call is timed: those that are stand for the
    others.
    """

    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """How many calls."""
        return sum(self.counts)

    @property
    def buckets(self) -> list[tuple[float, int]]:
        """For every bucket its upper bound in seconds and how many calls took no longer: a cumulative count."""
        return [(2.0 ** (i + 1) / 1e9, below) for i, below in enumerate(accumulate(self.counts))]

    def quantile(self, q: float) -> float:
        """A time that the share `q` of the calls stayed below, in seconds.

        Inside a bucket the calls are taken to be spread evenly, so the answer is right to a factor of two at worst.

        Args:
            q: from 0 to 1.

        Returns:
            The time; NaN where there were no calls.

        Raises:
            ValueError: q is out of range.
        """
        if not 0.0 <= q <= 1.0:  # NaN fails this too
            raise ValueError(f"q is {q}, but must be from 0 to 1")
        wanted = q * self.count
        below = 0
        for i, count in enumerate(self.counts):
            if count and below + count >= wanted:
                share = max(wanted - below, 0.0) / count
                return 2.0**i * (1.0 + share) / 1e9
            below += count
        return math.nan

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: count, sum_s, the quantiles that are asked for most (null without calls), and the
        buckets that are not empty, as pairs of upper bound in seconds and count.
        """
        bounds = [bound for bound, _ in self.buckets]
        quantiles = {"p50_s": 0.5, "p90_s": 0.9, "p99_s": 0.99}
        return {
            "count": self.count,
            "sum_s": self.sum_s,
            **{name: self.quantile(q) if self.count else None for name, q in quantiles.items()},
            "buckets": [[bound, count] for bound, count in zip(bounds, self.counts, strict=True) if count],
        }


@dataclass(frozen=True, slots=True)
class EntryStats:
    """Counts of one entry since the load, and how many there are now.

    Attributes:
        name: the entry's name.
        calls: handlers that have begun.
        errors: terminal replies other than OK and StreamEnd.
        running: now: handlers that run, and coroutines and streams that are open.
        queued: now: calls that wait for a worker.
        queue_age_s: now: how long the oldest of them has waited, 0.0 without any.
        refused: calls that were not taken because a queue or `max_pending` was full.
        timeouts: calls answered at their `timeout_s`.
        latency: from the host's `handle` to the terminal reply.
    """

    name: str
    calls: int
    errors: int
    running: int
    queued: int
    queue_age_s: float
    refused: int
    timeouts: int
    latency: Histogram

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, under the names of the attributes."""
        return {**_counts(self, _ENTRY_COUNTS), "latency": self.latency.to_dict()}


@dataclass(frozen=True, slots=True)
class Stats:
    """A plugin's counts.

    Attributes:
        entries: by name, in the order of registration.
        late_replies: replies that came after their call had ended, and were dropped.
        frames_dropped: frames that a stream could not send any more, since it had ended.
        workers: worker threads there are now.
    """

    entries: dict[str, EntryStats]
    late_replies: int
    frames_dropped: int
    workers: int

    @property
    def totals(self) -> EntryStats:
        """All entries as one, whose name is empty: the sums, and of `queue_age_s` the longest."""
        return _sum("", list(self.entries.values()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, under the names of the attributes."""
        return {
            "entries": {name: entry.to_dict() for name, entry in self.entries.items()},
            "totals": self.totals.to_dict(),
            **_counts(self, _COUNTS),
        }


_ENTRY_COUNTS = ("name", "calls", "errors", "running", "queued", "queue_age_s", "refused", "timeouts")
_COUNTS = ("late_replies", "frames_dropped", "workers")


def read_stats(core: Mapping[str, Any], order: Iterable[str]) -> Stats:
    """Make `Stats` of what the core tells.

    Args:
        core: what `Instance.stats` gave.
        order: the names of its entries.
    """
    found = {each["name"]: _entry_stats(each) for each in core["entries"]}
    return Stats({name: found[name] for name in order}, **{name: core[name] for name in _COUNTS})


def merge(parts: Sequence[Stats]) -> Stats:
    """Add up the statistics of several loads of one plugin.

    Args:
        parts: one or more.

    Returns:
        The sums; entries are the same where their names are.
    """
    names = dict.fromkeys(name for part in parts for name in part.entries)
    entries = {name: _sum(name, [part.entries[name] for part in parts if name in part.entries]) for name in names}
    return Stats(entries, **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS})


def _sum(name: str, entries: Sequence[EntryStats]) -> EntryStats:
    columns = zip(*(each.latency.counts for each in entries), strict=True)
    return EntryStats(
        name=name,
        calls=sum(each.calls for each in entries),
        errors=sum(each.errors for each in entries),
        running=sum(each.running for each in entries),
        queued=sum(each.queued for each in entries),
        queue_age_s=max((each.queue_age_s for each in entries), default=0.0),
        refused=sum(each.refused for each in entries),
        timeouts=sum(each.timeouts for each in entries),
        latency=Histogram(
            tuple(map(sum, columns)) or (0,) * BUCKETS, math.fsum(each.latency.sum_s for each in entries)
        ),
    )


def _entry_stats(core: Mapping[str, Any]) -> EntryStats:
    counts: tuple[int, ...] = tuple(core["latency"])
    if len(counts) != BUCKETS:
        raise RuntimeError(f"the core gives {len(counts)} buckets of latency, and not {BUCKETS}: install one version")
    return EntryStats(**{name: core[name] for name in _ENTRY_COUNTS}, latency=Histogram(counts, core["latency_sum_s"]))


def _counts(stats: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(stats, name) for name in names}
