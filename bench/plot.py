"""The plot of `docs/benchmarks.md`, written as SVG by hand: bars on logarithmic axes need no library."""

import math
from collections.abc import Sequence
from html import escape

from bench.environments import ROOT
from bench.figure import Figure, number
from bench.figures.others import Rates
from tools.svg import WIDTH, page

PATH = ROOT / "docs" / "benchmarks.svg"
LABELS, BAR, GAP, TOP = 450, 16, 8, 46
RIGHT = WIDTH - 90
MET, MISSED, OURS, OTHER = "#2a7f62", "#c0562f", "#2a7f62", "#8a94a6"


def drawn(figures: Sequence[Figure], rates: Sequence[Rates]) -> str:
    targets = [figure for figure in figures if figure.bound is not None]
    parts, height = [], 0
    for panel in (distance(targets), handled(rates)) if rates else (distance(targets),):
        lines, used = panel
        parts.append(f'<g transform="translate(0 {height})">' + "\n".join(lines) + "</g>")
        height += used
    return page(parts, height)


def distance(figures: Sequence[Figure]) -> tuple[list[str], int]:
    """Each figure as a multiple of its target, better to the right of the line."""
    values = [margin(figure) for figure in figures]
    colours = [MET if figure.is_met else MISSED for figure in figures]
    labels = [figure.name for figure in figures]
    notes = [f"{figure.value} ({figure.target})" for figure in figures]
    axis = Axis(min(0.1, *values), max(10.0, *values))
    return panel(
        "How far from the target (line: the target; right: better; logarithmic)",
        labels,
        values,
        colours,
        notes,
        axis,
        1.0,
    )


def margin(figure: Figure) -> float:
    assert figure.bound
    measured = max(figure.measured, 1e-6)
    return measured / figure.bound if figure.sense == "≥" else figure.bound / measured


def handled(rates: Sequence[Rates]) -> tuple[list[str], int]:
    values = [each.handle for each in rates]
    colours = [OURS if each.name == rates[0].name else OTHER for each in rates]
    labels = [f"{each.name}, {each.job}" for each in rates]
    axis = Axis(min(10.0, *values), max(values))
    title = "Requests handled a second by one worker process (logarithmic)"
    return panel(title, labels, values, colours, [number(value) for value in values], axis, axis.low)


class Axis:
    """A logarithmic one."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = 10 ** math.floor(math.log10(low)), high

    def x(self, value: float) -> float:
        part = math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        return LABELS + part * (RIGHT - 60 - LABELS)


def panel(title, labels, values, colours, notes, axis: Axis, origin: float) -> tuple[list[str], int]:
    bottom = TOP + len(labels) * (BAR + GAP)
    lines = [f'<text class="t" x="10" y="26">{escape(title)}</text>']
    for place, row in enumerate(zip(labels, values, colours, notes, strict=True)):
        lines += bar(TOP + place * (BAR + GAP), *row, axis, origin)
    x = axis.x(origin)
    lines.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#333"/>')
    return lines, bottom + 14


def bar(y: int, label: str, value: float, colour: str, note: str, axis: Axis, origin: float) -> list[str]:
    left, right = sorted((axis.x(origin), axis.x(value)))
    return [
        f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{BAR}" fill="{colour}"/>',
        f'<text class="n" x="{right + 6:.1f}" y="{y + 13}">{escape(note)}</text>',
    ]
