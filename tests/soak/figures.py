"""Lines over time as an SVG file: no library, since this is all that is needed of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 300, 64, 200, 34, 34
COLOURS = ("#1f6fb4", "#d2571e", "#2c8a3d", "#8a4bb0", "#b8860b", "#c2185b", "#00868b", "#555555")
POINTS_MAX = 400  # of a line: more cannot be seen


def _thin(points: Points) -> Points:
    """The highest of each stretch: what stands out must not be left out."""
    step = math.ceil(len(points) / POINTS_MAX)
    return [max(points[i : i + step], key=lambda point: point[1]) for i in range(0, len(points), step)] if step else []


def _ticks(low: float, high: float) -> list[float]:
    size = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 5)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def _label(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def draw(file: Path, title: str, lines: Mapping[str, Points], *, logarithmic: bool = False, dots: bool = False) -> None:
    """Write a chart.

    Args:
        file: the .svg to write.
        title: what is shown, with its unit.
        lines: for each name the points: seconds, and a value; at most eight lines.
        logarithmic: the values' axis; they are above 0 then.
        dots: each point is marked.
    """
    lines = {name: _thin(points) for name, points in lines.items() if points}
    values = [value for points in lines.values() for _, value in points] or [1.0]
    end = max([at for points in lines.values() for at, _ in points] or [1.0]) or 1.0
    low: float
    high: float
    if logarithmic:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        high = max(high, low + 1)
        marks = [(float(power), _label(10.0**power)) for power in range(low, high + 1)]
    else:
        low, high = 0, max(values) * 1.08 or 1.0
        marks = [(tick, _label(tick)) for tick in _ticks(low, high)]

    def x(at: float) -> float:
        return LEFT + at / end * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        scaled = math.log10(value) if logarithmic else value
        return TOP + (high - scaled) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<text x="{LEFT}" y="20" font-size="13" font-weight="bold">{escape(title)}</text>'
    ]
    for mark, label in marks:
        height = y(10.0**mark) if logarithmic else y(mark)
        out.append(
            f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{label}</text>'
        )
    out += [
        f'<text x="{x(tick):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{_label(tick)} s</text>'
        for tick in _ticks(0, end)
    ]
    for index, (name, points) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        if dots:
            out += [f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="2.5" fill="{colour}"/>' for at, value in points]
        out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 12 + index * 16}" fill="{colour}">{escape(name)}</text>')
    file.write_text("\n".join(out) + "\n</svg>\n")
