"""Keeps the leases of a worker alive, and tells its lanes in time when one cannot be kept."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from sharded_queue.coordinator import Coordinator
from sharded_queue.errors import StorageUnavailable
from sharded_queue.lane import Lane

log = logging.getLogger("sharded_queue")
RENEWALS_PER_LEASE = 3
MARGIN = 0.1
"""Part of a lease in which it counts as lost already: the time a handler has to stop before another may start."""


class Renewer:
    """
    Renews all leases of a worker in one call, three times a lease.

    A lane whose batch has been in the handler for longer than *timeout_seconds* counts as hung and is renewed no more.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        lanes: Callable[[], Iterable[Lane]],
        lease_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._coordinator, self._lanes = coordinator, lanes
        self._lease_seconds, self._timeout_seconds = lease_seconds, timeout_seconds

    def deadline(self, asked_at: float) -> float:
        """When a lease that was asked for at *asked_at* can no longer be trusted."""
        return asked_at + self._lease_seconds * (1 - MARGIN)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
            await self._renew()

    async def _renew(self) -> None:
        lanes = {lane.lease: lane for lane in self._lanes() if not self._is_hung(lane)}
        asked_at = time.monotonic()
        lost = []
        if lanes:
            try:
                async with asyncio.timeout(min(lane.deadline for lane in lanes.values()) - asked_at):
                    lost = await self._coordinator.renew(list(lanes), self._lease_seconds)
            except (TimeoutError, StorageUnavailable) as error:
                log.warning("%d leases were not renewed: %s", len(lanes), error or "no answer")
                lanes = {}
        for lease, lane in lanes.items():
            if lease in lost:
                lane.lose("it was taken over or taken away")
            else:
                lane.deadline = self.deadline(asked_at)
        self._lose_overdue()

    def _is_hung(self, lane: Lane) -> bool:
        return lane.batch_since is not None and time.monotonic() - lane.batch_since > self._timeout_seconds

    def _lose_overdue(self) -> None:
        for lane in list(self._lanes()):
            if lane.deadline <= time.monotonic():
                lane.lose("it could not be renewed in time")
