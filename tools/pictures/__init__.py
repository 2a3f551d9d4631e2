"""
Pictures of the dashboards, for readers without a Grafana: laid out as in Grafana, and drawn from what their queries
returned in a recorded run.

`boards` reads the queries of a dashboard, `recording` keeps the answers, `units` formats values, and `panels` has one
function for each kind of panel. tests/e2e/test_dashboards.py makes and records the run, because it takes a Prometheus
that scrapes real workers and a real operator.
"""

from pathlib import Path

from tools.pictures.boards import Board
from tools.pictures.page import drawn
from tools.pictures.recording import Recording

DOCS = Path(__file__).parents[2] / "docs" / "dashboards"
RECORDED = Path(__file__).with_name("recording.json")


def pictures(boards: dict[str, str]) -> dict[Path, str]:
    """
    The picture of each dashboard by its path, and `answer`: the first rows of the dashboard of queues.

    Raises:
        LookupError: the recording has no answer to a query; `make pictures` makes a new one.
    """
    recording = Recording.read(RECORDED.read_text())
    shown = {name: Board(text) for name, text in boards.items()}
    shown["answer"] = shown["queues"].top(2)
    return {DOCS / f"{name}.svg": drawn(board, recording) for name, board in shown.items()}
