"""
Names that need work: each once, never two workers on one, failures again after a growing pause at the latest.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from sharded_queue_operator import metrics

T = TypeVar("T", bound=Hashable)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""A longer one saves little; by a shorter one, an API server would hear too often from a thousand that it refuses."""


class WorkQueue(Generic[T]):
    def __init__(self) -> None:
        self.ready: asyncio.Queue[T] = asyncio.Queue()
        self.waiting: set[T] = set()
        self.running: set[T] = set()
        self.again: set[T] = set()
        self.failures: Counter[T] = Counter()
        """In a row."""
        self.rests: Counter[T] = Counter()
        self.resting: dict[T, asyncio.TimerHandle] = {}

    def add(self, name: T) -> None:
        """
        Work on *name* soon; when that is under way already, once more afterwards; and while it rests, when the pause
        is over.
        """
        if name in self.running:
            self.again.add(name)
        elif name not in self.waiting and name not in self.resting:
            self.waiting.add(name)
            self.ready.put_nowait(name)

    def hurry(self, name: T) -> None:
        """As `add`, for news by which what failed may succeed: no pause any more."""
        self.forget(name)
        self.add(name)

    @asynccontextmanager
    async def next(self) -> AsyncIterator[T]:
        """The next name. A body that raises is tried again later, and its error goes on to the caller."""
        name = await self.ready.get()
        self.waiting.discard(name)
        self.running.add(name)
        try:
            yield name
            if name not in self.resting:
                self.forget(name)
        except Exception:
            metrics.failures.inc()
            asyncio.get_running_loop().call_later(pause_after(self.failures[name]), self.add, name)
            self.failures[name] += 1
            raise
        finally:
            self.running.discard(name)
            if name in self.again:
                self.again.discard(name)
                self.add(name)

    def failures_of(self, name: T) -> int:
        """In a row."""
        return self.failures[name]

    def rest(self, name: T) -> None:
        """Whatever news comes, do not work on *name* for a while: each time in a row twice as long."""
        self.resting[name] = asyncio.get_running_loop().call_later(pause_after(self.rests[name]), self.wake, name)
        self.rests[name] += 1

    def wake(self, name: T) -> None:
        self.resting.pop(name, None)
        self.add(name)

    def forget(self, name: T) -> None:
        self.failures.pop(name, None)
        self.rests.pop(name, None)
        if timer := self.resting.pop(name, None):
            timer.cancel()


def pause_after(times: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0**times, LONGEST_PAUSE_SECONDS)
