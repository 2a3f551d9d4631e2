"""A graph over time: axes, lines or stacked areas, and a legend below."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tools import svg
from tools.pictures.boards import Panel
from tools.pictures.recording import Recording, Series
from tools.pictures.units import clock, spelled
from tools.svg import Point

RIGHT, TOP, AXIS, LEGEND = 10, 32, 18, 15
LINES = 3
"""The most lines of a legend. Entries without room are counted."""

NICE = (1, 2, 2.5, 5, 10)
RULES = 4
"""The most rules between the bottom and the top of a graph; half of them in a low graph."""

MORE = 76
"""Width of the text that counts the other entries."""

TICKS = (5, 10, 15, 30, 60, 120, 300, 600)


class Curve(NamedTuple):
    name: str
    series: Series
    colour: str


class Frame(NamedTuple):
    """The rectangle of a graph, and the values of its sides."""

    left: float
    top: float
    width: float
    height: float
    begin: float
    end: float
    step: float
    most: float
    """The top, a multiple of *step*."""

    def x(self, at: float) -> float:
        return self.left + (at - self.begin) / max(self.end - self.begin, 1) * self.width

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / self.most)


def graph(panel: Panel, recording: Recording, width: float, height: float) -> Iterator[str]:
    curves = curves_of(panel, recording)
    shown, more = legend(curves, width - 2 * RIGHT)
    is_stacked = bool(panel.defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal")
    tall = height - TOP - AXIS - LEGEND * len(shown) - 6
    step, most = scale(highest([curve.series for curve in curves], is_stacked), RULES if tall > 90 else RULES // 2)
    left = 14 + max(svg.width_of(spelled(value, panel.unit)) for value in (step, most))
    frame = Frame(left, TOP, width - left - RIGHT, tall, recording.begin, recording.end, step, most)
    yield from axes(frame, panel.unit)
    yield from (areas if is_stacked else lines)(frame, curves, recording)
    for place, row in enumerate(shown):
        yield from entries(row, height - LEGEND * (len(shown) - place) + 6)
    if more:
        yield svg.text(width - RIGHT, height - LEGEND + 6, f"and {more} more", kind="n", anchor="end")


def curves_of(panel: Panel, recording: Recording) -> list[Curve]:
    """The largest over the run first: a legend without room leaves out the smallest."""
    found = [(named(target.legend, series.labels), series) for target in panel.targets for series in recording[target]]
    if len(panel.targets) == 1:
        found.sort(key=lambda pair: -sum(value or 0 for value in pair[1].values))
    return [Curve(name, series, svg.COLOURS[place % len(svg.COLOURS)]) for place, (name, series) in enumerate(found)]


def named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def highest(found: Sequence[Series], is_stacked: bool) -> float:
    if is_stacked:
        return max((sum(value or 0 for value in column) for column in columns(found)), default=0)
    return max((value for series in found for value in series.values if value is not None), default=0)


def columns(found: Sequence[Series]) -> Iterator[tuple[float | None, ...]]:
    return zip(*(series.values for series in found), strict=True)


def scale(value: float, rules: int) -> tuple[float, float]:
    """A round step of which at most *rules* reach *value*, and the multiple of it that does."""
    value = value or 1
    least = value / rules
    power = 10 ** math.floor(math.log10(least))
    step = next(nice * power for nice in NICE if nice * power >= least * 0.999)
    return step, step * max(1, math.ceil(value / step - 0.001))


def axes(frame: Frame, unit: str) -> Iterator[str]:
    for number in range(round(frame.most / frame.step) + 1):
        value = frame.step * number
        yield svg.rule(frame.left, frame.y(value), frame.width)
        yield svg.text(frame.left - 6, frame.y(value) + 4, spelled(value, unit), kind="n", anchor="end")
    seconds = frame.end - frame.begin
    every = next((tick for tick in TICKS if seconds / tick * 62 <= frame.width), TICKS[-1])
    first = math.ceil(frame.begin / every) * every
    for at in range(first, int(frame.end) + 1, every):
        place = frame.x(at)
        if frame.left + 14 <= place <= frame.left + frame.width - 16:
            yield svg.text(place, frame.top + frame.height + 14, clock(at), kind="n", anchor="middle")


def lines(frame: Frame, curves: Sequence[Curve], recording: Recording) -> Iterator[str]:
    for curve in reversed(curves):
        for part in unbroken(frame, curve.series, recording):
            yield svg.line(part, curve.colour)


def unbroken(frame: Frame, series: Series, recording: Recording) -> Iterator[list[Point]]:
    """The parts of a series between its gaps."""
    part: list[Point] = []
    for at, value in zip(recording.moments, series.values, strict=True):
        if value is not None:
            part.append((frame.x(at), frame.y(value)))
        elif part:
            yield part
            part = []
    if part:
        yield part


def areas(frame: Frame, curves: Sequence[Curve], recording: Recording) -> Iterator[str]:
    sums = [0.0] * len(recording.moments)
    for curve in curves:
        before, sums = sums, [low + (value or 0) for low, value in zip(sums, curve.series.values, strict=True)]
        if any(curve.series.values):
            upper, lower = ([(frame.x(at), frame.y(v)) for at, v in zip(recording.moments, s, strict=True)]
                            for s in (sums, before))  # fmt: skip
            yield svg.area(upper, lower, curve.colour)
            yield svg.line(upper, curve.colour)


def legend(curves: Sequence[Curve], width: float) -> tuple[list[list[Curve]], int]:
    """The entries of each line, and the number of those without room."""
    rows: list[list[Curve]] = []
    left = list(curves)
    while left and len(rows) < LINES:
        is_last = len(rows) == LINES - 1
        rows.append(filled(left, width))
        if is_last and len(rows[-1]) < len(left):
            rows[-1] = filled(left, width - MORE)
        del left[: len(rows[-1])]
    return rows, len(left)


def filled(curves: Sequence[Curve], width: float) -> list[Curve]:
    """The curves that fit into one line; at least one."""
    row: list[Curve] = []
    for curve in curves:
        needed = 24 + svg.width_of(curve.name)
        if row and needed > width:
            break
        row.append(curve._replace(name=svg.cut(curve.name, width - 24)))
        width -= needed
    return row


def entries(row: Sequence[Curve], y: float) -> Iterator[str]:
    x = float(RIGHT)
    for curve in row:
        yield f'<path d="M{x:.0f} {y - 4:.0f}h12" stroke="{curve.colour}" stroke-width="3"/>'
        yield svg.text(x + 16, y, curve.name, kind="n")
        x += 24 + svg.width_of(curve.name)
