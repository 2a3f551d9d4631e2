"""Keeps the leases of a worker alive, and tells its lanes in time when one cannot be kept."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

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

    It runs in an OS thread of its own where the coordinator has a twin, so that a handler that blocks the event loop
    keeps its thread; a lane whose batch has been in the handler for longer than *timeout_seconds* counts as hung and is
    renewed no more. What there is to tell a lane is told in the lane's own event loop.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        lanes: Callable[[], Collection[Lane]],
        lease_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._coordinator, self._lanes = coordinator, lanes
        self._lease_seconds, self._timeout_seconds = lease_seconds, timeout_seconds
        self._loop = asyncio.get_running_loop()

    def deadline(self, asked_at: float) -> float:
        """When a lease that was asked for at *asked_at* can no longer be trusted."""
        return asked_at + self._lease_seconds * (1 - MARGIN)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        twin = self._coordinator.twin()
        async with self._in_thread(twin) if twin else self._in_task():
            yield

    @asynccontextmanager
    async def _in_task(self) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._run(self._coordinator))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    @asynccontextmanager
    async def _in_thread(self, twin: Coordinator) -> AsyncIterator[None]:
        ending = threading.Event()
        renewing = threading.Thread(
            target=lambda: asyncio.run(self._run_until(ending, twin)), name="sharded-queue-renewer", daemon=True
        )
        renewing.start()
        try:
            yield
        finally:
            ending.set()
            await asyncio.to_thread(renewing.join)

    async def _run_until(self, ending: threading.Event, twin: Coordinator) -> None:
        renewing = asyncio.create_task(self._run(twin))
        await asyncio.to_thread(ending.wait)
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await twin.close()

    async def _run(self, coordinator: Coordinator) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
            try:
                await self._renew(coordinator)
            except Exception:
                log.exception("the leases were not renewed")
            self._lose_overdue()

    async def _renew(self, coordinator: Coordinator) -> None:
        lanes = {lane.lease: lane for lane in self._lanes() if not self._is_hung(lane)}
        if not lanes:
            return
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(min(lane.deadline for lane in lanes.values()) - asked_at):
                lost = await coordinator.renew(list(lanes), self._lease_seconds)
        except (TimeoutError, StorageUnavailable) as error:
            log.warning("%d leases were not renewed: %s", len(lanes), str(error) or "no answer in time")
            return
        for lease, lane in lanes.items():
            if lease in lost:
                self._tell(lane, "it was taken over or taken away")
            else:
                lane.deadline = self.deadline(asked_at)

    def _is_hung(self, lane: Lane) -> bool:
        since = lane.batch_since
        return since is not None and time.monotonic() - since > self._timeout_seconds

    def _lose_overdue(self) -> None:
        for lane in self._lanes():
            if lane.deadline <= time.monotonic():
                self._tell(lane, "it could not be renewed in time")

    def _tell(self, lane: Lane, reason: str) -> None:
        self._loop.call_soon_threadsafe(lane.lose, reason)
