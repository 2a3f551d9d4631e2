"""How an idle worker hears that a thread may be free or one of its own got a request, without asking all the time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from sharded_queue.coordinator import Arrival, Coordinator
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

    def __init__(
        self, coordinator: Coordinator, owner: str, deliver: Callable[[Arrival | None], None] = lambda _: None
    ) -> None:
        """*deliver* is called with what came for a thread that *owner* holds, and with None where that is unknown."""
        self._coordinator, self._owner, self._deliver = coordinator, owner, deliver
        self._waiting: asyncio.Task[Shard | Arrival | None] | None = None
        self._shards: Sequence[Shard] = ()

    async def wait(self, shards: Sequence[Shard], changed: asyncio.Event, seconds: float) -> Sequence[Shard]:
        """
        Wait for a wake-up about *shards*, for *changed* or for *seconds*; returns the shards of which a thread may be
        free: the one that called, all where that is unknown, none otherwise.

        A wake-up sets *changed* as well.
        """
        if not shards:
            await self.close()  # this worker has no room: a wake-up is for another one
        elif not self._waiting:
            self._shards, longest = shards, settings.coordinator_delay * POLL_BACKOFF * len(shards)
            self._waiting = asyncio.create_task(self._listen(shards, longest, changed))
        if not (self._waiting and self._waiting.done()):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()
        if self._waiting and self._waiting.done():
            waiting, self._waiting = self._waiting, None
            called = waiting.result()
            if called is None:
                self._deliver(None)
                return self._shards
            return () if isinstance(called, Arrival) else (called,)
        return ()

    async def _listen(self, shards: Sequence[Shard], seconds: float, changed: asyncio.Event) -> Shard | Arrival | None:
        """What came is delivered here, and not by the loop of the worker, which would take another round to do it."""
        try:
            called = await self._coordinator.wait(shards, self._owner, seconds)
            if isinstance(called, Arrival):
                self._deliver(called)
            return called
        finally:
            changed.set()

    async def close(self) -> None:
        """End the wait. A wake-up that arrives all the same is passed on to another worker."""
        waiting, self._waiting = self._waiting, None
        if waiting:
            await self._end(waiting)
            (called,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(called, Shard):
                await self._coordinator.notify(called)

    async def _end(self, waiting: "asyncio.Task[Shard | Arrival | None]") -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                if not waiting.done() and await self._coordinator.cancel_wait(self._shards, self._owner):
                    await asyncio.wait([waiting])
        waiting.cancel()
