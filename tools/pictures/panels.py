"""One function a kind of panel: what is inside its frame, from its left upper corner."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from textwrap import wrap
from typing import Any

from tools import svg
from tools.pictures.boards import Panel
from tools.pictures.graph import graph, named
from tools.pictures.recording import Recording, Series
from tools.pictures.units import spelled

SIDE, HEAD, ROW, BETWEEN, LETTER = 10, 48, 19, 10, 10
LARGE, SMALL = 26, 14
"""Of the words of a tile; what would be smaller is broken in two lines."""

GOOD, BAD = "#2a7f62", "#c0562f"
COLOURS = {"green": GOOD, "red": BAD}

Draw = Callable[[Panel, Recording, float, float], Iterator[str]]
Cells = dict[str, Any]


def tile(panel: Panel, recording: Recording, width: float, height: float) -> Iterator[str]:
    """The last value, as a number or a word."""
    found = [(named(target.legend, series.labels), series) for target in panel.targets for series in recording[target]]
    name, series = found[0] if found else ("", Series({}, [None]))
    words, colour = stated(panel, name, series)
    if panel.options.get("graphMode") == "area" and series.last is not None:
        yield from spark(series, colour, width, height)
    parts = svg.broken(words) if svg.fitted(words, width - 2 * SIDE, LARGE) < SMALL else [words]
    size = min(svg.fitted(part, width - 2 * SIDE, LARGE) for part in parts)
    for place, part in enumerate(parts):
        y = height / 2 + 12 + size * (0.35 + 1.2 * (place - (len(parts) - 1) / 2))
        yield svg.text(width / 2, y, part, size=size, kind="b", anchor="middle", fill=colour)


def stated(panel: Panel, name: str, series: Series) -> tuple[str, str]:
    if series.last is None:
        return str(panel.defaults.get("noValue", "no data")), svg.FAINT
    if panel.options.get("textMode") == "name":
        return name, svg.INK
    return spelled(series.last, panel.unit), threshold(panel, series.last)


def threshold(panel: Panel, value: float) -> str:
    if panel.options.get("colorMode") == "none":
        return svg.INK
    steps = panel.defaults["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return COLOURS[reached[-1]]


def spark(series: Series, colour: str, width: float, height: float) -> Iterator[str]:
    """Values over time, without a scale; a gap is bridged."""
    most = max(value or 0 for value in series.values) or 1
    across = width / max(len(series.values) - 1, 1)
    upper = [
        (place * across, height - value / most * height * 0.3)
        for place, value in enumerate(series.values)
        if value is not None
    ]
    yield svg.area(upper, [(upper[0][0], height), (upper[-1][0], height)], colour)


def listing(panel: Panel, recording: Recording, width: float, height: float) -> Iterator[str]:
    columns, rows = table_of(panel, recording)
    units = units_of(panel)
    texts = [[shown(row.get(column), units.get(column, "short")) for column in columns] for row in rows]
    room = int((height - HEAD - 6) // ROW)
    lefts = spread(columns, texts[:room], width)
    for column, (left, right), is_number in zip(columns, lefts, numeric(columns, rows), strict=True):
        yield cell(left, right, HEAD - 6, column, is_number, "h")
    for place, row in enumerate(texts[:room]):
        y = HEAD + ROW * place
        yield svg.rule(SIDE, y, width - 2 * SIDE)
        for words, (left, right), is_number in zip(row, lefts, numeric(columns, rows), strict=True):
            yield cell(left, right, y + 14, svg.cut(words, right - left, LETTER), is_number, "")
    if len(texts) > room:
        yield svg.text(width - SIDE, 19, f"and {len(texts) - room} more", kind="n", anchor="end")


def table_of(panel: Panel, recording: Recording) -> tuple[list[str], list[Cells]]:
    """The answers as Grafana's steps *merge* and *organize* combine them, in the order of the panel."""
    (tidy,) = [each["options"] for each in panel.body["transformations"] if each["id"] == "organize"]
    merged: dict[tuple[tuple[str, str], ...], Cells] = {}
    common = common_labels(panel, recording)
    for target in panel.targets:
        for series in recording[target]:
            key = tuple((name, series.labels.get(name, "")) for name in sorted(common))
            merged.setdefault(key, {}).update({**series.labels, f"Value #{target.letter}": series.last})
    ordered = sorted(tidy["indexByName"], key=tidy["indexByName"].get)
    names = [name for name in ordered if not tidy["excludeByName"].get(name)]
    rows = [{tidy["renameByName"].get(name, name): row.get(name) for name in names} for row in merged.values()]
    for order in panel.options.get("sortBy", []):
        rows.sort(key=lambda row: row[order["displayName"]] or 0, reverse=bool(order.get("desc")))
    return [tidy["renameByName"].get(name, name) for name in names], rows


def common_labels(panel: Panel, recording: Recording) -> set[str]:
    answers = [recording[target] for target in panel.targets]
    return set.intersection(*[set(answer[0].labels) for answer in answers if answer] or [set()])


def units_of(panel: Panel) -> Mapping[str, str]:
    return {
        each["matcher"]["options"]: each["properties"][0]["value"]
        for each in panel.body["fieldConfig"].get("overrides", [])
        if each["properties"][0]["id"] == "unit"
    }


def shown(value: str | float | None, unit: str) -> str:
    return value if isinstance(value, str) else spelled(value, unit)


def numeric(columns: list[str], rows: list[Cells]) -> list[bool]:
    return [not any(isinstance(row.get(column), str) for row in rows) for column in columns]


def spread(columns: list[str], texts: list[list[str]], width: float) -> list[tuple[float, float]]:
    """Where each column begins and ends: as wide as its content; the room left is shared, the widest are cut."""
    room = width - 2 * SIDE + BETWEEN
    cells = zip(columns, *texts, strict=True)
    needed = [max(svg.width_of(words, LETTER) for words in column) + BETWEEN + 4 for column in cells]
    while sum(needed) > room:
        needed[needed.index(max(needed))] -= 1
    rest = (room - sum(needed)) / len(needed)
    edges = [float(SIDE), *(SIDE + sum(needed[:place]) + rest * place for place in range(1, len(needed) + 1))]
    return [(left, right - BETWEEN) for left, right in pairwise(edges)]


def cell(left: float, right: float, y: float, words: str, is_number: bool, kind: str) -> str:
    at, anchor = (right, "end") if is_number else (left, "")
    return svg.text(at, y, words, size=LETTER, kind=kind, anchor=anchor)


def note(panel: Panel, _: Recording, width: float, height: float) -> Iterator[str]:
    y, kind = 44, ""
    for paragraph in str(panel.options["content"]).splitlines():
        if paragraph.startswith("```"):
            kind = "" if kind else "c"
            continue
        for words in [paragraph] if kind else wrap(paragraph, int((width - 2 * SIDE) / svg.width_of("x"))):
            yield svg.text(SIDE, y, words, kind=kind)
            y += 17


DRAWN: dict[str, Draw] = {"stat": tile, "timeseries": graph, "table": listing, "text": note}
