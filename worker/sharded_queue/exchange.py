"""Settlements of many threads in one call: while one call is under way, what comes meanwhile gathers for the next."""

import asyncio

from sharded_queue.storage import Settled, Settlement, Storage
from sharded_queue.tube import Shard

Waiting = list[tuple[Settlement, "asyncio.Future[Settled]"]]


class Exchange:
    """Settles for all threads of a worker; a thread on its own is never made to wait for others."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: dict[Shard, Waiting] = {}
        self._flushes: dict[Shard, asyncio.Task[None]] = {}

    async def settle(self, settlement: Settlement) -> Settled:
        shard = settlement.lease.shard
        answer: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(shard, []).append((settlement, answer))
        if shard not in self._flushes:
            self._flushes[shard] = asyncio.create_task(self._flush(shard))
        return await answer

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
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), settled in zip(waiting, answers, strict=True):
            if not answer.done():
                answer.set_result(settled)
