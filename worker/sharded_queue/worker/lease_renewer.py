"""Keeps the leases of a worker alive, and revokes a lane in time when its lease cannot be kept."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sharded_queue.coordinator import Coordinator
from sharded_queue.errors import StorageUnavailable
from sharded_queue.handler import runs_in_os_thread
from sharded_queue.lease import Lease, clock
from sharded_queue.printable import counted
from sharded_queue.state import About
from sharded_queue.tube import Shard
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.pulse import Pulse, lease_of

log = logging.getLogger("sharded_queue")
RENEWALS_PER_LEASE = 3
LONGEST_ROUND = 0.5
"""The part of a lease that one renewal of a shard may take; then it starts again, with the leases bound since."""
MARGIN = 0.1
"""The last part of a lease, in which it counts as lost: the time a handler has to stop before another one starts."""
SILENT_LEASES, BLOCKED_LEASES = 1.2, 4.0
"""
The event loop is silent, or blocked, when it has not moved for this many leases. A renewal sees that up to a third of a
lease late; a loop that stands still for one and a half leases loses nothing.
"""
LONGEST_NAP_SECONDS = 1.0
"""Deadlines are checked at least this often: no timer notices that the machine was suspended."""


LONG_CALL_SECONDS = 60.0
"""A call of a handler that takes this long is logged, and again each time its duration has doubled."""


class Called(Protocol):
    @property
    def called_since(self) -> float | None:
        """Monotonic time at which the running call of the handler began; None while no call runs."""


class LongCalls:
    """Which calls of handlers have run long enough for a line in the log."""

    def __init__(self) -> None:
        self._told: WeakKeyDictionary[Called, tuple[float, float]] = WeakKeyDictionary()

    def seconds(self, lane: Called, now: float) -> float | None:
        """The duration of the call, where it is to be logged now; None where it was logged, or is not long yet."""
        since = lane.called_since
        if since is None:
            return None
        called, longest = self._told.get(lane, (since, 0.0))
        seconds = now - since
        if seconds < max(LONG_CALL_SECONDS, 2 * longest if called == since else 0.0):
            return None
        self._told[lane] = since, seconds
        return seconds


class LeaseRenewer:
    """
    Renews all leases of a worker, in one call per shard, three times per lease, and revokes lanes whose lease is over.

    Where the coordinator can be cloned, renewals run in an OS thread of their own, so that a handler that blocks the
    event loop keeps its thread of requests, but not those of others: once the loop is silent, lanes that are in no call
    are not renewed; once it is blocked, only calls in OS threads are, and the one that blocks it. A lane whose handler
    has not returned for *timeout_seconds* counts as hung and is not renewed any more. Lanes are revoked in their own
    event loop, and those whose leases ended while it was blocked before their handlers go on.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        lanes: Callable[[], Collection[Lane]],
        lease_seconds: float,
        timeout_seconds: float,
        clock: Callable[[], float] = clock,
        introduce: Callable[[Shard], About | None] = lambda _: None,
    ) -> None:
        self._coordinator, self._lanes, self._clock = coordinator, lanes, clock
        self._lease_seconds, self._timeout_seconds = lease_seconds, timeout_seconds
        self._introduce = introduce
        self._loop = asyncio.get_running_loop()
        self._watched, self._earlier = inf, asyncio.Event()
        self._long_calls, self._pulse = LongCalls(), Pulse(self._loop)
        self._is_told = False

    def deadline(self, asked_at: float) -> float:
        """Until when a lease can be trusted that was requested at *asked_at*."""
        return asked_at + self._lease_seconds * (1 - MARGIN)

    def watch(self, deadline: float) -> None:
        """A lane with this deadline was added, which may be earlier than all others."""
        if deadline < self._watched:
            self._earlier.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clone = self._coordinator.clone()
        renewing = self._in_thread(clone) if clone else _in_task(self._renew_on(self._coordinator))
        async with renewing, _in_task(self._watch_on()):
            yield

    @asynccontextmanager
    async def _in_thread(self, clone: Coordinator) -> AsyncIterator[None]:
        ending = threading.Event()
        renewing = threading.Thread(
            target=lambda: asyncio.run(self._run_until(ending, clone)), name="sharded-queue-renewer", daemon=True
        )
        renewing.start()
        try:
            yield
        finally:
            ending.set()
            await asyncio.to_thread(renewing.join)

    async def _run_until(self, ending: threading.Event, clone: Coordinator) -> None:
        async with _in_task(self._renew_on(clone)):
            await asyncio.to_thread(ending.wait)
        await clone.close()

    async def _renew_on(self, coordinator: Coordinator) -> None:
        """A shard that does not answer, such as one on a hung node of a Cluster, does not hold up the others."""
        under_way: dict[Shard, asyncio.Task[None]] = {}
        try:
            while True:
                await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
                self._log_long_calls()
                for shard, lanes in self._lanes_of_shards().items():
                    if shard not in under_way or under_way[shard].done():
                        under_way[shard] = asyncio.create_task(self._renew(coordinator, shard, lanes))
        finally:
            for renewal in under_way.values():
                renewal.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    def _log_long_calls(self) -> None:
        for lane in self._lanes():
            if seconds := self._long_calls.seconds(lane, time.monotonic()):
                log.warning("%s has been in one call of its handler for %.0f s", lane.lease, seconds)

    def _lanes_of_shards(self) -> dict[Shard, dict[Lease, Lane]]:
        shards: dict[Shard, dict[Lease, Lane]] = {}
        lanes = self._lanes()
        left = self._left(lanes, self._pulse.silence() / self._lease_seconds)
        for lane in lanes:
            if lane in left:
                lane.leave()
            elif lane.state.is_held and not self._is_hung(lane):
                shards.setdefault(lane.lease.shard, {})[lane.lease] = lane
        return shards

    def _left(self, lanes: Collection[Lane], silent_leases: float) -> set[Lane]:
        """The lanes that are left to others because the event loop, which has to serve them, does not move."""
        if silent_leases < SILENT_LEASES:
            self._is_told = False
            return set()
        if not self._is_told:
            log.warning("the event loop is blocked: threads that are in no call of a handler are left to other workers")
        self._is_told = True
        if silent_leases < BLOCKED_LEASES:
            return {lane for lane in lanes if lane.called_since is None}
        return {lane for lane in lanes if lane.called_since is None or not self._moves(lane)}

    def _moves(self, lane: Lane) -> bool:
        """Whether the call of a lane goes on while the loop is blocked. An unknown task may be that of any lane."""
        if runs_in_os_thread(lane.handler):
            return True
        task = self._pulse.task()
        if task is None or lane.is_run_by(task):
            return task is not None
        try:
            return lease_of(task) == lane.lease
        except LookupError:
            return not any(other.is_run_by(task) for other in self._lanes())

    async def _renew(self, coordinator: Coordinator, shard: Shard, lanes: Mapping[Lease, Lane]) -> None:
        asked_at = self._clock()
        try:
            about = self._introduce(shard)
            reports = {lease: report for lease, lane in lanes.items() if (report := lane.report)}
            done = {lease: part for lease, lane in lanes.items() if (part := lane.part_done)}
            async with asyncio.timeout(self._patience(lanes.values(), asked_at)):
                lost = await coordinator.renew(list(lanes), self._lease_seconds, about, reports, done)
        except (TimeoutError, StorageUnavailable) as error:
            log.warning("%s not renewed: %s", counted(len(lanes), "lease"), str(error) or "no answer in time")
            return
        except Exception:
            log.exception("%s not renewed", counted(len(lanes), "lease"))
            return
        for lease, lane in lanes.items():
            if lease in lost:
                lane.deadline = -inf
                lane.leave()  # if the event loop is blocked, its handler must not go on before it hears of it
                self._loop.call_soon_threadsafe(lane.revoke, "it was taken over or taken away")
            else:
                lane.deadline, lane.is_left = self.deadline(asked_at), False

    def _patience(self, lanes: Collection[Lane], asked_at: float) -> float:
        """Seconds until the first of the leases is over, not counting those that are over already."""
        ahead = (lane.deadline - asked_at for lane in lanes if lane.deadline > asked_at)
        return min(self._lease_seconds * LONGEST_ROUND, *ahead, inf)

    def _is_hung(self, lane: Lane) -> bool:
        since = lane.called_since
        return since is not None and time.monotonic() - since > self._timeout_seconds

    async def _watch_on(self) -> None:
        """
        Revoke each lane as soon as its lease is over, so that its handler has all of the margin to stop.

        After the whole event loop stood still, overdue renewals run before this check: they were due earlier.
        """
        while True:
            self._watched = min((lane.deadline for lane in self._lanes() if lane.state.is_exposed), default=inf)
            self._earlier.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._nap()):
                    await self._earlier.wait()
            for lane in self._lanes():
                if lane.deadline <= self._clock():
                    lane.revoke("it could not be renewed in time")

    def _nap(self) -> float | None:
        if self._watched == inf:
            return None
        return min(LONGEST_NAP_SECONDS, max(0.0, self._watched - self._clock()))


@asynccontextmanager
async def _in_task(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    running = asyncio.create_task(coroutine)
    running.add_done_callback(_log_end)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _log_end(running: "asyncio.Task[None]") -> None:
    """It runs until it is cancelled. If it fails, the lanes lose their leases, and this line tells why."""
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("leases are no longer renewed or watched", exc_info=error)
