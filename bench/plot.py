"""The plot of `docs/benchmarks-in-depth.md`, written as SVG by hand: bars on logarithmic axes need no library."""

import math
from collections.abc import Sequence
from html import escape

from bench.environments import ROOT
from bench.figure import Figure, number
from bench.others.comparison import Comparison
from bench.others.handover import Handover
from bench.others.rates import Rates
from tools.svg import WIDTH, page

PATH = ROOT / "docs" / "benchmarks.svg"
LABELS, BAR, GAP, TOP = 450, 16, 8, 46
RIGHT = WIDTH - 90
LEAST = 0.01
MET, MISSED, OURS, OTHER = "#2a7f62", "#c0562f", "#2a7f62", "#8a94a6"


def drawn(figures: Sequence[Figure], others: Comparison) -> str:
    panels = [distance([figure for figure in figures if figure.bound is not None])]
    if others.rates:
        panels += [handled(others.rates), waiting(others.rates)]
    if others.handovers:
        panels.append(handed_over(others.handovers))
    parts, height = [], 0
    for lines, used in panels:
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
    return compared(
        "Requests handled a second by one worker process: at its best, one at a time, many threads (logarithmic)",
        [f"{each.name}, {each.job}" for each in rates],
        [each.sample.handle for each in rates],
    )


def waiting(rates: Sequence[Rates]) -> tuple[list[str], int]:
    return compared(
        "Bytes of Redis for a waiting request of about fifty bytes (logarithmic)",
        [f"{each.name}, {each.job}" for each in rates],
        [each.sample.bytes for each in rates],
    )


def handed_over(handovers: Sequence[Handover]) -> tuple[list[str], int]:
    return compared(
        "Milliseconds from register to an idle worker's handler, one at a time: p99, and p50 (logarithmic)",
        [each.name for each in handovers],
        [each.p99 for each in handovers],
        [f"{number(each.p99)} (p50 {number(each.p50)})" for each in handovers],
    )


def compared(
    title: str, labels: Sequence[str], values: Sequence[float], notes: Sequence[str] = ()
) -> tuple[list[str], int]:
    """Ours is the first line. What was too little to be measured is drawn as the least that has a place on the axis."""
    ours = labels[0].partition(",")[0]
    colours = [OURS if label.partition(",")[0] == ours else OTHER for label in labels]
    drawn = [max(value, LEAST) for value in values]
    axis = Axis(min(drawn), max(drawn))
    return panel(title, labels, drawn, colours, notes or [number(value) for value in values], axis, axis.low)


class Axis:
    """A logarithmic one."""

    def __init__(self, low: float, high: float) -> None:
        self.low = 10 ** math.floor(math.log10(low))
        self.high = max(high, self.low * 1.01)

    def x(self, value: float) -> float:
        part = math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        return LABELS + part * (RIGHT - 60 - LABELS)


def panel(
    title: str,
    labels: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    notes: Sequence[str],
    axis: Axis,
    origin: float,
) -> tuple[list[str], int]:
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
