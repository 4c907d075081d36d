"""What a plugin costs before it has answered anything, and what it holds in memory."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from benchmarks.contestants import who
from benchmarks.measure import HERE, build_command, run, wall_ns
from benchmarks.model import OURS, Case, Measure, Row, Section, at_most
from benchmarks.tools import Tools

PYTHON = "python -I -c pass"
PYTHON_INSIDE = "python, without process start and end"
EMPTY = "/bin/true"
LOADS = 5  # processes of each in a round
CLOCKS = (
    "the calls are processes with one each, and a round's figure is their median; a plugin's clock runs inside a "
    "process that is there; that of `python -I -c pass` has in it the process's start and end, Python's finalisation "
    "and the pipes of who started it. Without process start and end is `python -I -c 'import os; os._exit(0)'` less "
    f"what `{EMPTY}` takes"
)
FURTHER = 8  # plugins after the first
FURTHER_NS = 2e6
FURTHER_KIB = 300e3 / 1024
# cffi's module is in Python once, under one name: a second file of the peer would find the first one's.
NOT_TWICE = ("cffi",)
COPIES = (
    "ours are built from a module each; the others are copies of the file, each of which the loader takes for another "
    "library; the floor's and PyO3's share the Python that runs, and have no module of their own"
)
AT_REST_CALLS = 50_000


def _load(contestant: str) -> Measure:
    """Once before, so that every contestant's files are in memory, whoever else has used them."""

    def measure(tools: Tools, calls: int) -> list[float]:
        found = [tools.bench(contestant, "sync", "load") for _ in range(1 + calls)][1:]
        return [statistics.median(float(each[key]) for each in found) for key in ("first_reply_ns", "rss_kib")]

    return measure


def _median_wall_ns(command: list[str], times: int) -> float:
    wall_ns(command)
    return statistics.median(wall_ns(command) for _ in range(times))


def _python(tools: Tools, calls: int) -> list[float | None]:
    return [_median_wall_ns([tools.python, "-I", "-c", "pass"], calls), None]


def _python_inside(tools: Tools, calls: int) -> list[float | None]:
    python = _median_wall_ns([tools.python, "-I", "-c", "import os; os._exit(0)"], calls)
    return [max(python - _median_wall_ns([EMPTY], calls), 0.0), None]


def _build_further(tools: Tools, contestant: str, python: str) -> list[Path]:
    """Plugins of other files, names and modules than the first one, once in a run."""
    if contestant not in tools.further:
        made = []
        for number in range(FURTHER):
            source = tools.plugins[contestant].with_name(f"further{number}.py")
            shutil.copy(HERE / "plugin.py", source)
            run(build_command(python, source, source.with_suffix(".so")))
            made.append(source.with_suffix(".so"))
        tools.further[contestant] = made
    return tools.further[contestant]


def _copy_further(tools: Tools, contestant: str) -> list[Path]:
    """Copies of a peer's file, once in a run."""
    if contestant not in tools.further:
        file = tools.plugins[contestant]
        copies = [file.with_name(f"{file.stem}_further{number}.so") for number in range(FURTHER)]
        tools.further[contestant] = [Path(shutil.copy(file, copy)) for copy in copies]
    return tools.further[contestant]


def _further(contestant: str, python: str | None = None) -> Measure:
    """Ours are built with a Python; a peer's are copied."""

    def measure(tools: Tools, calls: int) -> list[float]:
        further = _build_further(tools, contestant, python) if python else _copy_further(tools, contestant)
        found = tools.bench(contestant, "sync", "load", second=list(map(str, further)))
        return [float(found["second_first_reply_ns"]), float(found["second_rss_kib"])]

    return measure


def _every_further(tools: Tools) -> dict[str, Measure]:
    """Ours with each Python, and the peers that can be in a process more than once."""
    pythons = {OURS: tools.python, **{f"{OURS} {version}": python for version, python in tools.pythons.items()}}
    ours = {contestant: _further(contestant, python) for contestant, python in pythons.items()}
    peers = who(tools, "v1", "sync", _further)
    return {**{name: measure for name, measure in peers.items() if name not in (OURS, *NOT_TWICE)}, **ours}


def _at_rest(contestant: str) -> Measure:
    return lambda tools, calls: [float(tools.bench(contestant, "pool", "throughput", calls=calls)["rss_kib"])]


def _build(tools: Tools, calls: int) -> list[float]:
    return [wall_ns(build_command(tools.python, HERE / "plugin.py", tools.folder / "again.so"))]


def starting(tools: Tools) -> Section:
    """Every case, in the order of the table."""
    first = [
        Row("load.first_reply", "load to first reply", "ns", (at_most(1.2, PYTHON),), note=CLOCKS),
        Row("load.rss", "memory of the first plugin, with its runtime", "KiB"),
    ]
    further = [
        Row("load.further", "each further plugin: load to first reply", "ns", (at_most(FURTHER_NS),), note=COPIES),
        Row("load.further_rss", "each further plugin: memory", "KiB", (at_most(FURTHER_KIB),)),
    ]
    rest = Row("load.at_rest", "memory at rest after 50,000 pooled calls", "KiB")
    loads = {PYTHON: _python, PYTHON_INSIDE: _python_inside, **who(tools, "v1", "sync", _load, pythons=True)}
    return Section(
        "Start and memory",
        [
            Case(first, loads, LOADS),
            Case(further, _every_further(tools), 1),
            Case([rest], who(tools, "v1", "pool", _at_rest), AT_REST_CALLS),
            Case([Row("build", "build-plugin, one file", "ns", (at_most(1e9),))], {OURS: _build}, 1),
        ],
    )
