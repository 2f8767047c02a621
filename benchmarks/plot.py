"""Figures over time as an SVG: panels with lines below each other, and below them what happened when. Pure.

Drawn by hand, so that the picture is small, needs no font but the reader's, and is readable on light and dark pages.
"""

from __future__ import annotations

import itertools
import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH, LEFT, RIGHT = 960, 176, 16
"""Pixels: of the picture, and of its margins, which hold titles and names."""
HEAD, PANEL, GAP, LANE, FOOT = 40, 150, 34, 20, 44
"""Pixels of height: above the panels, of a panel, below it, of a lane, below the lanes."""
_INNER = WIDTH - LEFT - RIGHT
_TICKS = 4

_STYLE = """
svg { color-scheme: light dark; font: 12px system-ui, sans-serif }
.ground { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e }
.axis { stroke: #59636e; stroke-width: 1 } .grid { stroke: #d1d9e0; stroke-width: 1 }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
.one { stroke: #0550ae } .two { stroke: #9a3412; stroke-dasharray: 6 3 }
.three { stroke: #116329; stroke-dasharray: 2 2 }
.mark { stroke: #59636e; stroke-width: 1.5 } .bad { stroke: #cf222e; stroke-width: 2 }
.title { font-size: 15px; font-weight: 600 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 }
.axis { stroke: #9198a1 } .grid { stroke: #30363d }
.one { stroke: #79c0ff } .two { stroke: #ffa657 } .three { stroke: #7ee787 }
.mark { stroke: #9198a1 } .bad { stroke: #ff7b72 } }
"""
_LINES = ("one", "two", "three")


class Series(NamedTuple):
    """One line: points (time, value) in the order of time. Where the value is None, the line is interrupted."""

    name: str
    points: Sequence[tuple[float, float | None]]


class Panel(NamedTuple):
    """One vertical axis from 0, ``title`` with its unit, and at most three lines."""

    title: str
    series: Sequence[Series]


class Lane(NamedTuple):
    """Moments at which one kind of thing happened; ``bad`` ones stand out."""

    name: str
    moments: Sequence[float]
    bad: bool = False


class Plot(NamedTuple):
    """A picture: ``time_title`` names the common axis, which goes from 0 to ``end``, with its unit."""

    title: str
    time_title: str
    end: float
    panels: Sequence[Panel]
    lanes: Sequence[Lane]


def draw(plot: Plot) -> str:
    """The SVG document."""
    lanes_top = HEAD + len(plot.panels) * (PANEL + GAP)
    bottom = lanes_top + len(plot.lanes) * LANE
    height = bottom + FOOT
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{escape(plot.title)}</title><style>{_STYLE}</style>',
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        _text(16, 24, plot.title, "ink title"),
        *_time_axis(plot, bottom),
    ]
    for number, panel in enumerate(plot.panels):
        parts += _panel(panel, HEAD + number * (PANEL + GAP), plot.end)
    for number, lane in enumerate(plot.lanes):
        parts += _lane(lane, lanes_top + number * LANE, plot.end)
    return "\n".join([*parts, "</svg>", ""])


def steps(highest: float, most: int = _TICKS) -> list[float]:
    """Round numbers from 0 to at least ``highest``, at most ``most`` steps of 1, 2, 2.5 or 5 times a power of ten."""
    if highest <= 0:
        return [0.0, 1.0]
    power: float = 10.0 ** math.floor(math.log10(highest / most))
    step = next(step for factor in (1, 2, 2.5, 5, 10) if (step := factor * power) * most >= highest * (1 - 1e-9))
    return [number * step for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _panel(panel: Panel, top: float, end: float) -> Iterator[str]:
    ticks = steps(max((value or 0 for series in panel.series for _, value in series.points), default=0))
    base = top + PANEL

    def height(value: float) -> float:
        return base - value / ticks[-1] * PANEL

    for tick in ticks:
        yield _line(LEFT, height(tick), WIDTH - RIGHT, height(tick), "grid" if tick else "axis")
        yield _text(LEFT - 8, height(tick) + 4, f"{tick:,g}" if tick < 1e6 else f"{tick:,.0f}", "soft", "end")
    yield _text(16, top + PANEL / 2, panel.title, "ink", "middle", turned=True)
    for series, look in reversed(list(zip(panel.series, _LINES, strict=False))):  # the first lies on top
        for whole, part in itertools.groupby(series.points, lambda point: point[1] is not None):
            points = " ".join(f"{_across(time, end):.1f},{height(value or 0):.1f}" for time, value in part)
            if whole:
                yield f'<polyline class="line {look}" points="{points}"/>'
    at = LEFT
    for series, look in zip(panel.series, _LINES, strict=False):
        yield _line(at, base + 18, at + 24, base + 18, f"line {look}")
        yield _text(at + 30, base + 22, series.name, "ink")
        at += 52 + 7 * len(series.name)


def _lane(lane: Lane, top: float, end: float) -> Iterator[str]:
    base = top + LANE
    yield _line(LEFT, base, WIDTH - RIGHT, base, "grid")
    yield _text(LEFT - 8, base - 5, f"{lane.name} ({len(lane.moments)})", "ink", "end")
    for moment in lane.moments:
        at = _across(moment, end)
        yield _line(at, base - 15, at, base - 1, "bad" if lane.bad else "mark")


def _time_axis(plot: Plot, bottom: float) -> Iterator[str]:
    for tick in steps(plot.end, 10):
        if tick <= plot.end * 1.0001:
            yield _line(_across(tick, plot.end), HEAD, _across(tick, plot.end), bottom, "grid")
            yield _text(_across(tick, plot.end), bottom + 16, f"{tick:g}", "soft", "middle")
    yield _text(LEFT + _INNER / 2, bottom + 36, plot.time_title, "ink", "middle")


def _across(time: float, end: float) -> float:
    return LEFT + time / (end or 1) * _INNER


def _line(x1: float, y1: float, x2: float, y2: float, look: str) -> str:
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, look: str, anchor: str = "start", *, turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'
