"""The soak test: mixed load with faults and reloads, and every call accounted for.

make soak MINUTES=10 [SEED=1] [PHASE=3] [REPORT=docs/soak.md]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import CORE_THREADS
from nrhost import HostError, NrHost
from soak import build, findings, plan, report, trend
from soak.plan import Phase
from soak.running import Disagreement, Record, run_phase

ROOT = Path(__file__).resolve().parents[2]

#: glibc's malloc otherwise has a heap for each thread, and how much of them lies free and in pieces differs from round
#: to round by more than a leak that is to be seen.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}


@dataclasses.dataclass
class Run:
    """A run from its first phase to its last, or to the first thing that does not hold."""

    seed: int
    minutes: float
    phases: list[Phase]
    folder: Path
    records: list[Record] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    fault: str = ""

    @property
    def calls(self) -> int:
        """Accepted calls."""
        return sum(record.calls for record in self.records)

    @property
    def reloads(self) -> int:
        """Reloads under load."""
        return sum(record.reloads for record in self.records)

    @property
    def warm(self) -> list[Record]:
        """What ran after the warm-up."""
        return self.records[trend.warm_up(len(self.phases), len(plan.ROUND)) :]

    def go(self, files: build.Files) -> None:
        """All phases; `fault` says what did not hold, and the folder has what is needed to see why."""
        with NrHost(resident_threads=CORE_THREADS, env=ONE_HEAP) as host:
            host.on_silence = lambda: findings.write_backtraces(self.folder, host)
            self._go(host, files)
            if self.fault:
                host.abandon()

    def _go(self, host: NrHost, files: build.Files) -> None:
        started = time.monotonic()
        host.command("trouble", [("dump", self.folder / "events.txt")])
        host.command("signals")
        try:
            for phase in self.phases:
                record = Record(phase)
                self.records.append(record)
                run_phase(host, files, phase, record, started)
                print(_line(record, time.monotonic() - started), flush=True)
        except (Disagreement, HostError, subprocess.SubprocessError) as error:
            self._leave(host, str(error), self.records[-1].phase)
        else:
            if faults := trend.faults(self.warm):
                self._leave(host, "\n".join(faults), None)
        self.seconds = time.monotonic() - started

    def _leave(self, host: NrHost, why: str, phase: Phase | None) -> None:
        self.fault = why
        replay = f"make soak MINUTES={self.minutes:g} SEED={self.seed}" + (f" PHASE={phase.number}" if phase else "")
        done = [f"{record.phase.number} {record.phase.name}: {_words(record.phase)}" for record in self.records]
        samples = [dataclasses.asdict(record) for record in self.records]
        finding = findings.leave(self.folder, host, why, done, samples, replay)
        print(f"\nDoes not hold: {why}\nAgain: {replay}\nWhat was seen: {finding}", file=sys.stderr)


def _words(phase: Phase) -> str:
    churned = ", ".join(f"{churn.plugin} reloaded ({churn.drain} % drained)" for churn in phase.churns)
    return f"{phase.seconds:.1f} s, {', '.join(lane.name for lane in phase.lanes)}" + (
        f"; {churned}" if churned else ""
    )


def _line(record: Record, at_s: float) -> str:
    rest = record.rest
    return (
        f"{at_s:6.0f} s  phase {record.phase.number:2} {record.phase.name:6}  {record.calls:12,} calls  "
        f"{record.reloads:6,} reloads  {record.killed} killed  at rest {rest['rss_kib'] / 1024:.1f} MiB "
        f"{rest['threads']} threads {rest['fds']} fds"
    )


def soak(seed: int, minutes: float, only: int | None, folder: Path) -> Run:
    """Run the plan, or one phase of it.

    Args:
        seed: of the plan.
        minutes: of the whole plan.
        only: the number of the phase that alone is to run; None for all.
        folder: where plugins are built and findings are left.
    """
    phases = plan.make(seed, minutes)
    chosen = phases if only is None else [phase for phase in phases if phase.number == only]
    run = Run(seed, minutes, chosen, folder)
    run.go(build.soak_plugins(folder))
    return run


def main() -> int:
    """Run what the command line asks for; 0 when all of it held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--seed", type=int, default=None, help="of what is left to chance; another one each time without"
    )
    parser.add_argument("--phase", type=int, default=None, help="that phase of the plan alone")
    parser.add_argument("--report", type=Path, default=None, help="a .md to write, with figures beside it")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"soak: {arguments.minutes:g} minutes, seed {seed}", flush=True)
    folder = ROOT / "build/soak"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report_file = arguments.report.resolve() if arguments.report else folder / "report.md"
    os.chdir(folder)  # where a core goes, if the system writes such a file
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    run = soak(seed, arguments.minutes, arguments.phase, folder)
    print(f"{run.calls:,} calls, {run.reloads:,} reloads in {run.seconds:.0f} s")
    if not run.fault:
        report.write(run, report_file)
        print(f"report: {report_file}")
    return 1 if run.fault else 0


if __name__ == "__main__":
    sys.exit(main())
