"""
When a schedule occurs: at an interval of seconds, or at the times of a cron line in a time zone.

Nothing here reads a clock: times are milliseconds since 1970 and come in as arguments.
"""

import re
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

SHORTEST_SECONDS, LONGEST_SECONDS = 1, 31_536_000
CRON_FIELDS = 5
EVERY, CRON = re.compile(r"every (\d+(?:\.\d+)?) s"), re.compile(r"cron (.+) in (\S+)")


class Timing(NamedTuple):
    """
    Either *every_ms*, or a *cron* line of five fields in a *timezone*. A storage keeps its text.

    Where the clocks of a time zone change, cron lines do what those of Debian do. A line that names its minute and hour
    occurs once a day: right after a skipped hour, and in the first pass of a doubled one. A line whose minute or hour
    begins with `*` follows the clock on the wall: it does not occur in a skipped hour, and occurs twice in a doubled
    one.
    """

    every_ms: int = 0
    cron: str = ""
    timezone: str = ""

    def __str__(self) -> str:
        return f"cron {self.cron} in {self.timezone}" if self.cron else f"every {self.every_ms / 1000:.12g} s"

    def after(self, now_ms: int, last_ms: int | None = None) -> int:
        """
        The next occurrence after *now_ms*. An interval is counted from *last_ms*, an occurrence, or from now.

        Raises:
            ValueError: this machine has no such time zone.
        """
        if self.cron:
            return self._after_cron(now_ms)
        begin = now_ms if last_ms is None or last_ms > now_ms else last_ms
        return begin + self.every_ms * ((now_ms - begin) // self.every_ms + 1)

    def _after_cron(self, now_ms: int) -> int:
        now = datetime.fromtimestamp(now_ms / 1000, zone(self.timezone))
        # In the second pass of a doubled hour, CronSim may begin with occurrences of the first pass.
        following = (int(moment.timestamp() * 1000) for moment in CronSim(self.cron, now))
        return next(moment for moment in following if moment > now_ms)


def every(seconds: object) -> Timing:
    """
    Raises:
        ValueError: this is not a number of seconds, or out of bounds.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:  # type: ignore[operator]
        raise ValueError(
            f"every_seconds is {seconds!r}: a number from {SHORTEST_SECONDS} to {LONGEST_SECONDS} (a year)"
        )
    return Timing(every_ms=round(seconds * 1000))  # type: ignore[operator]


def by_cron(line: str, timezone: str = "UTC") -> Timing:
    """
    Raises:
        ValueError: this is not a cron line of five fields, it never occurs, or this machine has no such time zone.
    """
    timing = Timing(cron=" ".join(line.split()), timezone=timezone)
    if len(line.split()) != CRON_FIELDS:
        raise ValueError(
            f"cron is {line!r}: give five fields, minute hour day-of-month month day-of-week, as in '0 9 * * 1-5'"
        )
    zone(timezone)
    try:
        timing.after(0)
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"cron is {line!r}: {error or 'it never occurs'}") from error
    return timing


def given(every_seconds: float | None, cron: str | None, timezone: str | None) -> Timing:
    """
    The timing that is given in one of its two forms.

    Raises:
        ValueError: it is given in none or in both, or makes no sense.
    """
    if (every_seconds is None) == (cron is None):
        raise ValueError("give a schedule either every_seconds or cron")
    if cron is not None:
        return by_cron(cron, timezone or "UTC")
    if timezone is not None:
        raise ValueError(f"timezone is {timezone!r}, but an interval has no time zone: only cron lines do")
    return every(every_seconds)


def read(text: str) -> Timing:
    """
    Raises:
        ValueError: this is not the text of a timing.
    """
    if match := EVERY.fullmatch(text):
        return every(float(match[1]))
    if match := CRON.fullmatch(text):
        return by_cron(match[1], match[2])
    raise ValueError(f"{text!r:.80} is not a timing such as 'every 30 s' or 'cron 0 9 * * 1-5 in Europe/Berlin'")


def moment_ms(text: str) -> int:
    """
    A time in milliseconds since 1970, from ISO 8601.

    Raises:
        ValueError: this is not a time.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r:.80} is not a time: give one in ISO 8601, as in '2030-01-31T09:00:00Z'") from error
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def zone(name: str) -> tzinfo:
    """
    Raises:
        ValueError: this machine has no such time zone.
    """
    if name == "UTC":
        return UTC  # faster for cron lines than ZoneInfo
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise ValueError(f"timezone is {name!r}: give a name of the IANA list, as in 'Europe/Berlin'") from error
