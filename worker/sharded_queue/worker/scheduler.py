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
"""Times `coordinator_delay` and the number of shards: after so long a worker that does not look for threads asks."""


class Scheduler:
    """
    Registers what is due, whatever else its worker has in hand.

    It hears of the next occurrence by each look for threads, and asks for itself only about a shard of which it has
    heard nothing for a while. All workers of a handler do the same at the same time; the first one registers.
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
        """A look has told how long it is until a schedule of *shard* occurs; None: it has none."""
        before, now = self._moments.get(shard, inf), time.monotonic()
        if seconds == 0:  # what cannot be registered here stays due: that is asked for once a delay and no more
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
            seconds = await self._storage.occur(shard)
        except Exception as error:  # whatever is wrong with a schedule or with Redis must not stop the others
            log.warning("cannot register what is due of %s: %s", shard.tag, error)
            seconds = settings.coordinator_delay
        self._note(shard, seconds)
