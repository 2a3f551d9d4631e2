"""How an idle worker hears that a thread may be free, without asking for it all the time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from sharded_queue.coordinator import Coordinator
from sharded_queue.settings import settings
from sharded_queue.tube import Shard

POLL_BACKOFF = 4
"""
An idle worker backs off its polling to this multiple of `coordinator_delay`. A poll costs two commands, so the worker
sends less than one a second.
"""
CANCEL_SECONDS = 1.0
"""How long a worker with no room left lets Redis take to end its wait; then it closes the connection."""


class WakeupListener:
    """
    One pending wait for the coordinator's wake-up. It stays pending while the worker does other things: ending a
    blocking command early costs its connection, and perhaps a wake-up.
    """

    def __init__(self, coordinator: Coordinator, owner: str) -> None:
        self._coordinator, self._owner = coordinator, owner
        self._waiting: asyncio.Task[Shard | None] | None = None
        self._shards: Sequence[Shard] = ()

    async def wait(self, shards: Sequence[Shard], changed: asyncio.Event, seconds: float) -> bool:
        """Wait for a wake-up about *shards*, for *changed* or for *seconds*; returns whether a wake-up came."""
        if not shards:
            await self.close()  # this worker has no room: a wake-up is for another one
        elif not self._waiting:
            self._shards, longest = shards, settings.coordinator_delay * POLL_BACKOFF * len(shards)
            self._waiting = asyncio.create_task(self._coordinator.wait(shards, self._owner, longest))
        noticing = asyncio.create_task(changed.wait())
        await asyncio.wait(
            [noticing, self._waiting] if self._waiting else [noticing],
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        noticing.cancel()
        if self._waiting and self._waiting.done():
            self._waiting.result()
            self._waiting = None
            return True
        return False

    async def close(self) -> None:
        """End the wait. A wake-up that arrives all the same is passed on to another worker."""
        waiting, self._waiting = self._waiting, None
        if waiting:
            await self._end(waiting)
            (called,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(called, Shard):
                await self._coordinator.notify(called)

    async def _end(self, waiting: "asyncio.Task[Shard | None]") -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                if not waiting.done() and await self._coordinator.cancel_wait(self._shards, self._owner):
                    await asyncio.wait([waiting])
        waiting.cancel()
