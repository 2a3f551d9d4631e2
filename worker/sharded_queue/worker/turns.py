"""
When a thread whose turn is over makes way for a thread of another shard.

For a thread of its own shard the settlement decides that, in one step of the storage. Other shards are looked at here,
once for all lanes whose turns end at about the same time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from math import inf

from sharded_queue.settings import settings
from sharded_queue.tube import Shard
from sharded_queue.worker.lookout import Lookout


class Turns:
    """The turns of one worker. *shards*: all that it serves; *is_full*: whether it has no room for another thread."""

    def __init__(self, lookout: Lookout, shards: Callable[[], Sequence[Shard]], is_full: Callable[[], bool]) -> None:
        self._lookout, self._shards, self._is_full = lookout, shards, is_full
        self._waiting: dict[Shard, int] = {}
        """By shard, how many threads waited at the last look, less the lanes that have made way since."""
        self._looked_at = -inf
        self._looking: asyncio.Task[None] | None = None

    async def must_yield(self, shard: Shard) -> bool:
        """
        Whether a lane of *shard*, whose turn is over, makes way for a thread of another shard. As many lanes do as
        threads wait there, and no more.
        """
        if not self._is_full():
            return False
        await self._look()
        return self._claim(shard)

    async def _look(self) -> None:
        """Look at the shards at most once in `coordinator_delay` seconds. Lanes that come meanwhile share the look."""
        if self._looking is None:
            if time.monotonic() < self._looked_at + settings.coordinator_delay:
                return
            self._looking = asyncio.create_task(self._look_now())
        await asyncio.wait([self._looking])

    async def _look_now(self) -> None:
        shards = self._shards()
        try:
            found = await self._lookout.look(shards) if len(shards) > 1 else {}
            self._waiting = {shard: outlook.waiting for shard, outlook in found.items() if outlook.waiting > 0}
        finally:
            self._looking, self._looked_at = None, time.monotonic()

    async def close(self) -> None:
        """End the look that is under way."""
        if self._looking:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _claim(self, shard: Shard) -> bool:
        for other, count in self._waiting.items():
            if other != shard and count > 0:
                self._waiting[other] = count - 1
                return True
        return False
