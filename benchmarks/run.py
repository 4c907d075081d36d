"""Measure this package beside its peers, in one run.

    python benchmarks/run.py [--quick] [--rounds N] [--only TEXT] [--peers NAMES] [--hosts NAMES]
                             [--json FILE] [--html FILE]

Each round measures everything once, the contestants of a row by turns. The tables show medians of the rounds. A target
that is missed is marked and is no failure; the exit code is 1 when something does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.beside import behind, beside, verdict
from benchmarks.builds import Built, Wanted, prepare
from benchmarks.cases.every import every_section
from benchmarks.facts import HOSTS, Asked, facts_of, told
from benchmarks.measure import ROOT, BenchError
from benchmarks.model import Case, Section
from benchmarks.neighbours import shares, used
from benchmarks.page import page
from benchmarks.peers.build import PEERS
from benchmarks.report import as_json
from benchmarks.rounds import Fault, Outcome, Plan, run_all
from benchmarks.table import LEGEND, count_targets, notes, obstacles, pythons_table, table

FOLDER = ROOT / "build/bench"
RUST_KEYS = "rust_"  # of the rows of Rust hosts; all others are of the C host
QUICK = Plan(rounds=3, share=0.2, quick=True, limit_s=95)
FULL = Plan(rounds=7, limit_s=660)


def chosen(sections: list[Section], asked: Asked, quick: bool) -> list[Section]:
    """The cases that were asked for, as far as such a run has them.

    Raises:
        BenchError: there is none.
    """

    def keep(given: list[Section], wanted: Callable[[Case], bool]) -> list[Section]:
        return [Section(section.title, list(filter(wanted, section.cases))) for section in given]

    def has_host(case: Case) -> bool:
        return case.rows[0].key.startswith(RUST_KEYS) or "c" in asked.hosts

    there = keep(sections, lambda case: (case.quick or not quick) and has_host(case))
    found = keep(there, lambda case: any(row.key.startswith(asked.only) for row in case.rows))
    if not any(section.cases for section in found):
        begins = dict.fromkeys(".".join(row.key.split(".")[:2]) for section in there for row in section.rows)
        raise BenchError(f"no row's key begins with {asked.only!r}; there are: {', '.join(begins) or 'none'}")
    return found


def _print(sections: list[Section], built: Built, facts: dict[str, Any]) -> None:
    print("\n".join(told(facts)))
    print(LEGEND)
    for section in sections:
        if text := table(section):
            print(f"\n## {section.title}\n\n{text}", "", *notes([section]), sep="\n")
    if text := pythons_table(sections):
        print(f"\n## The other Pythons, each beside its own floor\n\n{text}")
    print("", *(f"in the way of a target: {line}" for line in obstacles(sections)), sep="\n")
    for name in ("go", "rust"):
        print(f"\n{verdict(beside(sections, name))}")
    if text := behind(beside(sections, "go")):
        print(f"\n{text}")
    counts = count_targets(sections)
    print(f"\ntargets: {counts['met']} met, {counts['missed']} missed, {counts['not measured']} not measured")
    for name, why in built.missing.items():
        print(f"left out: {name}: {why}")


def _faults(outcome: Outcome) -> int:
    """Say what did not build or run; the exit code."""
    for fault in outcome.faults:
        print(f"bench: {fault.what}: {fault.said}", file=sys.stderr)
    return 1 if outcome.faults else 0


def _names(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas between them, or "none"."""

    def read(text: str) -> tuple[str, ...]:
        if text == "none":
            return ()
        names = tuple(filter(None, text.split(",")))
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(allowed)}, or none")
        return names

    return read


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two minutes once all is built, with the Python that runs")
    parser.add_argument("--rounds", type=int, help=f"{FULL.rounds}; {QUICK.rounds} with --quick")
    parser.add_argument("--share", type=float, help=f"of a full run's calls; {QUICK.share} with --quick")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows whose key begins so, as c.sync")
    peers = parser.add_argument("--peers", type=_names(tuple(PEERS)), default=tuple(PEERS), metavar="NAME,NAME")
    peers.help = f"beside ours: {','.join(PEERS)}, or none"
    parser.add_argument("--hosts", type=_names(HOSTS), default=HOSTS, metavar="NAME,NAME", help=",".join(HOSTS))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where plugins are built")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="and a page with plots there")
    return parser.parse_args(given)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _arguments(arguments)
    plan = QUICK if options.quick else FULL
    plan = Plan(options.rounds or plan.rounds, options.share or plan.share, plan.quick, plan.limit_s)
    try:
        asked = Asked(options.only, options.peers, options.hosts)
        built = prepare(options.folder, Wanted(asked.peers, "rust" in asked.hosts, not plan.quick))
        sections = chosen(every_section(built.tools), asked, plan.quick)
        before = used()
        outcome = run_all(sections, built.tools, plan)
        outcome.faults += [Fault("", name, said) for name, said in built.faults.items()]
        facts = facts_of(built.tools, shares(before, used(), os.cpu_count() or 1), plan, asked)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report = as_json(sections, outcome, facts, built.missing)
    _print(sections, built, report["facts"])
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
        print(f"figures: {options.json}")
    if options.html is not None:
        options.html.write_text(page(report, told(report["facts"])))
        print(f"page: {options.html}")
    return _faults(outcome)


if __name__ == "__main__":
    sys.exit(main())
