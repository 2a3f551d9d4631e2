"""Binds in the memory of this process."""

import asyncio
from collections.abc import Sequence

from sharded_queue.backends.memory.shard import Books
from sharded_queue.coordinator import Bound, Coordinator
from sharded_queue.errors import SettingsError
from sharded_queue.lease import Lease
from sharded_queue.settings import settings
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard


class RuntimeCoordinator(Coordinator):
    """
    Binds threads of a `RuntimeStorage`.

    The binds live with the storage: any number of coordinators over one storage exclude each other's workers.
    """

    def attach(self, storage: Storage) -> None:
        books = getattr(storage, "books", None)
        if not isinstance(books, Books):
            raise SettingsError(
                f"RuntimeCoordinator binds threads within this process only, but a {type(storage).__name__} is shared "
                "with others: use the coordinator of its medium"
            )
        self._books = books

    async def bind(
        self,
        shard: Shard,
        owner: str,
        threads: int,
        wanted: int,
        lease_seconds: float,
        ageing_seconds: float = 0.0,
    ) -> Bound:
        book, now = self._books[shard], self._books.clock()
        lease_ms, ageing_ms = int(lease_seconds * 1000), int(ageing_seconds * 1000)
        room = settings.worker_batch_bytes
        batches = book.bind(owner, threads, wanted, lease_ms, ageing_ms, settings.crash_limit, room, now)
        next_ms = book.next_ms(now)
        is_dismissed = book.is_dismissed(owner, now)
        others_wait = (bool(batches) or is_dismissed) and len(book.ready) > 0
        next_seconds = None if next_ms is None else next_ms / 1000
        return Bound(batches, next_seconds, others_wait, is_dismissed, book.occurs_seconds(now))

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> list[Lease]:
        now, lease_ms = self._books.clock(), int(lease_seconds * 1000)
        return [lease for lease in leases if not self._books[lease.shard].renew(lease, lease_ms, now)]

    async def release(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._books[lease.shard].release(lease)

    async def evict(self, shard: Shard, names: Sequence[str]) -> list[str]:
        return self._books[shard].evict(set(names))

    async def dismiss(self, shard: Shard, names: Sequence[str], seconds: float) -> None:
        until = self._books.clock() + int(seconds * 1000)
        self._books[shard].dismissed.update(dict.fromkeys(names, until))

    async def free_in(self, shards: Sequence[Shard]) -> float | None:
        now = self._books.clock()
        moments = [self._books[shard].next_ms(now) for shard in shards]
        return min((moment / 1000 for moment in moments if moment is not None), default=None)

    async def wait(self, shards: Sequence[Shard], owner: str, seconds: float) -> Shard | None:
        called = asyncio.Event()
        self._books.listeners.add(called.set)
        try:
            if not any(self._books[shard].is_calling(owner) for shard in shards):
                async with asyncio.timeout(seconds):
                    await called.wait()
        except TimeoutError:
            return None
        finally:
            self._books.listeners.discard(called.set)
        rung = [shard for shard in shards if self._books[shard].is_rung]
        for shard in rung:
            self._books[shard].is_rung = False
        return rung[0] if rung else None

    async def call(self, shard: Shard) -> None:
        self._books[shard].awaken()
