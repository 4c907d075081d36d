"""Measure this package with the Python that runs, beside the floor, in one run.

    python benchmarks/run.py [--quick] [--rounds N] [--json FILE]

Each round measures everything once, the peers by turns. The table shows medians of the rounds, with the least and the
most. A target that is missed is marked and is no failure; the exit code is 1 when something does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import Hops, all_cases
from benchmarks.loop_cases import loop_cases
from benchmarks.measure import BenchError, libpython, prepare
from benchmarks.report import Row, as_json, show, table
from benchmarks.rust_cases import rust_cases

QUICK_ROUNDS, ROUNDS = 3, 9
SHARED_CORE_NS = 2000  # no hardware is as slow as that from core to core: two threads took turns on one
QUICK_SHARE = 4  # a quick run makes one call of so many


def facts_of(hops: Hops, load_before: float) -> dict[str, Any]:
    """What one must know to read the figures."""
    return {
        "python": platform.python_version(),
        "implementation": sys.version,
        "libpython": libpython(),
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "hop_ns": {"min": min(hops.seen), "max": max(hops.seen)},
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def measure(*, quick: bool, rounds: int, hops: Hops) -> list[Row]:
    """Run all rounds; progress goes to stderr."""
    cases = all_cases(hops) + loop_cases(hops)
    with tempfile.TemporaryDirectory(prefix="nylon-bench-") as folder:
        print("building the floor, the plugin and the Rust hosts", file=sys.stderr)
        tools = prepare(Path(folder))
        if tools.rust is not None:
            cases += rust_cases()
        for number in range(rounds):
            for case in cases:
                print(f"round {number + 1} of {rounds}: {case.rows[0].title}", file=sys.stderr)
                calls = max(case.calls // QUICK_SHARE, 1) if quick else case.calls
                case.once(tools, calls, others_first=number % 2 == 1)
    return [row for case in cases for row in case.rows]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within half a minute")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}; {QUICK_ROUNDS} with --quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    hops = Hops()
    load_before = os.getloadavg()[0]
    try:
        rows = measure(quick=options.quick, rounds=rounds, hops=hops)
        facts = facts_of(hops, load_before)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    near, far = (show(facts["hop_ns"][key], "ns") for key in ("min", "max"))
    print(f"CPython {facts['python']}, {facts['cores']} cores, load {load_before:.1f} before; {rounds} rounds")
    print(f"a cache line takes {near} to {far} from core to core: what passes between threads costs with it")
    if facts["hop_ns"]["max"] > SHARED_CORE_NS:
        print("at times other processes held a core and two of our threads shared one: measure on a quiet machine")
    print()
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(rows, facts), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
