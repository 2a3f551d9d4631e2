"""The time that a producer writes into its requests: that of Redis, as far as this process knows it."""

import time
from collections.abc import Callable

from sharded_queue.backends.redis.link import NotYet

TOLERANCE_MS = 1000
"""How far the time of a producer may be from that of Redis before it is corrected."""
WIDEST_TOLERANCE_MS = 300_000
"""Less than the ten minutes for which Redis remembers a registration. A registration that is older is refused."""


class Clock:
    """
    The time of Redis, learned from its answers: Redis read its clock between the sending of a command and its answer.

    A long way to Redis must not look like a wrong clock: after a refused stamp, a larger difference is tolerated.
    *now* is the clock of this machine, in seconds.
    """

    def __init__(self, tolerance_ms: int = TOLERANCE_MS, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._narrowest_ms = self._tolerance_ms = tolerance_ms
        self._ahead_ms = 0

    def stamp(self) -> int:
        """Milliseconds since 1970, by the clock of Redis."""
        return int(self.now() * 1000) + self._ahead_ms

    def tolerance(self, way_seconds: float) -> int:
        """By how many milliseconds a stamp may differ that may be on its way for *way_seconds*."""
        return min(self._tolerance_ms + int(way_seconds * 1000), WIDEST_TOLERANCE_MS)

    def learn(self, stamp: int, took_seconds: float, redis_ms: int) -> None:
        """Redis read *redis_ms* at most *took_seconds* after *stamp*."""
        difference = redis_ms - stamp
        off = min(difference, 0) or max(difference - int(took_seconds * 1000), 0)
        if abs(off) > self._narrowest_ms:
            self._ahead_ms += off

    def refused(self, stamp: int, took_seconds: float, redis_ms: int) -> NotYet:
        """Tolerate more from now on; returns the error to retry on."""
        self._tolerance_ms = max(self._tolerance_ms, self._narrowest_ms + int(took_seconds * 2000))
        return NotYet(
            f"the time of a registration differed by {(redis_ms - stamp) / 1000:g} s from the clock of Redis, which "
            f"received it within {took_seconds:.1f} s: check that clocks agree, or register fewer requests in one call"
        )
