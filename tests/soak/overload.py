"""The overload test: ten times what Python can serve, for as long as is asked.

    make overload MINUTES=10 [REPORT=docs/overload.md]

What must hold: memory stays as it is; what is refused is refused at once; what is accepted is answered as fast at the
end as at the beginning, and as many calls a second as without the overload, or nearly; other entries, and other
plugins, are served on.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import CORE_THREADS
from nrhost import HostError, NrHost
from soak import build, figures, findings
from soak.lanes import Lane
from soak.report import Samples, machine, quantiles, table
from soak.running import LIMIT, Disagreement, check_lane, check_ledger, lane_pairs, load_plugin

ROOT = Path(__file__).resolve().parents[2]
TIMES = 10  # what is offered, of what can be served
MEASURE_S = 4.0
NO_END = 1 << 60

#: What is judged. Ratios, since how fast the machine is plays no part.
GROWTH_KIB = 2048  # of memory, from the first quarter to the last
RATIO = 2.0  # of latencies, from the first quarter to the last: p99 of those that are offered more, p50 of the others
SERVED_PART = 0.5  # of the capacity that must still be served; the host's own threads take some of the machine
ENTRY_PART = 0.25  # of each entry's capacity: who gets how much of the GIL is the interpreter's affair
OFFERED_PART = 0.5  # of what was to be offered; with less the test says nothing
REFUSED_PART = 0.1  # of an accepted call's p50 that a refusal's p99 may take
OTHERS_PART = 0.9  # of their calls a second that other entries must get through
OTHERS_P99 = 1.5  # of the p99 of the slowest entry that is offered more

SERVED = (Lane("pooled", may_refuse=True), Lane("coroutine", may_refuse=True))
OTHERS = (
    Lane("other", rate=50, window=256, batch=NO_END),
    Lane("other_coroutine", rate=50, window=256, batch=NO_END),
    Lane("other_sync", rate=50, batch=NO_END),
    Lane("other_stream", kind="stream", threads=25, rate=2, batch=NO_END),
    Lane("other", rate=50, window=256, batch=NO_END, plugin="two"),
    Lane("other_sync", door="fast_id", rate=50, batch=NO_END, plugin="two"),
)


@dataclass
class Overload:
    """What was measured."""

    minutes: float
    capacity: dict[str, float] = field(default_factory=dict)  # calls a second, by lane
    samples: list[dict[str, Any]] = field(default_factory=list)
    lanes: dict[str, dict[str, Any]] = field(default_factory=dict)
    fault: str = ""

    def quarters(self) -> tuple[Samples, Samples]:
        """The samples of the first quarter, without the warm-up of its first third, and those of the last."""
        size = max(1, len(self.samples) // 4)
        return self.samples[size // 3 : size], self.samples[-size:]

    def rate(self, lane: str, what: str) -> float:
        """Of a lane's count, a second."""
        first, last = self.samples[0], self.samples[-1]
        added = last["lanes"][lane][what] - first["lanes"][lane][what]
        return float(added / (last["at_s"] - first["at_s"]))

    def grows(self, lane: str, what: str) -> float:
        """The median of the seconds' quantiles in the last quarter, as a multiple of that in the first."""
        first, last = (median(value for _, value in quantiles(part, lane, what)) for part in self.quarters())
        return last / first

    def rss_kib(self) -> tuple[float, float]:
        """The median in the first quarter, and in the last."""
        first, last = (median(sample["rss_kib"] for sample in part) for part in self.quarters())
        return first, last


