"""Plots as inline SVG. Colours and fonts come from the page's style sheet, so that they follow its light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Show = Callable[[float], str]

WIDTH = 760
BAR_HEIGHT, BAR_GAP = 18, 6
LABEL_WIDTH, VALUE_WIDTH = 150, 190
PLOT_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300, 80, 20, 14, 34
LEAST_SHARE = 0.002  # a bar so short is drawn that long, to be seen at all


@dataclass(frozen=True)
class Bar:
    """One contestant of a row.

    Args:
        name: its label.
        style: the class that colours it.
        median, least, most: of the rounds.
    """

    name: str
    style: str
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Mark:
    """A limit drawn across the bars."""

    name: str
    value: float
    style: str


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(title: str, given: Sequence[Bar], marks: Sequence[Mark], show: Show) -> str:
    """Horizontal bars from zero to the median, with a line from the least to the most, and the limits across them.

    A contestant more than thirty times the one in the middle would leave nothing to be seen of the others: its bar is
    cut, and a break says so.
    """
    middle = sorted(bar.most for bar in given)[len(given) // 2]
    top = min(max(*(bar.most for bar in given), *(mark.value for mark in marks), 1e-9), middle * 30 or 1.0)
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / top

    def x(value: float) -> float:
        return LABEL_WIDTH + min(max(value, 0.0), top) * scale

    height = len(given) * (BAR_HEIGHT + BAR_GAP) + BAR_GAP
    parts = [_open(title, height)]
    for number, bar in enumerate(given):
        y = BAR_GAP + number * (BAR_HEIGHT + BAR_GAP)
        center = y + BAR_HEIGHT / 2
        length = max(x(bar.median) - LABEL_WIDTH, room * LEAST_SHARE)
        parts.append(_text(LABEL_WIDTH - 8, center + 4, bar.name, anchor="end"))
        parts.append(
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" class="{bar.style}"/>'
        )
        if bar.median > top:
            parts.append(_text(x(top) - 14, center + 4, "//", "cut"))
        if bar.most > bar.least:
            line = f'x1="{x(bar.least):.1f}" x2="{x(bar.most):.1f}" y1="{center}" y2="{center}"'
            parts.append(f'<line {line} class="spread"/>')
        parts.append(_text(x(max(bar.median, bar.most)) + 6, center + 4, show(bar.median)))
    for mark in marks:
        at = f'x1="{x(mark.value):.1f}" x2="{x(mark.value):.1f}" y1="0" y2="{height}"'
        parts.append(f'<line {at} class="{mark.style}"><title>{escape(mark.name)}</title></line>')
    return "\n".join([*parts, "</svg>"])


def _decades(low: float, high: float) -> tuple[int, int]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return (first, last) if last > first else (first, first + 1)


def lines(
    title: str, ticks: Sequence[str], series: Mapping[str, tuple[str, Sequence[float | None]]], show: Show
) -> str:
    """Lines over named points, values on a logarithmic axis.

    Args:
        title: for who cannot see it.
        ticks: what stands under each point.
        series: by label: the class that colours it, and a value for each point, None where there is none.
        show: writes a value.
    """
    values = [max(value, 1.0) for _, line in series.values() for value in line if value is not None]
    first, last = _decades(min(values), max(values))
    room, step = PLOT_HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / max(len(ticks) - 1, 1)

    def at(number: int, value: float) -> tuple[float, float]:
        share = (math.log10(max(value, 1.0)) - first) / (last - first)
        return LEFT + number * step, TOP + room * (1 - share)

    parts = [_open(title, PLOT_HEIGHT)]
    for power in range(first, last + 1):
        _, y = at(0, 10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(LEFT - 8, y + 4, show(10.0**power), anchor="end"))
    for number, tick in enumerate(ticks):
        anchor = "start" if number == 0 else "end" if number == len(ticks) - 1 else "middle"
        parts.append(_text(LEFT + number * step, PLOT_HEIGHT - 10, tick, anchor=anchor))
    for name, (style, line) in series.items():
        points = [(at(number, value), value) for number, value in enumerate(line) if value is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for (x, y), _ in points)
        parts.append(f'<polyline points="{path}" class="line {style}"/>')
        for (x, y), value in points:
            words = escape(f"{name}: {show(value)}")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="{style}"><title>{words}</title></circle>')
    return "\n".join([*parts, "</svg>"])


def _open(title: str, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">'
    )
