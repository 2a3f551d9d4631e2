"""What wakes a lane that lingers."""

import asyncio
from contextlib import suppress

from sharded_queue.coordinator import Arrival
from sharded_queue.storage import Batch


class Doorbell:
    """Rings when a request may have arrived in a drained thread, or its lane has to leave."""

    __slots__ = ("_arrival", "_event", "is_rung")

    def __init__(self) -> None:
        self.is_rung = False
        self._arrival: Arrival | None = None
        self._event: asyncio.Event | None = None

    def ring(self, arrival: Arrival | None = None) -> None:
        self.is_rung = True
        self._arrival = arrival or self._arrival
        if self._event:
            self._event.set()

    def take(self, call: int) -> Batch | None:
        """
        The request that came with a ring, if it came after *call*, the last one of the lane. The answer to a later call
        has it already.
        """
        arrival, self._arrival = self._arrival, None
        return arrival.batch if arrival and arrival.call == call else None

    async def wait(self, seconds: float) -> None:
        """Wait for a ring, at most *seconds*."""
        if not self.is_rung:
            self._event = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, 0)):
                    await self._event.wait()
            self._event = None
        self.is_rung = False
