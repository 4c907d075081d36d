"""Count the instructions of a call by each way, and compare them with benchmarks/budget/budget.toml.

    budget.py [--update] [--profile WAY] [VERSION...]

Ends with 1 where a way costs more than its budget, or so much less that the budget must follow. Stub and core are
compared wherever the same major version of the compiler built them; the whole, with libpython and libc in it, only
with the builds that the budget names. Without valgrind nothing is counted: a failure where CI=true.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from budget_table import (
    GROUPS,
    HEAD,
    OURS_TOLERANCE,
    TOTAL_TOLERANCE,
    Budget,
    Build,
    Cost,
    Line,
    compare,
    explain,
    verdicts_of,
)
from callgrind import CountError, Thread, count, said_by
from environment import ROOT, VERSIONS, find, make
from test import build_host

FOLDER = ROOT / "benchmarks/budget"
BUDGET = FOLDER / "budget.toml"
PROFILE_LINES = 25
BEGIN = "pthread_barrier_wait*"  # the host's lanes meet there between warm-up and what is measured

CALLS, WARMUP, WINDOW, FRAMES = 2000, 200, 250, 1000


@dataclass(frozen=True)
class Way:
    """What is counted of a call.

    Args:
        functions: which must be entered for it; the first of them tells its thread. They must not call each other.
        units: calls or frames that the count is divided by. The host's thread forgets its warm-up, and others do not.
        is_rough: it differs from run to run, by the rounds that an event loop makes.
    """

    functions: tuple[str, ...]
    units: int = CALLS
    is_rough: bool = False


@dataclass(frozen=True)
class Run:
    """One life of a host: what it calls, and the ways that are counted in it.

    Args:
        entry: of the plugin.
        kind: of `nrhost bench`.
        options: of `nrhost bench`.
        plugin: a file of benchmarks/budget, without its suffix.
    """

    entry: str
    kind: str
    ways: dict[str, Way]
    options: Mapping[str, object] = field(default_factory=dict)
    plugin: str = "plugin"


HANDLE_V1, HANDLE_V2 = Way(("nrpy_v1_handle",)), Way(("handle_000",))
DRAIN = Way(("drain",), CALLS + WARMUP)
REPLY = Way(("send_reply*",), CALLS + WARMUP)  # the linker's optimiser may add ".lto_priv.0" to a static one's name
FRAME = Way(("drain",), 3 * FRAMES)
LOOP = Way(("feed_drain*",), CALLS + WARMUP)
ROUNDS = replace(LOOP, is_rough=True)

BATCHES = {"window": WINDOW}
RUNS = (
    Run("sync", "unary", {"handle_sync": HANDLE_V1}),
    Run("raw", "raw", {"raw sync": HANDLE_V1}),
    Run("raw", "raw", {"raw sync, v2": HANDLE_V2}, {"abi": "v2"}),
    Run("pool", "submit", {"pooled submit": HANDLE_V1, "drain": DRAIN}, BATCHES),
    Run("pool", "submit", {"reply": REPLY}, BATCHES),
    Run("gen", "stream", {"generator's frame": FRAME}, {"calls": 2, "warmup": 1}),
    Run("task", "submit", {"coroutine submit": HANDLE_V1, "coroutine": LOOP}, BATCHES, "plugin_loop"),
    Run("turn", "submit", {"coroutine's wait": ROUNDS}, BATCHES, "plugin_loop"),
    Run("look", "submit", {"coroutine's task": ROUNDS}, BATCHES, "plugin_loop"),
)
WAYS = {name: way for run in RUNS for name, way in run.ways.items()}
ROUGH = {name for name, way in WAYS.items() if way.is_rough}


# ---- counting ----


def group_of(file: str) -> str | None:
    """Whose an object file is; None: the host's, which is not counted."""
    name = Path(file).name
    if name.startswith(("plugin", "_core.")):
        return "ours"
    if name.startswith("libpython") or "lib-dynload" in file:
        return "python"
    return None if name == "nrhost" else "libc"


def measure(host: Path, python: Path, folder: Path) -> dict[str, Thread]:
    """Run every run, with plugins built in `folder`; what the thread of each way spent in it.

    Raises:
        CountError: a run failed, or a way was not gone.
    """

    def once(run: Run) -> dict[str, Thread]:
        command = [str(host), "bench", str(folder / f"{run.plugin}.so"), run.entry, "--kind", run.kind]
        for name, value in {"calls": CALLS, "warmup": WARMUP, **run.options}.items():
            command += [f"--{name}", str(value)]
        threads = count(command, [name for way in run.ways.values() for name in way.functions], BEGIN)
        return {name: next(t for t in threads if t.ran(way.functions[0])) for name, way in run.ways.items()}

    folder.mkdir(parents=True, exist_ok=True)
    for source in FOLDER.glob("*.py"):
        out = folder / f"{source.stem}.so"
        build: list[str | Path] = [python, "-P", "-m", "nylon_ring_py.cli", "build-plugin", source, "-o", out]
        said_by(*build)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return {name: thread for found in pool.map(once, RUNS) for name, thread in found.items()}


