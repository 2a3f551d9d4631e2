"""The curves as `docs/growth.svg`: dots are measured, lines between them guide the eye, dashes are the model."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from bench.environments import ROOT
from bench.figure import number
from bench.growth.curves import Curve
from bench.growth.model import Model
from bench.growth.point import Point
from tools.svg import WIDTH, page

PATH = ROOT / "docs" / "growth.svg"
MEASURED, SECOND, MODEL = "#2a7f62", "#c0562f", "#4477aa"
COLUMNS, HEIGHT, LEFT, TOP, BOTTOM = 2, 250, 64, 46, 40
RIGHT = 30
PANEL = WIDTH // COLUMNS

Dot = tuple[float, float]


class Series(NamedTuple):
    name: str
    colour: str
    dots: Sequence[Dot]
    is_model: bool = False


class Panel(NamedTuple):
    title: str
    across: str
    series: Sequence[Series]


def drawn(curves: Sequence[Curve], model: Model) -> str:
    one, several, threads, requests, sizes = curves
    panels = [
        Panel("Handled a second", "workers", [rate(one, "one Redis", MEASURED), rate(several, "Cluster", SECOND)]),
        Panel("Handled a second", "threads", [rate(threads, "one worker", MEASURED)]),
        Panel(
            "CPU of Redis a request, µs",
            "threads",
            both(threads, cpu, lambda each: model.redis_us(each.batch, each.size)),
        ),
        Panel("Memory of Redis a request, bytes", "threads", both(threads, memory, lambda each: modelled(model, each))),
        Panel(
            "CPU of Redis a request, µs", "bytes", both(sizes, cpu, lambda each: model.redis_us(each.batch, each.size))
        ),
        Panel("Memory of Redis a request, bytes", "bytes", both(sizes, memory, lambda each: modelled(model, each))),
        Panel(
            "Memory of Redis, MB",
            "requests",
            both(requests, total, lambda each: modelled(model, each) * each.requests / 1e6),
        ),
        Panel(
            "Longest block of Redis, ms (1: below one)",
            "threads or requests",
            [
                Series("threads", MEASURED, dots(threads, block)),
                Series("requests", SECOND, dots(requests, block)),
            ],
        ),
    ]
    parts = [
        f'<g transform="translate({place % COLUMNS * PANEL} {place // COLUMNS * HEIGHT})">{panel_of(panel)}</g>'
        for place, panel in enumerate(panels)
    ]
    return page(parts, math.ceil(len(panels) / COLUMNS) * HEIGHT)


def rate(curve: Curve, name: str, colour: str) -> Series:
    return Series(name, colour, dots(curve, lambda point: point.handle))


def both(curve: Curve, value: Callable[[Point], float], predicted: Callable[[Point], float]) -> list[Series]:
    return [
        Series("measured", MEASURED, dots(curve, value)),
        Series("model", MODEL, dots(curve, predicted), is_model=True),
    ]


def dots(curve: Curve, value: Callable[[Point], float]) -> list[Dot]:
    """Without those that a logarithmic axis has no place for."""
    every = [(float(getattr(point, curve.grows)), value(point)) for point in curve.points]
    return [(x, y) for x, y in every if y > 0]


def cpu(point: Point) -> float:
    return point.redis_us


def memory(point: Point) -> float:
    return point.memory


def total(point: Point) -> float:
    return point.total_memory / 1e6


def block(point: Point) -> float:
    return max(1.0, point.block_ms)


def modelled(model: Model, point: Point) -> float:
    return model.bytes(point.threads, point.requests, point.size) / point.requests


def panel_of(panel: Panel) -> str:
    every = [dot for series in panel.series for dot in series.dots]
    across, up = Scale([x for x, _ in every], LEFT, PANEL - RIGHT), Scale([y for _, y in every], HEIGHT - BOTTOM, TOP)
    parts = [f'<text class="t" x="10" y="22">{escape(panel.title)}</text>', *axes(across, up, panel.across)]
    for place, series in enumerate(panel.series):
        parts += curve_of(series, across, up)
        x = LEFT + place * 110
        parts.append(f'<text x="{x}" y="38" style="fill:{series.colour}">{escape(series.name)}</text>')
    return "\n".join(parts)


class Scale:
    """A logarithmic axis over whole powers of ten; a span within one power gets all of it."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + part * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        return [10.0**each for each in range(self.low, self.high + 1)]


def axes(across: Scale, up: Scale, name: str) -> list[str]:
    base = HEIGHT - BOTTOM
    parts = [f'<text class="n" x="{PANEL - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(name)}</text>']
    for value in up.ticks:
        y = up.at(value)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{PANEL - RIGHT}" y2="{y:.1f}" stroke="#e3e6ea"/>')
        parts.append(f'<text class="n" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
    for value in across.ticks:
        x = across.at(value)
        parts.append(f'<text class="n" x="{x:.1f}" y="{base + 18}" text-anchor="middle">{short(value)}</text>')
    return parts


def curve_of(series: Series, across: Scale, up: Scale) -> list[str]:
    places = [(across.at(x), up.at(y)) for x, y in series.dots]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="5 4"' if series.is_model else ""
    parts = [f'<path d="{path}" fill="none" stroke="{series.colour}"{dashes}/>']
    if not series.is_model:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{series.colour}"/>' for x, y in places]
    return parts


def short(value: float) -> str:
    """10k, 1M: as long as an axis has room for."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{number(value / unit)}{letter}"
    return number(value)
