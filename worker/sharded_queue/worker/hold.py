"""A thread that a lane holds: what the lane tells the storage about it, and the state that follows from the answers."""

import logging
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from sharded_queue.handler import Handler
from sharded_queue.lease import Lease
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.lane_state import HANDLING, LOST, RELEASED, SETTLING, LaneState
from sharded_queue.worker.quota import Quota

log = logging.getLogger("sharded_queue")
T = TypeVar("T")


class Host(Protocol):
    """What a hold needs of its worker."""

    quota: Quota
    """Takes back what was reserved and not handed out."""

    fits: BatchFits
    """How many requests a call of a handler may have."""

    def reserve(self, handler: type[Handler]) -> int:
        """Reserve the next batch; returns its largest size, 0 when the worker takes nothing new."""

    def settle(self, settlement: Settlement) -> Awaitable[Settled]: ...

    async def fail(self, failure: Failure) -> bool: ...

    async def release(self, lease: Lease, delay_seconds: float = 0.0) -> None: ...

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool: ...


class Hold:
    """What one lane tells of its thread, in calls with numbers, and the *state* that follows."""

    __slots__ = ("_handler", "_host", "_quota", "_reserved", "asked", "last_call", "lease", "state")

    def __init__(self, host: Host, handler: type[Handler], batch: Batch) -> None:
        self._host, self._handler, self.lease = host, handler, batch.lease
        self.state = HANDLING
        self._quota, self._reserved = host.quota, len(batch.messages)
        self.asked = host.fits.size(handler)
        """How many requests it asked for last."""
        self.last_call = 0

    def number_call(self) -> int:
        """Calls are numbered so that Redis can tell a late call from the next one."""
        self.last_call += 1
        return self.last_call

    async def tell(self, answer: Awaitable[T]) -> T:
        """Await the storage's answer. Until it comes, nothing else tells what became of the lease."""
        before = self.state
        self.to(SETTLING)
        try:
            return await answer
        finally:
            self.to(before)

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        return self.tell(self._host.settle(settlement))

    def reserve(self) -> int:
        """Reserve the next batch; returns its largest size, 0 when the worker takes nothing new."""
        return self._host.reserve(self._handler)

    def note_handled(self, count: int) -> None:
        """*count* of the requests that were handed out are settled."""
        self._quota.note_handled(count)
        self._reserved -= count

    def give_up_rest(self) -> None:
        """The requests that were handed out and not settled are for others to take."""
        self._quota.give_back(self._reserved)
        self._reserved = 0

    def fetch(self, wanted: int, release: bool) -> Awaitable[Settled]:
        """Ask for the next batch; where there is none, the thread is freed with *release*."""
        return self.settle(Settlement(self.lease, wanted=wanted, release=release, call=self.number_call()))

    async def fetch_anew(self) -> Batch | None:
        """The next batch, where the last one ended early; where the worker takes nothing new, the thread is freed."""
        self.give_up_rest()
        wanted = self.reserve()
        return self.hear(await self.fetch(wanted, wanted == 0), wanted)

    async def give_back(self) -> None:
        """Free the thread for other workers, with its requests. By a settlement, which many lanes can share."""
        self.hear(await self.fetch(0, release=True), 0)

    def fail(self, failure: Failure) -> Awaitable[bool]:
        """False: the lease was lost."""
        return self.tell(self._host.fail(failure))

    async def put_off(self, seconds: float) -> None:
        """Free the thread. No worker gets it within *seconds*."""
        await self.tell(self._host.release(self.lease, seconds))
        self.to(RELEASED)

    async def isolate(self, is_alone: bool) -> bool:
        return await self._host.isolate(self.lease, is_alone, self.number_call())

    async def release(self) -> None:
        if self.state.is_held:
            self.to(RELEASED)
            await self._host.release(self.lease)

    def hear(self, settled: Settled, wanted: int = 0) -> Batch | None:
        """Note what became of the thread, for which *wanted* requests were reserved; returns the next batch."""
        handed = len(settled.batch.messages) if settled.batch else 0
        self._quota.give_back(self._reserved + wanted - handed)
        self._reserved, self.asked = handed, wanted or self.asked
        if settled.is_lost:
            self.lose("its fence was refused")
        elif settled.is_released:
            self.to(RELEASED)
        return settled.batch

    def lose(self, reason: str) -> None:
        log.warning("lost %s: %s", self.lease, reason)
        self.to(LOST)

    def to(self, state: LaneState) -> None:
        """
        Take a step of the figure. An end is final: what comes afterwards, as from a handler that
        heeded no cancellation, changes nothing.
        """
        if not self.state.is_held:
            return
        assert state in self.state.next, f"a lane went from {self.state.word} to {state.word}"
        self.state = state
