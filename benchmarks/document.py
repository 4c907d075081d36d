"""Write the document of the figures, from what a run of `make bench` left.

python benchmarks/document.py build/bench/bench.json docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.facts import told
from benchmarks.model import Section, label
from benchmarks.report import sections_of
from benchmarks.table import count_targets, lay_out, notes, pythons_table, show, show_limit, table

# What stands in the columns, for who reads only this page.
WHAT = {
    "ours": "`benchmarks/plugin.py`, built by `nylon-ring build-plugin` as any plugin is",
    "floor": "the least that an embedded CPython can cost: bare C around the same handlers, no checks, no life cycle",
    "c": "the least a plugin in C does",
    "rust": "the least a plugin in Rust does",
    "go": "a c-shared library through cgo, with what the Go SDK's Handle, HandleSync and HandleRaw do",
    "pyo3": "a Rust library that embeds CPython through PyO3",
    "cffi": "a library made by cffi's embedding",
}

HEAD = """# Performance

<!-- Made by `make bench DOC=docs/performance.md`: whatever is written here by hand is gone with the next run. -->

{verdict}

## How to run it

```
make bench                 # everything, with every Python there is: about {full}
make bench QUICK=1         # fewer calls and rounds, one Python: two minutes
make bench DOC=FILE        # writes this page from the run, to FILE
```

Tables come on the terminal; `build/bench/bench.json` has every round of every row, `build/bench/bench.html` is one page
with the tables and plots. `make bench ARGS="--only c.sync"` measures the rows whose key in the JSON begins so. A
toolchain that is missing leaves its column empty and is named at the end; something that does not run is an error.

## How it is measured

One process of a host loads one plugin, warms up and makes its calls; then the next contestant of the row has its turn,
each round another one first. The figures are medians over the rounds. Compare what stands in one row: those were
measured within seconds of each other, on the same cores. Another machine, or the same one on another day, has other
figures; the ratios are what lasts.

{contestants}

How each of them is made, and what it leaves out that a plugin of ours must do, stands in
[benchmarks/peers](../benchmarks/peers/README.md).

This run:

{facts}

In the tables: of ours the median and, in brackets, the least and the most of the rounds; of each other one the median
and, in brackets, ours in multiples of it. The hosts copy what they are sent, all of it.
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
    missed = [row for section in sections for row in section.rows if row.is_met is False and row.obstacle]
    obstacles = _list([f"{row.title}: {row.obstacle}" for row in missed])
    head = ["row", "measured", "ours", "target"]
    return "\n\n".join(filter(None, [lay_out([head, *lines]), obstacles])) if lines else ""


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def document(report: Mapping[str, Any]) -> str:
    """The whole text, of what `report.as_json` gave."""
    sections, facts = sections_of(report), report["facts"]
    counts = count_targets(sections)
    verdict = f"{counts['met']} of {sum(counts.values())} targets are met in the run below"
    verdict += f", {counts['missed']} are missed" + (", and some were not measured." if counts["not measured"] else ".")
    full = f"{facts['took_s'] / 60:.0f} minutes" if not facts["quick"] else "half an hour"
    parts = [
        HEAD.format(
            verdict=verdict, full=full, contestants=_contestants(report["contestants"]), facts=_list(told(facts))
        ).rstrip()
    ]
    for section in sections:
        parts.append(f"## {section.title}\n\n{table(section)}")
        if text := notes([section]):
            parts.append(text)
    if text := pythons_table(sections):
        parts.append(
            f"## The other Pythons\n\nOurs, the floor of the same Python, and ours in multiples of it.\n\n{text}"
        )
    if text := _missed(sections):
        parts.append(f"## Targets missed\n\n{text}")
    left = [f"{name}: {why}" for name, why in report["missing"].items()]
    left += [f"{fault['row']}, {fault['contestant']}: does not run" for fault in report["faults"]]
    if left:
        parts.append(f"## Left out\n\n{_list(left)}")
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figures", type=Path, help="what `--json` wrote")
    parser.add_argument("out", type=Path, help="the document")
    options = parser.parse_args()
    try:
        options.out.write_text(document(json.loads(options.figures.read_text())))
    except (OSError, ValueError) as error:
        print(f"document: {options.figures}: {error}", file=sys.stderr)
        return 1
    print(f"document: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
