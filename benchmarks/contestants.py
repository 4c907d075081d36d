"""Who can do what: the entries are called the same in every plugin, but not everybody has all of them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.model import BORROW, OURS, Abi, Measure
from benchmarks.peers.build import PEERS
from benchmarks.tools import Tools

# What our plugins answer, through either ABI; of the peers, PEERS tells.
ENTRIES = {"sync", "raw", "pool", "gen", "owned", "busy"}
# A call of theirs takes so much longer that they make this share of the others' calls.
SHARES = {"cffi": 0.05, "pyo3": 0.05}
# What keeps Python busy meanwhile, of those who can.
BUSY = {"busy": "busy", "busy_end": "busy_end"}

_OTHER_PYTHONS = ("ours ", "floor ")


def can(contestant: str, abi: Abi, entry: str) -> bool:
    """Whether a contestant has that entry for hosts of that ABI."""
    kind = contestant.split()[0] if contestant.startswith(_OTHER_PYTHONS) else contestant
    if kind == BORROW:
        return False  # its one case names it
    if kind == OURS:
        return entry in ENTRIES
    peer = PEERS.get(kind)
    return peer is not None and entry in peer.entries.get(abi, ())


def who(
    tools: Tools, abi: Abi, entry: str, measure: Callable[[str], Measure], *, pythons: bool = False
) -> dict[str, Measure]:
    """Those that were built and can do it, each with its measurement.

    Args:
        tools: what was built.
        abi: "v1" or "v2".
        entry: what is called.
        measure: makes the measurement of one of them.
        pythons: the other Pythons too.
    """
    names = [name for name in tools.plugins if can(name, abi, entry)]
    return {name: measure(name) for name in names if pythons or not name.startswith(_OTHER_PYTHONS)}


def figures(entry: str, kind: str, *keys: str, **options: object) -> Callable[[str], Measure]:
    """Makes measurements in the C host: an `nrhost bench`, and what of its figures is wanted."""

    def of(contestant: str) -> Measure:
        def measure(tools: Tools, calls: int) -> list[float]:
            found = tools.bench(contestant, entry, kind, calls=calls, **options)
            return [float(found[key]) for key in keys]

        return measure

    return of
