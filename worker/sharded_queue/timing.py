"""
When a schedule occurs: every so many seconds, or as a cron line says in a time zone.

Nothing here reads a clock: times are milliseconds since 1970 that come in as arguments.
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
    Either *every_ms*, or a *cron* line of five fields in a *timezone*. Its text is what a storage keeps.

    Where the clocks of a time zone are changed, cron lines do what those of Debian do. A line that names its minute and
    its hour occurs once a day: in a skipped hour right after it, in a doubled one the first time. A line whose minute
    or hour begins with `*` follows the clock on the wall: what was skipped does not occur, what is doubled does twice.
    """

    every_ms: int = 0
    cron: str = ""
    timezone: str = ""

    def __str__(self) -> str:
        return f"cron {self.cron} in {self.timezone}" if self.cron else f"every {self.every_ms / 1000:.12g} s"

    def after(self, now_ms: int, last_ms: int | None = None) -> int:
        """
        The next occurrence after *now_ms*. An interval is counted from *last_ms*, an occurrence, or else from now.

        Raises:
            ValueError: there is no such time zone on this machine.
        """
        if self.cron:
            return self._after_cron(now_ms)
        begin = now_ms if last_ms is None or last_ms > now_ms else last_ms
        return begin + self.every_ms * ((now_ms - begin) // self.every_ms + 1)

    def _after_cron(self, now_ms: int) -> int:
        now = datetime.fromtimestamp(now_ms / 1000, zone(self.timezone))
        # In the second pass of a doubled hour, what occurs in the first pass only may come out first.
        following = (int(moment.timestamp() * 1000) for moment in CronSim(self.cron, now))
        return next(moment for moment in following if moment > now_ms)


def every(seconds: object) -> Timing:
    """
    Raises:
        ValueError: not a number of seconds, or out of its bounds.
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
        ValueError: the line is no cron line of five fields, it never occurs, or there is no such time zone.
    """
    timing = Timing(cron=" ".join(line.split()), timezone=timezone)
    if len(line.split()) != CRON_FIELDS:
        raise ValueError(
            f"cron is {line!r}: five fields are wanted, minute hour day-of-month month day-of-week, as in '0 9 * * 1-5'"
        )
    zone(timezone)
    try:
        timing.after(0)
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"cron is {line!r}: {error or 'it never occurs'}") from error
    return timing


def read(text: str) -> Timing:
    """
    Raises:
        ValueError: this is no timing that we know.
    """
    if match := EVERY.fullmatch(text):
        return every(float(match[1]))
    if match := CRON.fullmatch(text):
        return by_cron(match[1], match[2])
    raise ValueError(f"{text!r:.80} is no timing: 'every 30 s' or 'cron 0 9 * * 1-5 in Europe/Berlin'")


def zone(name: str) -> tzinfo:
    """
    Raises:
        ValueError: there is no such time zone on this machine.
    """
    if name == "UTC":
        return UTC  # cron lines take a shorter way there
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise ValueError(f"timezone is {name!r}: a name of the IANA list is wanted, as in 'Europe/Berlin'") from error
