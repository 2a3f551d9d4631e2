"""Pictures of dashboards: what is drawn is what was answered, and where."""

from typing import Any
from xml.etree import ElementTree

import pytest

from tools.dashboards import boards
from tools.pictures.boards import Board, Target, filled
from tools.pictures.graph import scale
from tools.pictures.page import drawn
from tools.pictures.panels import table_of
from tools.pictures.recording import Recording
from tools.pictures.units import spelled
from tools.svg import broken, cut, simplified

BEGIN, END = 1_000, 1_010
LABELS = {"namespace": "shop", "queue": "mails", "handler": "mails.Mail", "thread": "7", "priority": "0"}


def answered(target: Target, value: float, **labels: str) -> list[dict[str, Any]]:
    metric = {**LABELS, "pod": "mails-worker-1", "why": "it is paused", "worker": "nobody", **labels}
    if target.is_instant:
        return [{"metric": metric, "value": [END, str(value)]}]
    return [{"metric": metric, "values": [[at, str(value)] for at in range(BEGIN, END + 1)]}]


@pytest.fixture
def recording() -> Recording:
    """All queries answer alike."""
    made = Recording(BEGIN, END, 1)
    for text in boards().values():
        for target in Board(text).targets:
            made.keep(target, answered(target, 1234.5))
    return made


def table(title: str) -> Any:
    return next(panel for panel in Board(boards()["queues"]).panels if panel.title == title)


@pytest.mark.parametrize("name", boards())
def test_every_panel_is_drawn(recording: Recording, name: str) -> None:
    board = Board(boards()[name])
    picture = drawn(board, recording)

    words = {element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")}
    assert {panel.title for panel in board.panels if panel.kind != "row"} <= words
    assert "no data" not in words


def test_a_query_without_an_answer_is_an_error_that_says_what_to_type() -> None:
    with pytest.raises(LookupError, match="make pictures"):
        drawn(Board(boards()["queues"]), Recording(BEGIN, END, 1))


def test_a_recording_is_read_as_it_was_written(recording: Recording) -> None:
    read = Recording.read(recording.written())

    assert (read.begin, read.end, read.step) == (BEGIN, END, 1)
    assert read.answers == recording.answers


def test_gaps_of_a_series_stay_gaps() -> None:
    target = Target("up", "", "A", is_instant=False)
    recording = Recording(BEGIN, BEGIN + 4, 1)
    recording.keep(target, [{"metric": {}, "values": [[BEGIN + 1, "2"], [BEGIN + 2, "NaN"], [BEGIN + 4, "3"]]}])

    (series,) = Recording.read(recording.written())[target]
    assert series.values == [None, 2, None, None, 3]


def test_what_several_queries_say_of_one_tube_is_one_row(recording: Recording) -> None:
    panel = table("Which tubes wait longest?")
    columns, rows = table_of(panel, recording)

    assert columns[:2] == ["Lag", "Namespace"]
    assert [(row["Thread"], row["Why"], row["Held by"], row["Lag"]) for row in rows] == [
        ("7", "it is paused", "nobody", 1234.5)
    ]


def test_the_worst_row_is_the_first(recording: Recording) -> None:
    panel = table("Which queue lags?")
    lag, *_ = panel.targets
    recording.keep(lag, answered(lag, 5, queue="a") + answered(lag, 9, queue="b"))
    _, rows = table_of(panel, recording)

    assert [row["Queue"] for row in rows][:2] == ["b", "a"]


def test_variables_are_filled_in_as_grafana_does() -> None:
    expr = 'rate(x{queue=~"$queue"}[$__rate_interval])'

    assert filled(expr, {"queue": "(a|b)"}, "4s") == 'rate(x{queue=~"(a|b)"}[4s])'


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0, "s", "0 s"),
        (0.0042, "s", "4.2 ms"),
        (25.94, "s", "25.9 s"),
        (600, "s", "10 min"),
        (1234, "short", "1.23 k"),
        (2.5, "reqps", "2.5 req/s"),
        (3_600_000, "dateTimeAsIso", "01:00:00"),
        (None, "s", "–"),
    ],
)
def test_values_are_spelled_in_their_units(value: float | None, unit: str, words: str) -> None:
    assert spelled(value, unit) == words


@pytest.mark.parametrize(("value", "found"), [(0, (0.25, 1)), (5, (2, 6)), (1000, (250, 1000)), (0.3, (0.1, 0.3))])
def test_a_scale_has_round_steps_and_reaches_the_highest_value(value: float, found: tuple[float, float]) -> None:
    assert scale(value, 4) == pytest.approx(found)


def test_points_on_a_straight_line_are_left_out_and_corners_stay() -> None:
    points = [(float(x), 0.0) for x in range(10)] + [(10.0, 50.0)]

    assert simplified(points) == [(0, 0), (9, 0), (10, 50)]


def test_long_names_keep_their_ends() -> None:
    assert cut("notifications-worker-6c5c8d7b9f-abcd1", 20 * 11 * 0.6).endswith("bcd1")
    assert broken("mails.Mail thread 7, priority 0") == ["mails.Mail thread", "7, priority 0"]
