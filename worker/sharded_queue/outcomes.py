"""What a handler raises, or answers for an error, to say what becomes of its request."""

from sharded_queue.errors import HandlerError

LONGEST_SNOOZE_SECONDS = 31_536_000


class GiveUp(Exception):
    """
    To raise where another try is of no use: the request is exhausted at once, with what is said here: a dead letter, or
    where its policy says so, the reason why its thread stops.
    """


class Snooze(Exception):
    """
    To raise where a request cannot be handled yet: its thread waits for *seconds*, up to a year. It is no failed try,
    and nothing is logged as an error. *reason*: what `explain` shows, such as the answer of the other side.

    Raises:
        HandlerError: *seconds* are out of bounds.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 < seconds <= LONGEST_SNOOZE_SECONDS:
            raise HandlerError(
                f"Snooze: seconds is {seconds!r}: a number above 0 and up to {LONGEST_SNOOZE_SECONDS:,} (a year)"
            )
        super().__init__(f"{seconds:g} s: {reason}" if reason else f"{seconds:g} s")
        self.seconds = seconds
        self.reason = reason


def cause_of(error: BaseException) -> BaseException:
    """*error* itself, or the only one in a group of errors, which a TaskGroup makes of the error of one task."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error
