"""
Names that need work: each once, never two workers on one, failures again after a growing pause.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from sharded_queue_operator import metrics

T = TypeVar("T", bound=Hashable)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0


class WorkQueue(Generic[T]):
    def __init__(self) -> None:
        self.ready: asyncio.Queue[T] = asyncio.Queue()
        self.waiting: set[T] = set()
        self.running: set[T] = set()
        self.again: set[T] = set()
        self.pauses: dict[T, float] = {}

    def add(self, name: T) -> None:
        """Work on *name* soon; when that is under way already, once more afterwards."""
        if name in self.running:
            self.again.add(name)
        elif name not in self.waiting:
            self.waiting.add(name)
            self.ready.put_nowait(name)

    @asynccontextmanager
    async def next(self) -> AsyncIterator[T]:
        """The next name. A body that raises is tried again later, and its error goes on to the caller."""
        name = await self.ready.get()
        self.waiting.discard(name)
        self.running.add(name)
        try:
            yield name
            self.pauses.pop(name, None)
        except Exception:
            self.delay(name)
            raise
        finally:
            self.running.discard(name)
            if name in self.again:
                self.again.discard(name)
                self.add(name)

    def delay(self, name: T) -> None:
        metrics.failures.inc()
        pause = self.pauses.get(name, FIRST_PAUSE_SECONDS)
        self.pauses[name] = min(2 * pause, LONGEST_PAUSE_SECONDS)
        asyncio.get_running_loop().call_later(pause, self.add, name)

    def forget(self, name: T) -> None:
        self.pauses.pop(name, None)
