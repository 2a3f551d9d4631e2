"""A whole picture: its head, its rows, and the panels in their frames."""

from collections.abc import Iterator
from datetime import UTC, datetime

from tools import svg
from tools.pictures.boards import Board, Panel
from tools.pictures.panels import DRAWN
from tools.pictures.recording import Recording
from tools.pictures.units import clock
from tools.svg import WIDTH, page

EDGE, GAP, UNIT, HEAD, FOOT = 6, 6, 25, 58, 26
COLUMN = (WIDTH - 2 * EDGE) / 24
STYLE = (
    "<style>text{font-size:11px} .n,.h{fill:#69707a} .h{font-weight:bold} .b{font-weight:bold}"
    " .c{font:10.5px monospace;white-space:pre} .k{font-weight:bold;font-size:12px} .f{fill:#fff;stroke:#d5d9de}"
    " .r{stroke:#e9ebee;fill:none} .l{fill:none;stroke-width:1.5;stroke-linejoin:round}</style>"
)


def drawn(board: Board, recording: Recording) -> str:
    below = max(y + height for _, y, _, height in (panel.place for panel in board.panels)) * UNIT + HEAD
    parts = [STYLE, *head(board, recording)]
    for panel in board.panels:
        parts += placed(panel, recording)
    parts.append(svg.text(EDGE + 4, below + 17, "Drawn from what this dashboard's queries returned in one recorded"
                          " run of the tests. Grafana draws the same data in its own style.", kind="n"))  # fmt: skip
    return page(parts, below + FOOT, background="#f4f5f7")


def head(board: Board, recording: Recording) -> Iterator[str]:
    day = datetime.fromtimestamp(recording.end, UTC).strftime("%Y-%m-%d")
    span = f"{day}, {clock(recording.begin)} to {clock(recording.end)} UTC"
    yield svg.text(EDGE + 4, 26, board.title, size=18, kind="b")
    yield svg.text(EDGE + 4, 46, board.description, kind="n")
    yield svg.text(WIDTH - EDGE - 4, 26, span, anchor="end")


def placed(panel: Panel, recording: Recording) -> Iterator[str]:
    x, y, width, height = panel.place
    left, top = EDGE + x * COLUMN, HEAD + y * UNIT
    if panel.kind == "row":
        yield svg.text(left + 4, top + 17, f"▾ {panel.title}", size=13, kind="b")
        return
    wide, tall = width * COLUMN - GAP, height * UNIT - GAP
    yield f'<g transform="translate({left + GAP / 2:.1f} {top:.0f})">'
    yield f'<rect class="f" width="{wide:.1f}" height="{tall:.0f}" rx="3"/>'
    yield svg.text(10, 19, panel.title, kind="k")
    yield from DRAWN[panel.kind](panel, recording, wide, tall)
    yield "</g>"
