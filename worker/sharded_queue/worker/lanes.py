"""The lanes of a worker: one for each thread that it holds."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from sharded_queue.coordinator import Arrival
from sharded_queue.settings import settings
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.task_pool import TaskPool

log = logging.getLogger("sharded_queue")


class Lanes:
    """
    Those that serve a thread now, and which of them linger. *changed* is set when a lane begins to linger or ends;
    *ended* is called with each lane that ended.
    """

    def __init__(self, pool: TaskPool, changed: asyncio.Event, ended: Callable[[Lane], None]) -> None:
        self._pool, self._changed, self._ended = pool, changed, ended
        self._all: set[Lane] = set()
        self._lingering: set[Lane] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._all)

    def __contains__(self, lane: object) -> bool:
        return lane in self._all

    @property
    def copy(self) -> Callable[[], set[Lane]]:
        """For another OS thread, which keeps nothing alive by it but the set."""
        return self._all.copy

    @property
    def lingering(self) -> int:
        return len(self._lingering)

    @property
    def is_crowded(self) -> bool:
        """Whether new threads were bound in place of those that linger."""
        return len(self._all) > settings.worker_concurrency

    def start(self, lane: Lane) -> None:
        self._all.add(lane)
        lane.start(self._pool, partial(self._end, lane))

    def _end(self, lane: Lane, error: BaseException | None) -> None:
        self._all.discard(lane)
        self._lingering.discard(lane)
        self._ended(lane)
        self._changed.set()
        if error is not None:
            log.error("serving %s ended with an error", lane.lease, exc_info=error)

    def note_drained(self, lane: Lane) -> None:
        self._lingering.add(lane)
        self._changed.set()

    def note_resumed(self, lane: Lane) -> None:
        self._lingering.discard(lane)

    def deliver(self, arrival: Arrival | None) -> None:
        """Wake the lane of a drained thread that got a request; None: any of them may have got one."""
        for lane in self._all:
            if arrival is None or lane.lease == arrival.lease:
                lane.wake(arrival)

    def wake_lingering(self) -> None:
        for lane in self._lingering:
            lane.wake()

    def abort(self) -> None:
        for lane in self._all:
            lane.abort()

    async def drain(self, seconds: float) -> None:
        """Let running batches end within *seconds*, then abort the rest."""
        self.deliver(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wait_until_gone()
        self.abort()
        await self._wait_until_gone()

    async def _wait_until_gone(self) -> None:
        while self._all:
            self._changed.clear()
            await self._changed.wait()
