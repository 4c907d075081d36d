"""What one must know of the machine and of the run to read the figures."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cpu import model, pinned
from benchmarks.measure import BenchError, run
from benchmarks.peers.build import libpython
from benchmarks.rounds import Plan
from benchmarks.table import show

SHARED_CORE_NS = 2000  # no hardware is as slow as that from core to core: two threads took turns on one
MOST = 0.5  # of the hops: two threads that are seldom apart have one core between them
MUCH = 0.05  # of the cores, taken by others: a system by itself takes less
COMPILERS = {"cc": "--version", "rustc": "--version", "go": "version"}


def _compilers() -> dict[str, str]:
    """What those that are there say of themselves."""
    said = {}
    for name, option in COMPILERS.items():
        if shutil.which(name) is not None:
            try:
                said[name] = run([name, option]).partition("\n")[0]
            except BenchError as error:
                said[name] = f"does not run: {error}"
    return said


def facts_of(hops: Sequence[float], taken: Mapping[str, float], plan: Plan) -> dict[str, Any]:
    """Of this machine and this run, for the JSON; `taken` is what `neighbours.shares` says of it.

    A hop of which both ends were on one core, where the system happened to put them, is none.
    """
    apart = [hop for hop in hops if hop < SHARED_CORE_NS]
    return {
        "python": platform.python_version(),
        "implementation": sys.version,
        "libpython": Path(libpython(sys.executable)).name,
        "compilers": _compilers(),
        "cores": os.cpu_count(),
        "pinned": pinned(),
        "processor": model(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "taken": dict(taken),
        "hop_ns": {"min": min(apart), "max": max(apart)} if apart else None,
        "hops_apart": len(apart) / len(hops) if hops else 1.0,
        "share": plan.share,
        "quick": plan.quick,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def told(facts: Mapping[str, Any]) -> list[str]:
    """The same as sentences; `facts` are those of the JSON, with the rounds."""
    share = "" if facts["share"] == 1 else f" with {facts['share']:g} of its calls"
    kind = ("a quick run" if facts["quick"] else "a full run") + share
    processor = facts["processor"] or "a processor that does not say its name"
    hops, taken = facts["hop_ns"], facts["taken"]
    lines = [
        f"CPython {facts['python']}, {processor}, {facts['cores']} cores, {facts['machine']}",
        f"{kind}: {facts['rounds']} rounds in {facts['took_s']:.0f} s",
        f"meanwhile other processes had {taken['others']:.0%} of the cores, other machines {taken['stolen']:.0%}",
        _pinned(facts["pinned"]),
        *(f"{name}: {said}" for name, said in facts["compilers"].items()),
    ]
    if hops is not None:
        near, far = show(hops["min"], "ns"), show(hops["max"], "ns")
        lines.append(f"a cache line took {near} to {far} from core to core: what passes between threads costs with it")
    if max(taken.values()) > MUCH or facts["hops_apart"] < MOST:
        lines.append("OTHER PROCESSES HELD THE CORES MEANWHILE: measure again on a quiet machine")
    return lines


def _pinned(cores: Mapping[str, Sequence[int]]) -> str:
    if not cores:
        return "nothing is kept on a core: the system does not let a process choose"
    one, two = (", ".join(map(str, cores[count])) for count in ("1", "2"))
    return (
        f"calls from one thread that it answers itself are kept on core {one}, what needs two threads on cores {two}, "
        "more than two threads may use all"
    )
