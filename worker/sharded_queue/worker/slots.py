"""
How many lanes may call their handlers at a time, and how many threads may wait for that in this worker.

A lane needs a slot to call its handler, and a worker has `worker_concurrency` of them. A worker that handles threads
within milliseconds binds some *ahead*, beyond its slots: one command binds many, and the next one begins the moment a
slot is free. Their lanes wait in line. A slow handler does not keep them: a lane that waits too long gives its thread
back.
"""

import asyncio
import time
from math import inf

from sharded_queue.settings import settings
from sharded_queue.worker.task_pool import Fiber, TaskPool, suspend

AHEAD_SECONDS = 0.02
"""As many threads may be bound ahead as got a slot within this time: they should wait no longer."""
MOST_AHEAD = 112
"""Four parts of a bind, less than a fast worker begins in `AHEAD_SECONDS`. More saves no commands, and costs memory."""
LONGEST_WAIT_SECONDS = 0.1
"""A lane that has waited for a slot for this long gives its thread back: the handlers have become slower."""


class _Place:
    """A place in the line: since when, and whether the slot was granted."""

    __slots__ = ("is_granted", "since")

    def __init__(self) -> None:
        self.since, self.is_granted = time.monotonic(), False


class Slots:
    """The slots of one worker, and the lanes that wait in line for one, in fibers of *pool*."""

    def __init__(self, pool: TaskPool) -> None:
        self._pool, self._taken = pool, 0
        self._line: dict[Fiber, _Place] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._granted, self._counted_since, self._pace = 0, -inf, 0

    def claim(self) -> bool:
        """Take a slot, to be left by `leave`, if one is free."""
        if self._taken >= settings.worker_concurrency:
            return False
        self._taken += 1
        self._granted += 1
        return True

    async def wait(self) -> bool:
        """Wait in line for a slot. False: none became free in time; the thread is to be given back."""
        if self._is_closed:
            return False
        fiber, place = self._pool.current, _Place()
        self._line[fiber] = place
        self._timer = self._timer or asyncio.get_running_loop().call_later(LONGEST_WAIT_SECONDS, self._send_away)
        try:
            await suspend()
        except BaseException:  # cancelled, perhaps with the slot in hand
            self._line.pop(fiber, None)
            if place.is_granted:
                self.leave()
            raise
        return place.is_granted

    def leave(self) -> None:
        """Pass the slot on to the lane that waits first."""
        self._taken -= 1
        if self._line and self.claim():
            fiber = next(iter(self._line))
            place = self._line.pop(fiber)
            place.is_granted = True
            fiber.answer(None)

    def close(self) -> None:
        """Have all lanes in line give their threads back, and those that would join it."""
        self._is_closed = True
        self._send_away(inf)

    def ahead(self) -> int:
        """How many threads may be bound beyond the slots: those that got a slot in the last `AHEAD_SECONDS`."""
        now = time.monotonic()
        elapsed = now - self._counted_since
        if elapsed >= AHEAD_SECONDS:
            self._pace = min(MOST_AHEAD, int(self._granted * AHEAD_SECONDS / elapsed))
            self._granted, self._counted_since = 0, now
        return self._pace

    def _send_away(self, latest: float | None = None) -> None:
        latest = time.monotonic() - LONGEST_WAIT_SECONDS if latest is None else latest
        for fiber, place in list(self._line.items()):
            if place.since <= latest:
                del self._line[fiber]
                fiber.answer(None)
        self._timer = None
        if self._line:
            seconds = next(iter(self._line.values())).since - latest
            self._timer = asyncio.get_running_loop().call_later(seconds, self._send_away)
