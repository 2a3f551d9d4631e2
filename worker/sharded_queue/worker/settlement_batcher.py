"""Group commit: while one call settles for some threads, the settlements of others gather for the next call."""

import asyncio
from collections.abc import Awaitable

from sharded_queue.storage import Settled, Settlement, Storage
from sharded_queue.tube import Shard
from sharded_queue.worker.task_pool import Fiber, TaskPool, suspend

Waiting = list[tuple[Settlement, Fiber]]
SETTLED_AT_ONCE = 128
"""Threads in one call: each may have a hundred tubes that Redis reads."""


class SettlementBatcher:
    """Settles for all threads of a worker. A settlement never waits for another one to join it."""

    def __init__(self, storage: Storage, pool: TaskPool) -> None:
        self._storage, self._pool = storage, pool
        self._waiting: dict[Shard, Waiting] = {}
        self._flushes: dict[Shard, asyncio.Task[None]] = {}

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        """Suspend the running fiber of the pool until its settlement is answered."""
        shard = settlement.lease.shard
        self._waiting.setdefault(shard, []).append((settlement, self._pool.current))
        if shard not in self._flushes:
            self._flushes[shard] = asyncio.create_task(self._flush(shard))
        return suspend()

    async def _flush(self, shard: Shard) -> None:
        try:
            while waiting := self._waiting.pop(shard, None):
                for at in range(0, len(waiting), SETTLED_AT_ONCE):
                    await self._send(waiting[at : at + SETTLED_AT_ONCE])
        finally:
            del self._flushes[shard]

    async def _send(self, waiting: Waiting) -> None:
        try:
            answers = await self._storage.settle([settlement for settlement, _ in waiting])
        except Exception as error:
            for _, fiber in waiting:
                fiber.answer(error)
            return
        for (_, fiber), settled in zip(waiting, answers, strict=True):
            fiber.answer(settled)
