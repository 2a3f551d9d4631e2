"""
Pictures of the dashboards for those who have no Grafana at hand: laid out by the panels' places, drawn from what the
queries of the panels returned on a recorded run.

`boards` reads what a dashboard asks for, `recording` keeps the answers, `units` spells values, and `panels` has one
function a kind of panel. The run is made and recorded by tests/e2e/test_dashboards.py, as a Prometheus
has to scrape real workers and a real operator for it.
"""

from pathlib import Path

from tools.pictures.boards import Board
from tools.pictures.page import drawn
from tools.pictures.recording import Recording

DOCS = Path(__file__).parents[2] / "docs" / "dashboards"
RECORDED = Path(__file__).with_name("recording.json")


def pictures(boards: dict[str, str]) -> dict[Path, str]:
    """
    The picture of each dashboard, by where it belongs, and `answer`: what is seen first of the one of queues.

    Raises:
        LookupError: a query is newer than the recording; `make pictures` records it anew.
    """
    recording = Recording.read(RECORDED.read_text())
    shown = {name: Board(text) for name, text in boards.items()}
    shown["answer"] = shown["queues"].top(2)
    return {DOCS / f"{name}.svg": drawn(board, recording) for name, board in shown.items()}