def run(minutes: float, file: Path, host: NrHost, measure_s: float = MEASURE_S) -> Overload:
    """Measure, overload, account.

    Args:
        minutes: how long the overload lasts.
        file: the built plugin.
        host: with nothing loaded.
        measure_s: how long it is looked at what can be served.

    Raises:
        Disagreement, HostError: a promise was broken.
    """
    result = Overload(minutes)
    for name, abi in (("one", "v1"), ("two", "v2")):
        load_plugin(host, name, file, abi, stream_capacity=64)
    closed = [dataclasses.replace(lane, window=32, batch=NO_END) for lane in SERVED]
    measured = _lanes_for(host, closed, measure_s)
    counted = [measured]
    result.capacity = {lane.entry: measured[lane.name]["replies"] / measure_s for lane in closed}
    threads = 2
    offered = [
        dataclasses.replace(
            lane, window=1024, threads=threads, batch=NO_END, rate=TIMES * result.capacity[lane.entry] / threads
        )
        for lane in SERVED
    ]
    result.lanes = _lanes_for(host, [*offered, *OTHERS], minutes * 60, result)
    counted.append(result.lanes)
    for lane in (*offered, *OTHERS):
        check_lane(lane, result.lanes[lane.name])
    for name in ("one", "two"):
        mine = [counts for lanes in counted for lane, counts in lanes.items() if lane.startswith(f"{name}.")]
        check_ledger(host, name, sum(int(counts["accepted"]) for counts in mine))
    return result


def _lanes_for(
    host: NrHost, lanes: Sequence[Lane], seconds: float, result: Overload | None = None
) -> dict[str, dict[str, Any]]:
    for lane in lanes:
        host.command("lane", lane_pairs(lane))
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        if result is not None:
            result.samples.append({"at_s": time.monotonic() - began, **host.command("lanes", [LIMIT])})
    stopped = host.command("lane_stop", [LIMIT])
    if stopped["trouble"]:
        raise Disagreement(host.command("trouble")["first"])
    found: dict[str, dict[str, Any]] = stopped["lanes"]
    return found


@dataclass(frozen=True)
class Verdict:
    """One thing that must hold: what, how it was, what it is measured by."""

    what: str
    value: str
    limit: str
    holds: bool


def judge(result: Overload) -> list[Verdict]:
    """Everything that must hold, and whether it does."""
    verdicts = []
    before, after = result.rss_kib()
    verdicts.append(_verdict("memory grows, KiB", after - before, GROWTH_KIB, at_most=True))
    served = [dataclasses.replace(lane, window=2) for lane in SERVED]
    answered = sum(result.rate(lane.name, "replies") for lane in served)
    verdicts.append(_verdict("answered, of the capacity", answered / sum(result.capacity.values()), SERVED_PART))
    for lane in served:
        name, counts, capacity = lane.name, result.lanes[lane.name], result.capacity[lane.entry]
        offered = result.rate(name, "calls") / (TIMES * capacity)
        verdicts += [
            _verdict(f"{name}: offered, of {TIMES * capacity:,.0f} calls/s", offered, OFFERED_PART),
            _verdict(
                f"{name}: answered, of the capacity of {capacity:,.0f} calls/s",
                result.rate(name, "replies") / capacity,
                ENTRY_PART,
            ),
            _verdict(
                f"{name}: p99 of the last quarter, of the first's", result.grows(name, "p99_us"), RATIO, at_most=True
            ),
            _verdict(
                f"{name}: p99 of a refusal, of an answer's p50",
                counts["refused_p99_us"] / counts["p50_us"],
                REFUSED_PART,
                at_most=True,
            ),
        ]
    slowest = max(result.lanes[lane.name]["p99_us"] for lane in served)
    for lane in OTHERS:
        verdicts += [
            _verdict(
                f"{lane.name}: answered, of the calls made",
                result.rate(lane.name, "replies") / result.rate(lane.name, "calls"),
                OTHERS_PART,
            ),
            _verdict(
                f"{lane.name}: made, of {lane.rate * lane.threads:g} calls/s",
                result.rate(lane.name, "calls") / (lane.rate * lane.threads),
                OTHERS_PART,
            ),
            _verdict(
                f"{lane.name}: p50 of the last quarter, of the first's",
                result.grows(lane.name, "p50_us"),
                RATIO,
                at_most=True,
            ),
            _verdict(
                f"{lane.name}: p99, of the slowest entry's that is offered more",
                result.lanes[lane.name]["p99_us"] / slowest,
                OTHERS_P99,
                at_most=True,
            ),
        ]
    return verdicts


