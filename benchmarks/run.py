"""Measure this package beside its peers, in one run.

    python benchmarks/run.py [--quick] [--rounds N] [--only TEXT] [--json FILE] [--html FILE]

Each round measures everything once, the contestants of a row by turns. The tables show medians of the rounds. A target
that is missed is marked and is no failure; the exit code is 1 when something does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.builds import Built, prepare
from benchmarks.cases.every import every_section
from benchmarks.cpu import model, pinned
from benchmarks.measure import ROOT, BenchError
from benchmarks.model import Section
from benchmarks.peers.build import libpython
from benchmarks.report import as_json
from benchmarks.rounds import Outcome, Plan, run_all
from benchmarks.table import count_targets, notes, pythons_table, show, table

FOLDER = ROOT / "build/bench"
QUICK = Plan(rounds=3, share=0.2, quick=True, limit_s=95)
FULL = Plan(rounds=9)
SHARED_CORE_NS = 2000  # no hardware is as slow as that from core to core: two threads took turns on one


def facts_of(built: Built, load_before: float, plan: Plan) -> dict[str, Any]:
    """What one must know to read the figures."""
    hops = built.tools.hops
    return {
        "python": platform.python_version(),
        "implementation": sys.version,
        "libpython": Path(libpython(sys.executable)).name,
        "cores": os.cpu_count(),
        "pinned": pinned(),
        "processor": model(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "hop_ns": {"min": min(hops), "max": max(hops)} if hops else None,
        "share": plan.share,
        "quick": plan.quick,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _only(sections: list[Section], text: str) -> list[Section]:
    """Those cases of which a row's key begins so."""
    return [
        Section(section.title, [case for case in section.cases if any(row.key.startswith(text) for row in case.rows)])
        for section in sections
    ]


def _print(sections: list[Section], built: Built, outcome: Outcome, facts: dict[str, Any]) -> None:
    print(f"CPython {facts['python']}, {facts['processor'] or facts['machine']}, {facts['cores']} cores,", end=" ")
    print(f"load {facts['load_before']:.1f} before; {outcome.rounds} rounds in {outcome.took_s:.0f} s")
    if facts["hop_ns"] is not None:
        near, far = (show(facts["hop_ns"][key], "ns") for key in ("min", "max"))
        print(f"a cache line takes {near} to {far} from core to core: what passes between threads costs with it")
        if facts["hop_ns"]["max"] > SHARED_CORE_NS:
            print("at times other processes held a core and two of our threads shared one: measure on a quiet machine")
    print("of ours: the median [least … most]; of the others: the median (ours in multiples of it)")
    for section in sections:
        if text := table(section):
            print(f"\n## {section.title}\n\n{text}")
    if text := pythons_table(sections):
        print(f"\n## The other Pythons, each beside its own floor\n\n{text}")
    if text := notes(sections):
        print(f"\n{text}")
    counts = count_targets(sections)
    print(f"\ntargets: {counts['met']} met, {counts['missed']} missed, {counts['not measured']} not measured")
    for name, why in built.missing.items():
        print(f"left out: {name}: {why}")


def _faults(built: Built, outcome: Outcome) -> int:
    """Say what did not run; the exit code."""
    for name, said in built.faults.items():
        print(f"bench: {name} does not build: {said}", file=sys.stderr)
    for fault in outcome.faults:
        print(f"bench: {fault.row}: {fault.contestant} does not run: {fault.said}", file=sys.stderr)
    return 1 if built.faults or outcome.faults else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within two minutes, with the Python that runs")
    parser.add_argument("--rounds", type=int, help=f"{FULL.rounds}; {QUICK.rounds} with --quick")
    parser.add_argument("--share", type=float, help=f"of a full run's calls; {QUICK.share} with --quick")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows whose key begins so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    plan = Plan(options.rounds or plan.rounds, options.share or plan.share, plan.quick, plan.limit_s)
    load_before = os.getloadavg()[0]
    try:
        built = prepare(FOLDER, every_python=not plan.quick)
        sections = _only(every_section(built.tools), options.only)
        outcome = run_all(sections, built.tools, plan)
        facts = facts_of(built, load_before, plan)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _print(sections, built, outcome, facts)
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(sections, outcome, facts, built.missing), indent=1) + "\n")
    return _faults(built, outcome)


if __name__ == "__main__":
    sys.exit(main())
