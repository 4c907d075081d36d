"""A page of the figures: one HTML file with its style and plots inside, made of what `--json` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.beside import beside, verdict
from benchmarks.model import Unit
from benchmarks.report import sections_of
from benchmarks.rounds import Fault
from benchmarks.svg import Bar, Mark, bars, lines
from benchmarks.table import LEGEND, VERDICTS, is_other_python, obstacles, show, show_calls, show_multiple

# A colour for each contestant, in light and in dark; others share the last ones.
COLOURS = {
    "ours": ("#1f6feb", "#58a6ff"),
    "floor": ("#8250df", "#bc8cff"),
    "c": ("#57606a", "#8b949e"),
    "rust": ("#bc4c00", "#f0883e"),
    "go": ("#0a7ea4", "#39c5cf"),
    "pyo3": ("#bf3989", "#f778ba"),
    "cffi": ("#9a6700", "#d29922"),
    "other": ("#6e7781", "#6e7681"),
}

_STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --text: #1f2328; --faint: #59636e; --rule: #d1d9e0;
  --met: #1a7f37; --missed: #cf222e; %(light)s }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --text: #e6edf3; --faint: #9198a1; --rule: #3d444d;
  --met: #3fb950; --missed: #f85149; %(dark)s } }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; max-width: 1100px;
  margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; } h2 { border-bottom: 1px solid var(--rule); margin-top: 2.5rem; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left; }
.scroll { overflow-x: auto; } .faint, small { color: var(--faint); }
.met { color: var(--met); } .missed { color: var(--missed); font-weight: 600; }
svg { display: block; max-width: 760px; width: 100%%; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); } svg .cut { fill: var(--back); font-weight: 700; }
svg .spread { stroke: var(--text); stroke-width: 1.5; } svg .grid { stroke: var(--rule); }
svg .limit-met { stroke: var(--met); stroke-dasharray: 4 3; } svg .limit-missed { stroke: var(--missed);
  stroke-dasharray: 4 3; } svg .limit-open { stroke: var(--faint); stroke-dasharray: 2 4; }
svg .line { fill: none; stroke-width: 2; }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .35em 0 1em; border-radius: 2px; }
%(classes)s
"""


def _style() -> str:
    light = " ".join(f"--{name}: {colours[0]};" for name, colours in COLOURS.items())
    dark = " ".join(f"--{name}: {colours[1]};" for name, colours in COLOURS.items())
    classes = "\n".join(
        f"svg .{name} {{ fill: var(--{name}); stroke: var(--{name}); }} .key.{name} {{ background: var(--{name}); }}"
        for name in COLOURS
    )
    return _STYLE % {"light": light, "dark": dark, "classes": classes}


def style_of(contestant: str) -> str:
    """The class that colours a contestant."""
    return contestant if contestant in COLOURS else "other"


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A median with its spread under it, and ours in multiples of it; empty where there is none."""
    if name not in row["values"]:
        return ""
    values, unit = row["values"][name], row["unit"]
    multiple = show_multiple(row["ratios"].get(name), name in row["overlaps"])
    text = escape(show(values["median"], unit)) + (f"<small>{escape(multiple)}</small>" if multiple else "")
    if len(values["rounds"]) > 1:
        text += f"<br><small>[{escape(show(values['min'], unit))} … {escape(show(values['max'], unit))}]</small>"
    return text


def _limits(row: Mapping[str, Any]) -> str:
    classes = {True: "met", False: "missed", None: "faint"}
    return "<br>".join(
        f'<span class="{classes[limit["met"]]}">{escape(limit["text"])}: {VERDICTS[limit["met"]]}</span>'
        for limit in row["limits"]
    )


def _table(section: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    names = [name for name in labels if any(name in row["values"] for row in section["rows"])]
    head = "".join(f"<th>{escape(labels[name])}</th>" for name in names)
    body = []
    for row in section["rows"]:
        cells = [_cell(row, name) for name in names]
        note = f"<br><small>{escape(row['note'])}</small>" if row["note"] else ""
        tds = "".join(f"<td>{cell}</td>" for cell in [show_calls(row["calls"]), *cells])
        body.append(f"<tr><td>{escape(row['title'])}{note}</td>{tds}<td>{_limits(row)}</td></tr>")
    head = f"<thead><tr><th>measured</th><th>calls</th>{head}<th>target</th></tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{"".join(body)}</tbody></table></div>'


def _bars(row: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    unit: Unit = row["unit"]
    given = [
        Bar(labels[name], style_of(name.split()[0] if is_other_python(name) else name), found["median"], *_ends(found))
        for name, found in row["values"].items()
    ]
    classes = {True: "limit-met", False: "limit-missed", None: "limit-open"}
    marks = [
        Mark(limit["text"], limit["value"], classes[limit["met"]])
        for limit in row["limits"]
        if limit["value"] is not None
    ]
    return f"<h3>{escape(row['title'])}</h3>\n" + bars(row["title"], given, marks, lambda value: show(value, unit))


def _ends(found: Mapping[str, Any]) -> tuple[float, float]:
    return found["min"], found["max"]


def _lines(title: str, rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    unit: Unit = rows[0]["unit"]
    names = [name for name in labels if any(name in row["values"] for row in rows) and not is_other_python(name)]
    series = {
        labels[name]: (style_of(name), [row["values"].get(name, {}).get("median") for row in rows]) for name in names
    }
    key = "".join(f'<span class="key {style_of(name)}"></span>{escape(labels[name])}' for name in names)
    ticks = [row["point"]["x"] for row in rows]
    plot = lines(title, ticks, series, lambda value: show(value, unit))
    return f"<h3>{escape(title)}</h3>\n<p>{key}</p>\n{plot}"


def _plots(section: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Lines for rows that belong to a plot, bars for the others."""
    made = []
    plots: dict[str, list[Mapping[str, Any]]] = {}
    for row in section["rows"]:
        if row["point"] is None:
            made.append(_bars(row, labels))
        else:
            plots.setdefault(row["point"]["plot"], []).append(row)
    made += [_lines(title, rows, labels) for title, rows in plots.items()]
    return "\n".join(made)


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(title)}</h2>\n<ul>{items}</ul>" if items else ""


def page(report: Mapping[str, Any], told: Sequence[str]) -> str:
    """The whole page.

    Args:
        report: what `report.as_json` gave.
        told: sentences about the machine and the run.
    """
    labels, targets = report["contestants"], report["targets"]
    sections = "\n".join(
        f"<h2>{escape(section['title'])}</h2>\n{_table(section, labels)}\n{_plots(section, labels)}"
        for section in report["sections"]
    )
    missing = [f"{name}: {why}" for name, why in report["missing"].items()]
    faults = [f"{fault.what}: {fault.said}" for fault in (Fault(**each) for each in report["faults"])]
    read = sections_of(report)
    verdicts = " ".join(verdict(beside(read, name)) for name in ("go", "rust"))
    facts = "".join(f"<li>{escape(line)}</li>" for line in told)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nylon Ring for Python: figures</title>
<style>{_style()}</style>
</head>
<body>
<h1>Nylon Ring for Python: figures</h1>
<p>Targets: <span class="met">{targets["met"]} met</span>, <span class="missed">{targets["missed"]} missed</span>,
{targets["not measured"]} not measured. {escape(verdicts)}</p>
<p>{escape(LEGEND)} Bars end at the median, their line goes from the least to the most, dashed lines are limits.</p>
<ul>{facts}</ul>
{sections}
{_list("In the way of targets that are missed", obstacles(read))}
{_list("Left out", missing)}
{_list("Did not run", faults)}
</body>
</html>
"""
