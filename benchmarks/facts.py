"""What one must know of the machine and of the run to read the figures."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cpu import model, pinned
from benchmarks.measure import HERE, ROOT, BenchError, run
from benchmarks.peers.build import PEERS, go_command, libpython
from benchmarks.rounds import Plan
from benchmarks.table import show
from benchmarks.tools import Tools

HOSTS = ("c", "rust")
SHARED_CORE_NS = 2000  # no hardware is as slow as that from core to core: two threads took turns on one
MOST = 0.5  # of the hops: two threads that are seldom apart have one core between them
MUCH = 0.05  # of the cores, taken by others: a system by itself takes less
LOCKED = {  # what a Rust part is made with, by the lock file that says which version
    "pyo3": (HERE / "peers/pyo3/Cargo.lock", ("pyo3",)),
    "hosts": (ROOT / "host-harness/rust/Cargo.lock", ("tokio", "nylon-ring-host")),
}


@dataclass(frozen=True)
class Asked:
    """Which part of everything a run was asked for.

    Args:
        only: how the keys of its rows begin; empty for all.
        peers: those beside ours.
        hosts: of HOSTS.
    """

    only: str = ""
    peers: tuple[str, ...] = tuple(PEERS)
    hosts: tuple[str, ...] = HOSTS


def _said(command: list[str]) -> str:
    """The first line of what a command says of itself."""
    try:
        return run(command).partition("\n")[0]
    except BenchError as error:
        return f"does not run: {error}"


def _compilers() -> dict[str, str]:
    """What those that are there say of themselves."""
    commands = {"cc": [os.environ.get("CC", "cc"), "--version"], "rustc": ["rustc", "--version"]}
    found = {name: _said(command) for name, command in commands.items() if shutil.which(command[0])}
    go = go_command()
    return found | ({"go": _said([go, "version"])} if go else {})


def _libraries(tools: Tools) -> dict[str, str]:
    """The versions of what peers and hosts are made with."""
    wanted = {"pyo3": "pyo3" in tools.plugins, "hosts": tools.rust is not None}
    found: dict[str, str] = {}
    for name in filter(wanted.get, LOCKED):
        lock, packages = LOCKED[name]
        locked = tomllib.loads(lock.read_text())["package"]
        found |= {package["name"]: package["version"] for package in locked if package["name"] in packages}
    return found | ({"cffi": version("cffi")} if "cffi" in tools.plugins else {})


def _sources() -> str:
    """The commit that is measured, and whether files differ from it; empty where the sources are no clone."""
    try:
        return run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]).strip()
    except BenchError:
        return ""


def _version_of(python: str) -> str:
    return run([python, "-I", "-c", "import platform; print(platform.python_version())"]).strip()


def facts_of(tools: Tools, taken: Mapping[str, float], plan: Plan, asked: Asked) -> dict[str, Any]:
    """Of this machine and this run, for the JSON; `taken` is what `neighbours.shares` says of it.

    A hop of which both ends were on one core, where the system happened to put them, is none.
    """
    hops = tools.hops
    apart = [hop for hop in hops if hop < SHARED_CORE_NS]
    return {
        "sources": _sources(),
        "asked": asdict(asked),
        "python": platform.python_version(),
        "implementation": sys.version,
        "libpython": Path(libpython(sys.executable)).name,
        "other_pythons": [_version_of(python) for python in tools.pythons.values()],
        "compilers": _compilers(),
        "libraries": _libraries(tools),
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
    others = "".join(f", {version}" for version in facts["other_pythons"])
    lines = [
        f"sources: {facts['sources'] or 'git does not tell which'}",
        f"CPython {facts['python']}{others}; {processor}, {facts['cores']} cores, {facts['machine']}",
        f"{kind}: {facts['rounds']} rounds in {facts['took_s']:.0f} s",
        *(f"in part: {part}" for part in parts(facts)),
        f"meanwhile other processes had {taken['others']:.0%} of the cores, other machines {taken['stolen']:.0%}",
        _pinned(facts["pinned"]),
        *(f"{name}: {said}" for name, said in facts["compilers"].items()),
    ]
    if facts["libraries"]:
        lines.append(", ".join(f"{name} {number}" for name, number in facts["libraries"].items()))
    if hops is not None:
        near, far = show(hops["min"], "ns"), show(hops["max"], "ns")
        lines.append(f"a cache line took {near} to {far} from core to core: what passes between threads costs with it")
    if max(taken.values()) > MUCH or facts["hops_apart"] < MOST:
        lines.append("OTHER PROCESSES HELD THE CORES MEANWHILE: measure again on a quiet machine")
    return lines


def parts(facts: Mapping[str, Any]) -> list[str]:
    """What was asked for instead of everything; empty where it was everything."""
    asked = facts["asked"]
    found = [f"the rows whose key begins with {asked['only']}"] if asked["only"] else []
    for what, all_of_them in (("peers", PEERS), ("hosts", HOSTS)):
        left = [name for name in all_of_them if name not in asked[what]]
        found += [f"without the {what} {', '.join(left)}"] if left else []
    return found


def _pinned(cores: Mapping[str, Sequence[int]]) -> str:
    if not cores:
        return "nothing is kept on a core: the system does not let a process choose"
    one, two = (", ".join(map(str, cores[count])) for count in ("1", "2"))
    return (
        f"calls from one thread that it answers itself are kept on core {one}, what needs two threads on cores {two}, "
        "more than two threads may use all"
    )
