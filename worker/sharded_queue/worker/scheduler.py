"""Registers the occurrences of schedules in time."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from math import inf

from sharded_queue.settings import settings
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard

log = logging.getLogger("sharded_queue")
LONGEST_SILENCE = 10
"""
A worker that has not polled a shard for this many `coordinator_delay`s (times the number of shards) asks for its
schedules explicitly.
"""


class Scheduler:
    """
    Registers due occurrences on time, even while all threads of its worker are busy.

    Each poll for threads also reports when the next schedule is due. The scheduler asks for itself only where the last
    report about a shard is old. All workers of a handler do the same; the first one to ask registers the occurrence.
    """

    def __init__(self, storage: Storage, shards: Callable[[], Sequence[Shard]]) -> None:
        self._storage, self._shards = storage, shards
        self._moments: dict[Shard, float] = {}
        self._asked_at: dict[Shard, float] = {}
        self._heard = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self._run())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    def hear(self, shard: Shard, seconds: float | None) -> None:
        """A poll reported that the next schedule of *shard* is due in *seconds*; None: the shard has no schedule."""
        before, now = self._moments.get(shard, inf), time.monotonic()
        if seconds == 0:  # what cannot be registered stays due: ask once a delay and no more often
            self._moments[shard] = min(before, max(now, self._asked_at.get(shard, -inf) + settings.coordinator_delay))
        else:
            self._note(shard, seconds)
        if self._moments[shard] < before:
            self._heard.set()

    def _note(self, shard: Shard, seconds: float | None) -> None:
        longest = settings.coordinator_delay * LONGEST_SILENCE * max(1, len(self._moments))
        self._moments[shard] = time.monotonic() + (longest if seconds is None else min(seconds + 0.001, longest))

    async def _run(self) -> None:
        self._moments |= dict.fromkeys(self._shards(), inf)
        for shard in self._moments:
            self._note(shard, None)
        while True:
            await self._wait()
            now = time.monotonic()
            await asyncio.gather(*[self._ask(shard) for shard, moment in self._moments.items() if moment <= now])

    async def _wait(self) -> None:
        self._heard.clear()
        first = min(self._moments.values(), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if first is None else max(0.0, first - time.monotonic())):
                await self._heard.wait()

    async def _ask(self, shard: Shard) -> None:
        self._asked_at[shard] = time.monotonic()
        try:
            seconds = await self._storage.register_due(shard)
        except Exception as error:  # one bad schedule, or Redis away, must not stop the others
            log.warning("cannot register what is due of %s: %s", shard.tag, error)
            seconds = settings.coordinator_delay
        self._note(shard, seconds)
