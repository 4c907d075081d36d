"""Write the document of the figures, from what a run of `make bench` left.

python benchmarks/document.py build/bench/bench.json docs/performance.md

A run of some rows, some peers, some hosts or some of the calls is refused: the document is of everything.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.beside import behind, beside, verdict
from benchmarks.facts import parts, told
from benchmarks.model import LEAST_ABOVE, Section, label
from benchmarks.report import sections_of
from benchmarks.rounds import Fault
from benchmarks.table import (
    LEGEND,
    count_targets,
    lay_out,
    notes,
    obstacles,
    pythons_table,
    show,
    show_limit,
    table,
)

WIDTH = 120

# What stands in the columns, for who reads only this page.
WHAT = {
    "ours": "`benchmarks/plugin.py`, built by `nylon-ring build-plugin` as any plugin is",
    "floor": "a plain embedding of CPython in C around the same handlers, nothing checked, no life cycle; ours may be "
    "below it where it polls, batches, or keeps objects for the next call",
    "c": "the least a plugin in C does",
    "rust": "the least a plugin in Rust does",
    "go": "a c-shared library through cgo, with what the Go SDK's handlers do",
    "pyo3": "a Rust library that embeds CPython through PyO3",
    "cffi": "a library made by cffi's embedding",
}

HEAD = """# Performance

<!-- Made by `make bench DOC=docs/performance.md`: whatever is written here by hand is gone with the next run. -->

{verdict}

## How to run it

```
make bench                 # everything, with every Python there is: this run took {took}
make bench QUICK=1         # fewer calls and rounds, one Python: two minutes after the first run, which builds
make bench DOC=FILE        # writes this page from the run, to FILE
```

Tables come on the terminal; `build/bench/bench.json` has every round of every row, `build/bench/bench.html` is one page
with the tables and plots. `make bench ARGS="--only c.sync"` measures the rows whose key in the JSON begins so. A
toolchain that is missing leaves its column empty and is named at the end; something that does not run is an error.

## How it is measured

One process of a host loads one plugin, warms up and makes its calls; then the next contestant of the row has its turn,
each round another one first, and every other round in the opposite order. The figures are medians over the rounds.
Compare what stands in one row: those were measured within seconds of each other, on the same cores. Another machine, or
the same one on another day, has other figures; the ratios are what lasts.

- Every host calls in a closed loop: no call is begun before the last one of that thread has returned, nor made up for
  where it came late. Percentiles are of the calls that were made, not of those that would have been due meanwhile.
- Of the C host, `handle_sync` and `handle_raw(sync=True)` in nanoseconds are medians of batches of 1,000 calls, and
  percentiles are of calls that are timed one by one. From `handle returns` the clock's own cost is taken off; round
  trips and tails have it in them, for everybody alike. Rust hosts give the median of some twenty parts of a process's
  calls.
- A percentile is left empty where fewer than {least} calls took longer, and the worst call where somebody makes fewer
  calls than the others.
- Kept on one core, Go runs with GOMAXPROCS=1: its collector and its scheduler have no other core to go to, and take
  their time from the calls. Python's own threads are kept on it as well.
- In our plugins Python changes threads every 50 µs, as in every plugin that is built with this package; the floor, PyO3
  and cffi have CPython's 5 ms.
- Handlers read the body alone, but where a row says that headers are read. The Go SDK decodes the whole request before
  it calls a handler; ours decodes what is asked for.
- The hosts copy what they are sent, all of it, but for `call_response_bytes`, which takes long replies over.

{contestants}

How each of them is made, and what it leaves out that a plugin of ours must do, stands in
[benchmarks/peers](../benchmarks/peers/README.md).

This run:

{facts}

{legend}
"""


def _contestants(names: Mapping[str, str]) -> str:
    lines = [["column", "what it is"]]
    lines += [[label(name), what] for name, what in WHAT.items() if name in names]
    return lay_out(lines)


def _missed(sections: Sequence[Section]) -> str:
    """Each limit that was not kept, with the figure; then what is in the way."""
    lines = []
    for section in sections:
        for row in section.rows:
            medians = row.medians
            for limit in row.limits:
                if limit.is_met(medians) is False:
                    value = limit.value(medians)
                    assert value is not None
                    ours, wanted = show(medians["ours"], row.unit), show(value, row.unit)
                    words = show_limit(limit, row.unit)
                    lines.append([row.key, row.title, ours, words + ("" if limit.beside is None else f", {wanted}")])
    head = ["row", "measured", "ours", "target"]
    return "\n\n".join(filter(None, [lay_out([head, *lines]), _list(obstacles(sections))])) if lines else ""


def _wrap(words: str) -> str:
    return textwrap.fill(words, WIDTH, break_long_words=False, break_on_hyphens=False)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def document(report: Mapping[str, Any]) -> str:
    """The whole text, of what `report.as_json` gave."""
    sections, facts = sections_of(report), report["facts"]
    counts = count_targets(sections)
    targets = f"{counts['met']} of {sum(counts.values())} targets are met in the run below"
    targets += f", {counts['missed']} are missed" + (", and some were not measured." if counts["not measured"] else ".")
    go, rust = beside(sections, "go"), beside(sections, "rust")
    made = [
        HEAD.format(
            verdict="\n\n".join(map(_wrap, [targets, verdict(go), verdict(rust)])),
            took=f"{facts['took_s'] / 60:.0f} minutes",
            contestants=_contestants(report["contestants"]),
            least=LEAST_ABOVE,
            facts=_list(told(facts)),
            legend=_wrap(LEGEND),
        ).rstrip()
    ]
    for section in sections:
        made.append(f"## {section.title}\n\n{table(section)}")
        if lines := notes([section]):
            made.append(_list(lines))
    if text := pythons_table(sections):
        made.append(
            f"## The other Pythons\n\nOurs, the floor of the same Python, and ours in multiples of it.\n\n{text}"
        )
    if text := behind(go):
        made.append(f"## Where Go is ahead\n\n{text}")
    if text := _missed(sections):
        made.append(f"## Targets missed\n\n{text}")
    left = [f"{name}: {why}" for name, why in report["missing"].items()]
    left += [Fault(**fault).what for fault in report["faults"]]
    if left:
        made.append(f"## Left out\n\n{_list(left)}")
    return "\n\n".join(made) + "\n"


def refusal(facts: Mapping[str, Any]) -> str:
    """Why a run is not one to publish; empty where it is."""
    why = parts(facts)
    if facts["quick"]:
        why.append("a quick run")
    elif facts["share"] < 1:
        why.append(f"{facts['share']:g} of the calls")
    if facts["rounds"] < 2:
        why.append("a single round, which has no spread")
    return f"a document is of a whole run, and this one is in part: {'; '.join(why)}" if why else ""


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figures", type=Path, help="what `--json` wrote")
    parser.add_argument("out", type=Path, help="the document")
    options = parser.parse_args()
    try:
        report = json.loads(options.figures.read_text())
        text = document(report)
        if why := refusal(report["facts"]):
            raise ValueError(why)
        options.out.write_text(text)
    except (OSError, ValueError) as error:
        print(f"document: {options.figures}: {error}", file=sys.stderr)
        return 1
    print(f"document: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
