"""The boxes and arrows as SVG: the operator above the library that it rests on."""

from typing import NamedTuple

from tools import svg
from tools.imports.graph import Box, Rows

LEFT, RIGHT = 20.0, 720.0
LINE_HEIGHT, PADDING, GAP = 17.0, 9.0, 26.0
FOLDER, MODULES = "#eaf1fb", "#f6f6f4"
ARROW = "#8a94a6"


class Frame(NamedTuple):
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def drawn(rows: Rows, arrows: set[tuple[Box, Box]]) -> str:
    frames, height = placed(rows)
    ordered = sorted(arrows, key=lambda arrow: [(frames[box].y, frames[box].x) for box in arrow])
    side = {arrow: lane for lane, arrow in enumerate(arrow for arrow in ordered if skips(rows, arrow))}
    parts = [HEAD]
    parts += [path(frames[above], frames[below], side.get((above, below))) for above, below in ordered]
    for box, frame in frames.items():
        parts += shape(box, frame)
    parts.append(svg.text(LEFT, height - 6, CAPTION, kind="n"))
    return svg.page(parts, height)


HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0L8 4L0 8z" fill="{ARROW}"/></marker></defs>'
)
CAPTION = "An arrow means: imports. What follows from other arrows is left out. Blue: a folder. Grey: single modules."


def placed(rows: Rows) -> tuple[dict[Box, Frame], float]:
    frames: dict[Box, Frame] = {}
    y = 12.0
    for row in rows:
        width = (RIGHT - LEFT - GAP * (len(row) - 1)) / len(row)
        height = max(len(box.lines) for box in row) * LINE_HEIGHT + 2 * PADDING
        for place, box in enumerate(row):
            frames[box] = Frame(LEFT + place * (width + GAP), y, width, height)
        y += height + GAP
    return frames, y + 10


def skips(rows: Rows, arrow: tuple[Box, Box]) -> bool:
    """Whether an arrow passes a row on its way."""
    above, below = (next(number for number, row in enumerate(rows) if box in row) for box in arrow)
    return below - above > 1


def path(above: Frame, below: Frame, lane: int | None) -> str:
    """Straight to the next row; to a later one around the boxes between, each arrow in a lane of its own."""
    route = straight(above, below) if lane is None else around(above, below, RIGHT + 24 + 22 * lane)
    return f'<path d="{route}" fill="none" stroke="{ARROW}" stroke-width="1.4" marker-end="url(#head)"/>'


def straight(above: Frame, below: Frame) -> str:
    start = below.middle if above.width > below.width else above.middle
    end = above.middle if below.width > above.width else below.middle
    return f"M{start:.0f} {above.bottom:.0f}L{end:.0f} {below.y:.0f}"


def around(above: Frame, below: Frame, x: float) -> str:
    start, end = above.y + above.height / 2, below.y + 12
    route = f"M{above.x + above.width:.0f} {start:.0f}"
    if above.x + above.width < RIGHT:  # another box stands to the right: leave between the rows
        start = above.bottom + GAP / 2
        route = f"M{above.x + above.width - 40:.0f} {above.bottom:.0f}V{start:.0f}"
    route += f"H{x - 8:.0f}Q{x:.0f} {start:.0f} {x:.0f} {start + 8:.0f}V{end - 8:.0f}"
    return f"{route}Q{x:.0f} {end:.0f} {x - 8:.0f} {end:.0f}H{below.x + below.width:.0f}"


def shape(box: Box, frame: Frame) -> list[str]:
    fill = FOLDER if box.is_folder else MODULES
    x, y, width, height = frame
    rectangle = f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="5" fill="{fill}"'
    lines = [f"{box.package}.{name}/" if box.is_folder else " · ".join(line) for line in box.lines for name in line[:1]]
    if not box.is_folder:
        lines[0] = f"{box.package}: {lines[0]}"
    return [
        f'{rectangle} stroke="#c9cfd8"/>',
        *(
            svg.text(frame.middle, y + PADDING + LINE_HEIGHT * (place + 0.75), line, size=13, anchor="middle")
            for place, line in enumerate(lines)
        ),
    ]
