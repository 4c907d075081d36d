"""What other processes, and other machines on the same hardware, took of the cores while something ran."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """Processor time up to now, in seconds: of all processes, of other machines, of this process and its children."""

    at_s: float
    all_s: float
    stolen_s: float
    own_s: float


def used() -> Used:
    """As the system counts it; children count once they have ended and were waited for."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = fields[:8]
    own = os.times()
    return Used(
        at_s=time.monotonic(),
        all_s=(user + nice + system + interrupts + soft) / _TICKS,
        stolen_s=stolen / _TICKS,
        own_s=own.user + own.system + own.children_user + own.children_system,
    )


def shares(before: Used, after: Used, cores: int) -> dict[str, float]:
    """Of the time of all cores in between: what other processes had, and what other machines had."""
    room = max(after.at_s - before.at_s, 1e-9) * cores
    others = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return {
        "others": round(min(max(others / room, 0.0), 1.0), 3),
        "stolen": round(min(max((after.stolen_s - before.stolen_s) / room, 0.0), 1.0), 3),
    }
