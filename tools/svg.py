"""SVG written by hand: a page, and the shapes on it. The benchmarks' plots and the dashboards' pictures use it."""

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

WIDTH = 980
"""Of every page, in pixels."""

INK, FAINT, LINE = "#24292f", "#69707a", "#e3e6ea"
COLOURS = (
    "#c0562f", "#2a7f62", "#4477aa", "#b8860b", "#7a5195", "#1f9bb5",
    "#d45087", "#5b8c2a", "#8a6d5a", "#5566cc", "#a0522d", "#8a94a6",
)  # fmt: skip
WIDE = 0.6
"""Width of a letter, on average, as a part of its height."""

BOLD = 0.66

FLAT = 0.35
"""Points that lie nearer than this to the line between their neighbours, in pixels, are left out."""


def page(parts: Sequence[str], height: float, background: str = "#fff") -> str:
    style = "text{font:13px sans-serif;fill:#333} .t{font-weight:bold;font-size:15px} .n{fill:#666}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    fill = f'<rect width="{WIDTH}" height="{height}" fill="{background}"/>'
    return "\n".join([head, f"<style>{style}</style>", fill, *parts, "</svg>\n"])


def text(x: float, y: float, words: str, *, size: float = 11, kind: str = "", anchor: str = "", fill: str = "") -> str:
    looks = [f"font-size:{size:.3g}px"] if size != 11 else []
    looks += [f"fill:{fill}"] if fill else []
    given = {"class": kind, "text-anchor": anchor, "style": ";".join(looks)}
    return f'<text x="{x:.0f}" y="{y:.0f}"{attributes(given)}>{escape(words, quote=False)}</text>'


def rule(x: float, y: float, width: float) -> str:
    return f'<path class="r" d="M{x:.0f} {y:.1f}h{width:.0f}"/>'


def line(points: Sequence[Point], colour: str) -> str:
    if len(points) == 1:
        (x, y), *_ = points
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="{colour}"/>'
    return f'<path class="l" d="{route(points)}" stroke="{colour}"/>'


def area(upper: Sequence[Point], lower: Sequence[Point], colour: str) -> str:
    around = f"{route(upper)}L{route(list(reversed(lower))).removeprefix('M')}z"
    return f'<path d="{around}" fill="{colour}" fill-opacity=".3"/>'


def route(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in simplified(points))


def simplified(points: Sequence[Point]) -> list[Point]:
    """The same line to the eye, with fewer points."""
    if len(points) < 3:
        return list(points)
    (ax, ay), (bx, by) = points[0], points[-1]
    length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5 or 1.0
    distances = [abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length for x, y in points[1:-1]]
    farthest = max(range(len(distances)), key=distances.__getitem__)
    if distances[farthest] < FLAT:
        return [points[0], points[-1]]
    middle = farthest + 1
    return simplified(points[: middle + 1])[:-1] + simplified(points[middle:])


def attributes(given: dict[str, str]) -> str:
    return "".join(f' {name}="{value}"' for name, value in given.items() if value)


def width_of(words: str, size: float = 11) -> float:
    return len(words) * size * WIDE


def broken(words: str) -> list[str]:
    """In two lines, at the space or hyphen that is nearest to the middle."""
    places = [place + 1 for place, letter in enumerate(words) if letter in " -"]
    if not places:
        return [words]
    middle = min(places, key=lambda place: abs(place - len(words) / 2))
    return [words[:middle].strip(), words[middle:]]


def fitted(words: str, width: float, largest: float, least: float = 11) -> float:
    """The size in which *words* have room."""
    return max(least, min(largest, width / (max(len(words), 1) * BOLD)))


def cut(words: str, width: float, size: float = 11) -> str:
    """*words* without their middle, if there is no room for them: names of pods differ at their ends."""
    room = max(int(width / (size * WIDE)), 3)
    if len(words) <= room:
        return words
    kept = (room - 1) // 2
    return f"{words[: room - 1 - kept]}…{words[-kept:]}"
