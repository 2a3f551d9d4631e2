"""Binds in the memory of this process."""

import asyncio
from collections.abc import Mapping, Sequence

from sharded_queue.backends.memory.shard import MemoryShards
from sharded_queue.backends.memory.steps.bind import bind
from sharded_queue.backends.memory.steps.cordon import cordon
from sharded_queue.backends.memory.steps.evict import evict
from sharded_queue.backends.memory.steps.isolate import isolate
from sharded_queue.backends.memory.steps.outlook import outlook
from sharded_queue.backends.memory.steps.release import release
from sharded_queue.backends.memory.steps.renew import renew
from sharded_queue.coordinator import (
    NO_REPORTS,
    NOTHING_DONE,
    Arrival,
    BindRequest,
    Bound,
    Coordinator,
    Outlook,
    PartDone,
)
from sharded_queue.errors import SettingsError
from sharded_queue.lease import Lease
from sharded_queue.settings import settings
from sharded_queue.state import About, Report
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard


class RuntimeCoordinator(Coordinator):
    """
    Binds threads of a `RuntimeStorage`.

    The binds live with the storage: any number of coordinators over one storage exclude each other's workers.
    """

    def attach(self, storage: Storage) -> None:
        shards = getattr(storage, "shards", None)
        if not isinstance(shards, MemoryShards):
            raise SettingsError(
                f"RuntimeCoordinator binds threads within this process only, but a {type(storage).__name__} is shared "
                "with others: use the coordinator of its backend"
            )
        self._shards = shards

    async def bind(self, shard: Shard, request: BindRequest) -> Bound:
        limits = settings.crash_limit, settings.worker_batch_bytes
        return bind(self._shards[shard], request, *limits, self._shards.clock())

    async def renew(
        self,
        leases: Sequence[Lease],
        lease_seconds: float,
        about: About | None = None,
        reports: Mapping[Lease, Report] = NO_REPORTS,
        done: Mapping[Lease, PartDone] = NOTHING_DONE,
    ) -> list[Lease]:
        now, lease_ms = self._shards.clock(), int(lease_seconds * 1000)
        lost = [
            lease
            for lease in leases
            if not renew(self._shards[lease.shard], lease, reports.get(lease), done.get(lease), lease_ms, now)
        ]
        for lease in set(leases).difference(lost):
            self._shards[lease.shard].note_worker(lease.owner, about, now)
        return lost

    async def release(self, leases: Sequence[Lease], delay_seconds: float = 0.0) -> None:
        for lease in leases:
            release(self._shards[lease.shard], lease, int(delay_seconds * 1000), self._shards.clock())

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool:
        return isolate(self._shards[lease.shard], lease, is_alone, call)

    async def leave(self, owner: str, told: Mapping[Shard, About]) -> None:
        for shard in told:
            self._shards[shard].workers.pop(owner, None)

    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        return evict(self._shards[shard], names)

    async def cordon(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        until = self._shards.clock() + int(seconds * 1000)
        cordon(self._shards[shard], names, until)

    async def look(self, shards: Sequence[Shard], seconds: float) -> dict[Shard, Outlook]:
        now = self._shards.clock()
        found = {shard: outlook(self._shards[shard], now) for shard in shards}
        return {
            shard: Outlook(waiting, None if next_ms is None else next_ms / 1000)
            for shard, (waiting, next_ms) in found.items()
        }

    async def wait(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | Arrival | None:
        called = asyncio.Event()
        self._shards.listeners.add(called.set)
        try:
            if not any(self._shards[shard].must_wake(owner) for shard in shards):
                async with asyncio.timeout(seconds):
                    await called.wait()
        except TimeoutError:
            return None
        finally:
            self._shards.listeners.discard(called.set)
        rung = next((shard for shard in shards if self._shards[shard].is_rung), None)
        if rung:
            self._shards[rung].is_rung = False
            return rung
        return next((arrival for shard in shards if (arrival := self._shards[shard].take_arrival(owner))), None)

    async def notify(self, shard: Shard) -> None:
        self._shards[shard].wake()