def cost_of(name: str, thread: Thread) -> Cost:
    """What a call costs by a way."""
    spent: Counter[str | None] = Counter()
    for (file, _), instructions in thread.own.items():
        spent[group_of(file)] += instructions
    for (caller, callee), instructions in thread.across.items():
        if (group_of(caller), group_of(callee)) == (None, "libc"):
            spent["libc"] -= instructions  # the host's affair
    return {group: round(spent[group] / WAYS[name].units) for group in GROUPS}


def build_of(python: Path, core: Path) -> Build:
    """Which builds the counts are of."""
    code = "import json, os, sys; print(json.dumps([sys.version, os.confstr('CS_GNU_LIBC_VERSION')]))"
    compiler = re.search(r"(GCC|clang).* (\d+\.\d+\.\d+)", said_by("readelf", "-p", ".comment", core))
    version, libc = json.loads(said_by(python, "-I", "-c", code))
    name = f"{compiler[1]} {compiler[2]}" if compiler else "an unknown compiler"
    return Build(name, version.replace("\n", ""), libc)


# ---- the command ----


def show_profile(name: str, thread: Thread) -> None:
    """Print the dearest functions of a way, by what they spend themselves."""
    units = WAYS[name].units
    for (file, function), instructions in thread.own.most_common(PROFILE_LINES):
        entered = thread.calls[function] / units
        print(f"{instructions / units:9.1f} {entered:7.2f} calls  {function} [{Path(file).name}]")


def judge(version: str, base: str, budget: Budget, update: bool, profile: str | None) -> list[Line]:
    """Count with one Python, print, and give what was counted beside the budget."""
    environment = ROOT / ".venvs" / version
    make(environment, base, strict=True)
    python = environment / "bin/python"
    build = build_of(python, next(environment.glob("lib/python*/site-packages/nylon_ring_py/_core*.so")))
    threads = measure(ROOT / "build/c/nrhost", python, ROOT / f"build/budget-{version}")
    costs = {name: cost_of(name, thread) for name, thread in threads.items()}
    recorded = budget.builds.get(version)
    lines = compare(costs, build, recorded, budget.costs.get(version, {}), ROUGH)
    print(f"\nPython {build.python}, {build.compiler}, {build.libc}: instructions a call\n{HEAD}")
    print("\n".join(map(str, lines)))
    if explain(build, recorded):
        print(explain(build, recorded))
    if profile is not None:
        print(f"\n{profile}")
        show_profile(profile, threads[profile])
    if update:
        budget.builds[version], budget.costs[version] = build, costs
    return lines


def main() -> int:
    """Run what the command line asks for; 0 when every way keeps its budget."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--update", action="store_true", help="write the counts down as the budget")
    parser.add_argument("--profile", choices=WAYS, help="the dearest functions")
    arguments = parser.parse_args()
    is_ci = os.environ.get("CI") == "true"
    if shutil.which("valgrind") is None:
        print("no valgrind, so no instruction is counted; Debian: apt-get install valgrind", file=sys.stderr)
        return 1 if is_ci else 0
    (ROOT / "build").mkdir(exist_ok=True)
    build_host("build/c", "")
    budget = Budget.read(BUDGET.read_text()) if BUDGET.exists() else Budget({}, {})
    lines: list[Line] = []
    missing: set[str] = set()
    try:
        for version in arguments.versions:
            base = find(version)
            if base is None:
                print(f"Python {version} is not on this machine: left out", file=sys.stderr)
                missing |= {"missing"} if is_ci else set()
                continue
            lines += judge(version, base, budget, arguments.update, arguments.profile)
    except CountError as error:
        sys.exit(str(error))
    if arguments.update:
        BUDGET.write_text(budget.write())
        print(f"\nwritten: {BUDGET.relative_to(ROOT)}")
        return 0
    verdicts = missing | verdicts_of(lines, is_ci)
    if "over" in verdicts:
        print(
            f"\nOVER: a way costs more than its budget by over {OURS_TOLERANCE:.0%} in stub and core, or by over "
            f"{TOTAL_TOLERANCE:.0%} in all. Make it cheaper, or say why it may cost more and: make budget UPDATE=1"
        )
    if verdicts & {"below", "new"}:
        print("\nBELOW, NEW: a way has become cheaper, or has no budget yet: make budget UPDATE=1")
    if "unheld" in verdicts:
        print(
            "\nNOTHING WAS COMPARED: the budget is of another compiler, or of no Python that is here. "
            "With the compiler that CI has: make budget UPDATE=1"
        )
    return 1 if verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
