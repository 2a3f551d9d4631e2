"""
Names that need work. A name is queued once, and one worker at a time has it. After a failure it comes again, each time
after a longer pause.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Generic, TypeVar

from sharded_queue_operator import metrics
from sharded_queue_operator.errors import ApiRefused

T = TypeVar("T", bound=Hashable)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""A longer pause saves little. With a shorter one, a thousand refused resources would burden the API server."""


class WorkQueue(Generic[T]):
    def __init__(self) -> None:
        self._ready: asyncio.Queue[T] = asyncio.Queue()
        self._waiting: dict[T, float] = {}
        """Since when."""
        self._running: set[T] = set()
        self._again: dict[T, float] = {}
        """News of what is being worked on, and since when it waits."""
        self._failures: Counter[T] = Counter()
        self._rests: Counter[T] = Counter()
        """Both in a row: a success resets them."""
        self._resting: dict[T, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Names that may be worked on now."""
        return self._ready.qsize()

    def add(self, name: T) -> None:
        """
        Work on *name* soon. If it is being worked on, do so once more afterwards; if it rests, when its pause is over.
        """
        if name in self._running:
            self._again.setdefault(name, monotonic())
        elif name not in self._waiting and not self.is_resting(name):
            self._put(name, monotonic())

    def _put(self, name: T, since: float) -> None:
        self._waiting[name] = since
        self._ready.put_nowait(name)
        metrics.workqueue_depth.set(len(self))

    def hurry(self, name: T) -> None:
        """As `add`, for news by which what failed may succeed: without the pause."""
        self.forget(name)
        self.add(name)

    @asynccontextmanager
    async def next(self) -> AsyncIterator[T]:
        """The next name. When the body raises, the name comes again later, and the error is raised to the caller."""
        name = await self._ready.get()
        begun_at = monotonic()
        metrics.workqueue_depth.set(len(self))
        metrics.workqueue_wait_seconds.observe(begun_at - self._waiting.pop(name))
        self._running.add(name)
        try:
            yield name
            if not self.is_resting(name):
                self.forget(name)
        except Exception as error:
            metrics.failures.inc()
            metrics.workqueue_retries.inc()
            asked = error.retry_seconds if isinstance(error, ApiRefused) else 0.0
            asyncio.get_running_loop().call_later(max(asked, _pause_after(self._failures[name])), self.add, name)
            self._failures[name] += 1
            raise
        finally:
            self._running.discard(name)
            metrics.reconcile_seconds.observe(monotonic() - begun_at)
            since = self._again.pop(name, None)
            if since is not None and not self.is_resting(name):
                self._put(name, since)

    def failures_of(self, name: T) -> int:
        """In a row."""
        return self._failures[name]

    def rest(self, name: T) -> None:
        """Do not work on *name* for a while, whatever news comes: each time in a row twice as long."""
        self._resting[name] = asyncio.get_running_loop().call_later(_pause_after(self._rests[name]), self.wake, name)
        self._rests[name] += 1
        metrics.workqueue_retries.inc()

    def is_resting(self, name: T) -> bool:
        return name in self._resting

    def wake(self, name: T) -> None:
        self._resting.pop(name, None)
        self.add(name)

    def forget(self, name: T) -> None:
        self._failures.pop(name, None)
        self._rests.pop(name, None)
        if timer := self._resting.pop(name, None):
            timer.cancel()


def _pause_after(times: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0**times, LONGEST_PAUSE_SECONDS)
