"""What a soak run does, in which order: all of it follows from the seed and the time, so that it can be done again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from soak import lanes
from soak.lanes import Lane

#: The phases of a round and their parts of its time.
ROUND = {"bulk": 0.25, "mixed": 0.15, "churn": 0.45, "faults": 0.15}
ROUND_S = 120.0


@dataclass(frozen=True)
class Churn:
    """Reloads of a plugin: in `drain` of a hundred the calls in progress are waited for."""

    plugin: str
    drain: int
    seed: int


@dataclass(frozen=True)
class Phase:
    """A piece of the run. The plugins are loaded at its start and unloaded at its end."""

    number: int
    name: str
    seconds: float
    lanes: tuple[Lane, ...]
    churns: tuple[Churn, ...] = ()
    stream_capacity: int = 64
    signals: bool = False
    kills: bool = False


def make(seed: int, minutes: float) -> list[Phase]:
    """The phases of a run.

    Args:
        seed: of everything that is left to chance.
        minutes: how long the phases take together.
    """
    rounds = max(1, round(minutes * 60 / ROUND_S))
    phases = []
    for number in range(rounds * len(ROUND)):
        name = list(ROUND)[number % len(ROUND)]
        chance = random.Random(f"{seed}/{number}")  # a phase by itself is the phase of the whole run
        phases.append(_phase(number, name, minutes * 60 / rounds * ROUND[name], chance))
    return phases


def _phase(number: int, name: str, seconds: float, chance: random.Random) -> Phase:
    hot = lanes.on_every_plugin(lanes.HOT)
    mixed = lanes.on_every_plugin(lanes.UNARY + lanes.STREAMS)
    unkind = lanes.on_every_plugin(lanes.UNKIND)
    capacity = chance.choice((1, 4, 64))
    if name == "bulk":
        return Phase(number, name, seconds, tuple(chance.sample(hot, 4)))
    if name == "mixed":
        return Phase(number, name, seconds, (*mixed, *chance.sample(hot, 2)), stream_capacity=capacity)
    if name == "churn":
        chosen = (*chance.sample(mixed, 8), *chance.sample(unkind, 4), *chance.sample(hot, 2))
        churns = tuple(Churn(plugin, chance.choice((0, 50, 90)), chance.randrange(1 << 32)) for plugin in lanes.PLUGINS)
        return Phase(number, name, seconds, chosen, churns, capacity)
    chosen = (*unkind, *chance.sample(mixed, 6), lanes.PROCESSES)
    return Phase(number, name, seconds, chosen, stream_capacity=capacity, signals=True, kills=True)
