"""On which cores something is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def _siblings(core: int) -> str:
    """Names the piece of hardware a logical core is on; the core itself where the system does not tell."""
    try:
        return Path(_TOPOLOGY.format(core)).read_text().strip()
    except OSError:
        return str(core)


def _apart() -> list[int]:
    """The cores this process may use: one of each piece of hardware first, then their siblings."""
    first: dict[str, int] = {}
    for core in sorted(os.sched_getaffinity(0)):
        first.setdefault(_siblings(core), core)
    apart = list(first.values())
    return apart + sorted(os.sched_getaffinity(0).difference(apart))


@cache
def may_pin() -> bool:
    """Whether the system lets a process choose its cores: not every sandbox does."""
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except OSError:
        return False
    return True


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Keep what is started inside on so many cores, the last ones there are; 0, or more than there are: on all.

    The last, because the first is where many systems have their interrupts.
    """
    before = os.sched_getaffinity(0)
    wanted = _apart()[-count:] if count else []
    is_pinned = 0 < len(wanted) < len(before) and may_pin()
    try:
        if is_pinned:
            os.sched_setaffinity(0, wanted)
        yield
    finally:
        if is_pinned:
            os.sched_setaffinity(0, before)


def pinned() -> dict[str, list[int]]:
    """Which cores measurements are kept on, by how many they ask for; empty where the system does not let them."""
    cores = _apart()
    return {} if not may_pin() else {str(count): cores[-count:] for count in (1, 2)}


def model() -> str:
    """What the processor calls itself; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else ""
