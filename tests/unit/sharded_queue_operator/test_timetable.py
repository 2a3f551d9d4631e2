"""When resources are read."""

from sharded_queue_operator.polling.timetable import LONGEST_PAUSE_SECONDS, Timetable
from sharded_queue_operator.resource.name import Name

FAST, SLOW = Name("shop", "fast"), Name("shop", "slow")


def moments(timetable: Timetable, name: Name, period: float, count: int, *, is_known: bool) -> list[float]:
    """When *name* is read next, each read taking a moment."""
    found = []
    for _ in range(count):
        found.append(timetable.next_due)
        assert timetable.take_due(found[-1]) == {name}
        timetable.record(name, period, found[-1] + 0.01, is_known=is_known)
    return found


def test_what_was_called_comes_at_once_and_then_in_its_period() -> None:
    timetable = Timetable(100.0)
    timetable.hurry(SLOW)

    assert moments(timetable, SLOW, 20, 3, is_known=True) == [100.0, 120.0, 140.0]


def test_a_longer_period_shares_the_polls_of_a_shorter_one() -> None:
    timetable = Timetable(0.0)
    timetable.record(SLOW, 5, 3.3, is_known=True)
    timetable.record(FAST, 1, 4.9, is_known=True)

    assert timetable.take_due(4.99) == set()
    assert timetable.take_due(5.0) == {FAST, SLOW}


def test_doubts_in_a_row_are_looked_at_more_and_more_seldom() -> None:
    timetable = Timetable(0.0)
    timetable.hurry(FAST)

    assert moments(timetable, FAST, 1, 8, is_known=False) == [0, 1, 2, 4, 8, 10, 20, 30]
    assert timetable.next_due == 30 + LONGEST_PAUSE_SECONDS


def test_a_reading_ends_the_pauses() -> None:
    timetable = Timetable(0.0)
    timetable.hurry(FAST)
    moments(timetable, FAST, 1, 8, is_known=False)

    assert moments(timetable, FAST, 1, 3, is_known=True) == [40, 41, 42]


def test_a_period_that_is_longer_than_the_pauses_stays() -> None:
    timetable = Timetable(0.0)
    timetable.hurry(SLOW)

    assert moments(timetable, SLOW, 60, 3, is_known=False) == [0, 60, 120]


def test_a_call_while_it_is_read_is_not_lost() -> None:
    timetable = Timetable(0.0)
    timetable.hurry(SLOW)
    timetable.take_due(0.0)
    timetable.hurry(SLOW)
    timetable.record(SLOW, 300, 0.1, is_known=True)

    assert timetable.take_due(0.1) == {SLOW}


def test_what_is_forgotten_is_not_due() -> None:
    timetable = Timetable(0.0)
    timetable.hurry(FAST)
    timetable.record(SLOW, 1, 0.0, is_known=False)
    timetable.forget(FAST)
    timetable.forget(SLOW)

    assert timetable.take_due(1e9) == set()
    assert timetable.next_due == float("inf")
