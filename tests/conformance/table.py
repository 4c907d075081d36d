"""The table at the end of a run: cases by hosts, one block a plugin, then the letters, then what failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase


@dataclass(frozen=True)
class Cell:
    """How one case went: `ok`, `FAIL` with the details in `text`, or `excused` with the reason."""

    plugin: str
    column: str
    theme: str
    case: str
    promise: str
    result: str
    text: str = ""


def render(cells: Sequence[Cell]) -> str:
    """The whole report."""
    letters = _letters(cells)
    lines: list[str] = []
    for plugin in dict.fromkeys(cell.plugin for cell in cells):
        lines += [*_block([cell for cell in cells if cell.plugin == plugin], letters), ""]
    lines += [f"{letter}  {reason}" for reason, letter in letters.items()]
    for cell in cells:
        if cell.result == "FAIL":
            details = cell.text.replace("\n", "\n    ")
            lines += ["", f"FAIL {cell.plugin} in {cell.column}: {cell.theme}: {cell.case}"]
            lines += [f"    promise: {cell.promise}", f"    {details}"]
    counts = {result: sum(cell.result == result for cell in cells) for result in ("ok", "FAIL", "excused")}
    return "\n".join([*lines, "", f"{counts['ok']} ok, {counts['FAIL']} failed, {counts['excused']} do not apply"])


def _letters(cells: Sequence[Cell]) -> dict[str, str]:
    reasons = dict.fromkeys(cell.text for cell in cells if cell.result == "excused")
    return {reason: _letter(number) for number, reason in enumerate(reasons)}


def _letter(number: int) -> str:
    """a … z, aa, ab, …"""
    before, last = divmod(number, 26)
    return (_letter(before - 1) if before else "") + ascii_lowercase[last]


def _block(cells: Sequence[Cell], letters: dict[str, str]) -> Iterator[str]:
    """The rows of one plugin."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        shown = letters[cell.text] if cell.result == "excused" else cell.result
        rows.setdefault((cell.theme, cell.case), {})[cell.column] = shown
    width = max(len(case) for _, case in rows) + 2
    yield f"plugin {cells[0].plugin}".ljust(width + 2) + "  ".join(columns)
    theme = ""
    for (of, case), row in rows.items():
        if of != theme:
            theme = of
            yield theme
        yield (
            "  " + case.ljust(width) + "  ".join(row.get(column, "").ljust(len(column)) for column in columns).rstrip()
        )