def _verdict(what: str, value: float, limit: float, *, at_most: bool = False) -> Verdict:
    holds = value <= limit if at_most else value >= limit
    return Verdict(what, f"{value:,.2f}", f"{'at most' if at_most else 'at least'} {limit:g}", holds)


def write(result: Overload, verdicts: Sequence[Verdict], file: Path) -> None:
    """The page and its charts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    charts = {name: file.with_name(f"{file.stem}-{name}.svg") for name in ("latency", "memory")}
    names = [dataclasses.replace(lane, window=2).name for lane in SERVED]
    lines = {f"{name} p99": quantiles(result.samples, name, "p99_us") for name in names}
    lines |= {f"{name} refused, p99": quantiles(result.samples, name, "refused_p99_us") for name in names}
    lines |= {f"{lane.name} p99": quantiles(result.samples, lane.name, "p99_us") for lane in OTHERS[:4]}
    figures.draw(charts["latency"], "Microseconds, of each second", lines, logarithmic=True)
    memory = {"memory, MiB": [(sample["at_s"], sample["rss_kib"] / 1024) for sample in result.samples]}
    memory["threads"] = [(sample["at_s"], sample["threads"]) for sample in result.samples]
    figures.draw(charts["memory"], "Resident memory (MiB) and threads of the host", memory)
    rows = [[v.what, v.value, v.limit, "yes" if v.holds else "NO"] for v in verdicts]
    head = ["lane", "offered/s", "answered/s", "refused/s", "p50", "p99", "p99.9", "refused p50", "refused p99"]
    keys = ("p50_us", "p99_us", "p999_us", "refused_p50_us", "refused_p99_us")
    figures_of = [
        [
            name,
            *(f"{result.rate(name, what):,.0f}" for what in ("calls", "replies", "refused")),
            *(f"{counts[key]:,.1f}" if key in counts else "" for key in keys),
        ]
        for name, counts in sorted(result.lanes.items())
    ]
    text = [
        "# The overload test's last long run",
        "",
        f"Written by `make overload MINUTES={result.minutes:g} REPORT=…` ({machine()}); what it does stands in "
        "[robustness](robustness.md#overload). Times in microseconds.",
        "",
        *table(head, figures_of),
        "",
        *[f"![{name}]({chart.name})\n" for name, chart in charts.items()],
        "## What is judged",
        "",
        *table(["what", "value", "limit", "holds"], rows),
        "",
    ]
    file.write_text("\n".join(text))


def main() -> int:
    """Run what the command line asks for; 0 when all of it held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--report", type=Path, default=None, help="a .md to write, with figures beside it")
    arguments = parser.parse_args()
    folder = ROOT / "build/overload"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report = arguments.report.resolve() if arguments.report else folder / "report.md"
    again = f"make overload MINUTES={arguments.minutes:g}"
    file = folder / "overloaded.so"
    build.plugin(build.HERE / "overloaded.py", file)
    with NrHost(resident_threads=CORE_THREADS) as host:
        host.on_silence = lambda: findings.write_backtraces(folder, host)
        host.command("trouble", [("dump", folder / "events.txt")])
        try:
            result = run(arguments.minutes, file, host)
        except (Disagreement, HostError) as error:
            finding = findings.leave(folder, host, str(error), [], {}, again)
            print(f"Does not hold: {error}\nWhat was seen: {finding}", file=sys.stderr)
            host.abandon()
            return 1
    verdicts = judge(result)
    for verdict in verdicts:
        held = "holds" if verdict.holds else "DOES NOT HOLD"
        print(f"{held:13}  {verdict.value:>12}  {verdict.limit:14}  {verdict.what}")
    write(result, verdicts, report)
    print(f"report: {report}")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
