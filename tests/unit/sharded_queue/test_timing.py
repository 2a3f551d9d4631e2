"""When a schedule occurs, also where the clocks of a time zone are changed."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from sharded_queue.timing import Timing, by_cron, every, read

HOUR = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def occurrences(timing: Timing, begin: str, count: int) -> list[str]:
    """The first so many after *begin*, each asked for in the moment of the one before, as workers do."""
    moments, now = [], ms(begin)
    for _ in range(count):
        now = timing.after(now, now)
        moments.append(datetime.fromtimestamp(now / 1000, ZoneInfo(timing.timezone or "UTC")).isoformat())
    return moments


def test_an_interval_begins_now() -> None:
    assert every(30).after(1_000) == 31_000


def test_an_interval_keeps_its_beat_however_late_it_is_asked() -> None:
    assert [every(30).after(now, 1_000) for now in (1_000, 1_007, 30_999)] == [31_000] * 3


def test_missed_occurrences_of_an_interval_are_passed_over() -> None:
    assert every(30).after(100_000, 1_000) == 121_000
    assert every(30).after(121_000, 1_000) == 151_000


def test_an_interval_whose_last_occurrence_is_to_come_begins_now() -> None:
    """The clock of the storage was set back by an hour."""
    assert every(30).after(1_000, 1_000 + HOUR) == 31_000


def test_a_cron_line_occurs_in_its_time_zone() -> None:
    weekdays = by_cron("0 9 * * 1-5", "Europe/Berlin")

    assert occurrences(weekdays, "2026-07-03T12:00:00+02:00", 2) == [
        "2026-07-06T09:00:00+02:00",
        "2026-07-07T09:00:00+02:00",
    ]


def test_a_cron_line_without_a_time_zone_is_in_utc() -> None:
    assert by_cron("0 9 * * *").after(ms("2026-07-03T12:00:00+00:00")) == ms("2026-07-04T09:00:00+00:00")


def test_the_moment_of_an_occurrence_is_not_the_next_one() -> None:
    at = ms("2026-07-04T09:00:00+00:00")

    assert [by_cron("0 9 * * *").after(now) for now in (at - 1, at, at + 1)] == [at, at + 24 * HOUR, at + 24 * HOUR]


def test_a_time_in_a_skipped_hour_occurs_right_after_it() -> None:
    """On 29 March 2026, 02:00 to 03:00 is skipped in Berlin."""
    assert occurrences(by_cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_in_a_doubled_hour_occurs_once_the_first_time() -> None:
    """On 25 October 2026, 02:00 to 03:00 comes twice in Berlin."""
    assert occurrences(by_cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00+02:00", 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_a_time_in_a_doubled_hour_is_over_in_its_second_pass() -> None:
    daily = by_cron("30 2 * * *", "Europe/Berlin")

    assert daily.after(ms("2026-10-25T02:10:00+01:00")) == ms("2026-10-26T02:30:00+01:00")


@pytest.mark.parametrize(
    ("line", "begin", "expected"),
    [
        ("30 * * * *", "2026-03-29T01:00:00+01:00", ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]),
        ("*/30 2 * * *", "2026-03-28T12:00:00+01:00", ["2026-03-30T02:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        (
            "30 * * * *",
            "2026-10-25T02:00:00+02:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"],
        ),
    ],
    ids=["skipped_hour", "all_of_its_times_skipped", "doubled_hour"],
)
def test_a_line_with_a_star_follows_the_clock_on_the_wall(line: str, begin: str, expected: list[str]) -> None:
    assert occurrences(by_cron(line, "Europe/Berlin"), begin, len(expected)) == expected


@pytest.mark.parametrize("line", ["*/7 * * * *", "30 2 * * *", "0 */2 * * *", "15 1,2,3 * * *"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Beirut"])
def test_the_next_occurrence_is_always_ahead(line: str, zone: str) -> None:
    """Asked at any minute of the days around both changes of a year's clocks."""
    timing = by_cron(line, zone)
    for day in ("2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"):
        begin = ms(f"{day}T20:00:00+00:00")
        moments = [timing.after(now) for now in range(begin, begin + 30 * HOUR, 301_007)]
        asked = range(begin, begin + 30 * HOUR, 301_007)

        assert all(moment > now for moment, now in zip(moments, asked, strict=True))
        assert all(one <= other for one, other in pairwise(moments))


@pytest.mark.parametrize(
    "timing",
    [
        every(30),
        every(1.5),
        every(31_535_999.999),
        by_cron("0  9 * *   mon-fri", "Europe/Berlin"),
        by_cron("* * * * *"),
    ],
)
def test_a_timing_is_read_as_it_was_written(timing: Timing) -> None:
    assert read(str(timing)) == timing


def test_a_timing_is_written_for_people() -> None:
    assert [str(every(90)), str(by_cron("0 9 * * 1-5", "Europe/Berlin"))] == [
        "every 90 s",
        "cron 0 9 * * 1-5 in Europe/Berlin",
    ]


@pytest.mark.parametrize("text", ["", "every 0 s", "every x s", "cron 0 9 * * 1-5", "weekly"])
def test_a_text_that_is_no_timing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"timing|every_seconds|cron"):
        read(text)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 31_536_001, float("nan"), True, "60", None])
def test_an_interval_out_of_bounds_is_refused(seconds: object) -> None:
    with pytest.raises(ValueError, match=r"every_seconds is .*: a number from 1 to 31536000 \(a year\)"):
        every(seconds)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("* * * *", "five fields"),
        ("0 0 9 * * *", "five fields"),
        ("61 * * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month|never occurs"),
        ("@daily", "five fields"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        by_cron(line)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "", "../../etc/passwd", "europe"])
def test_a_time_zone_that_is_not_there_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"timezone is .*: give a name of the IANA list"):
        by_cron("* * * * *", zone)


def test_times_are_whole_seconds_of_utc() -> None:
    assert datetime.fromtimestamp(by_cron("* * * * *").after(1_500) / 1000, UTC).second == 0
