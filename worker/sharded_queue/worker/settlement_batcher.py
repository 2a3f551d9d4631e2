"""Settlements of many threads in one call: while one call is under way, what comes meanwhile gathers for the next."""

import asyncio
from collections.abc import Awaitable

from sharded_queue.storage import Settled, Settlement, Storage
from sharded_queue.tube import Shard
from sharded_queue.worker.task_pool import Crew, Strand, asked

Waiting = list[tuple[Settlement, Strand]]


class Exchange:
    """Settles for all threads of a worker; a thread on its own is never made to wait for others."""

    def __init__(self, storage: Storage, crew: Crew) -> None:
        self._storage, self._crew = storage, crew
        self._waiting: dict[Shard, Waiting] = {}
        self._flushes: dict[Shard, asyncio.Task[None]] = {}

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        """The answer, for the running strand of the crew."""
        shard = settlement.lease.shard
        self._waiting.setdefault(shard, []).append((settlement, self._crew.current))
        if shard not in self._flushes:
            self._flushes[shard] = asyncio.create_task(self._flush(shard))
        return asked()

    async def _flush(self, shard: Shard) -> None:
        try:
            while waiting := self._waiting.pop(shard, None):
                await self._send(waiting)
        finally:
            del self._flushes[shard]

    async def _send(self, waiting: Waiting) -> None:
        try:
            answers = await self._storage.settle([settlement for settlement, _ in waiting])
        except Exception as error:
            for _, strand in waiting:
                strand.answer(error)
            return
        for (_, strand), settled in zip(waiting, answers, strict=True):
            strand.answer(settled)
