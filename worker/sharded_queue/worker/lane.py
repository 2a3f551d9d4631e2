"""One thread held by a worker: handle, settle, repeat, until the thread is drained, failed, aborted or lost."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from sharded_queue import context
from sharded_queue.coordinator import Arrival, PartDone
from sharded_queue.errors import LeaseLost, StorageUnavailable
from sharded_queue.handler import Handler, turn_of
from sharded_queue.lease import Lease
from sharded_queue.state import Report
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.worker import calls, hold
from sharded_queue.worker.calls import Called, HandlerCalls
from sharded_queue.worker.doorbell import Doorbell
from sharded_queue.worker.failing import Failing
from sharded_queue.worker.failures import FAILURES, failure_of
from sharded_queue.worker.hold import Hold
from sharded_queue.worker.lane_state import ENDING, HANDLING, LINGERING, LOST, LaneState
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.suspects import Suspects
from sharded_queue.worker.task_pool import Ended, Fiber, TaskPool

log = logging.getLogger("sharded_queue")


class Host(Protocol):
    """What a lane needs of its worker."""

    @property
    def tally(self) -> calls.Host: ...

    @property
    def ledger(self) -> hold.Host: ...

    clock: Callable[[], float]
    """The clock of lease deadlines."""

    slots: Slots
    """What a lane needs one of to call its handler."""

    suspects: Suspects
    """Says when to call a handler with a request that a worker died with."""

    def is_leaving(self) -> bool:
        """Whether to release a drained thread at once: other threads wait, or the worker stops."""

    async def must_yield(self, lease: Lease) -> bool:
        """Whether a thread whose turn is over makes way for one of another shard."""

    def drained(self, lane: "Lane") -> None:
        """*lane* has nothing to handle, and lingers."""

    def resumed(self, lane: "Lane") -> None:
        """*lane* lingers no more."""


class Lane:
    """
    Serves one thread. *deadline*, by the host's clock, is when the lease can no longer be trusted: from then on another
    worker may hold the thread.
    """

    __slots__ = (
        "__weakref__",
        "_bell",
        "_bound_at",
        "_fiber",
        "_first",
        "_has_slot",
        "alone_until",
        "calls",
        "deadline",
        "handler",
        "hold",
        "host",
        "is_left",
        "lease",
        "linger_seconds",
    )

    def __init__(
        self, host: Host, handler: type[Handler], batch: Batch, deadline: float, linger_seconds: float
    ) -> None:
        self.host, self.handler, self.lease = host, handler, batch.lease
        self.deadline, self.linger_seconds = deadline, linger_seconds
        self.is_left = False
        """Whether another OS thread noted that the lease is not renewed, as the event loop is blocked."""
        self._first, self._bound_at = batch, time.monotonic()
        self.hold, self.calls = Hold(host.ledger, handler, batch), HandlerCalls(host.tally, handler, batch.lease)
        self.alone_until = batch.first
        """The last request of a batch that failed: those up to it come one by one."""
        self._bell = Doorbell()
        self._has_slot = False
        self._fiber: Fiber | None = None

    @property
    def state(self) -> LaneState:
        return self.hold.state

    @property
    def called_since(self) -> float | None:
        """Monotonic time at which the running call of one of the handler's methods began."""
        return self.calls.since

    @property
    def report(self) -> Report | None:
        """What the handler last reported of its batch."""
        return self.calls.report

    @property
    def part_done(self) -> PartDone | None:
        """What the handler reported done of its batch."""
        return self.calls.part_done

    def start(self, pool: TaskPool, ended: Ended) -> None:
        """Serve the thread in a fiber of *pool*, in one task where the handler may open what it closes later."""
        start = pool.start_alone if self.handler.has_lifecycle else pool.start
        self._fiber = start(self.serve(), ended)
        self._fiber.must_stop = self._must_stop

    def wake(self, arrival: Arrival | None = None) -> None:
        """Check again: a request may have arrived in the drained thread, or the lane has to leave."""
        self._bell.ring(arrival)

    def leave(self) -> None:
        """The lease is not renewed, as the event loop is blocked. Called in another OS thread."""
        self.is_left = True

    def _must_stop(self) -> bool:
        """Whether the lease ended while the event loop was blocked: the handler must not go on when the loop does."""
        is_safe = self.state is ENDING or not self.state.is_exposed
        if is_safe or not self.is_left or self.host.clock() < self.deadline:
            return False
        self.hold.lose("it ended before its handler went on")
        self.calls.is_cut = True
        return True

    def is_run_by(self, task: "asyncio.Task[Any]") -> bool:
        """Whether the lane runs now, where *task* is what the event loop runs."""
        return self._fiber is not None and self._fiber.is_run_by(task)

    def revoke(self, reason: str) -> None:
        """The lease is lost: stop the handler, write nothing."""
        if self.state.is_exposed:
            is_ending = self.state is ENDING
            self.hold.lose(reason)
            if not is_ending:
                self.abort()

    def abort(self) -> None:
        """Stop the handler now. The thread is released, and its batch handled again elsewhere."""
        self.calls.is_cut = True
        if self._fiber:
            self._fiber.cancel()

    async def isolate(self, is_alone: bool) -> bool:
        """Note whether the worker handles nothing but the request in hand. False: the lease was lost."""
        return await self.hold.isolate(is_alone)

    async def serve(self) -> None:
        """Handle the first batch and those that follow, until the thread is let go."""
        handler: Handler | None = None
        batch: Batch | None = self._first
        context.lease.set(self.lease)
        try:
            self._has_slot = self.host.slots.claim()
            handler = await self._begin(self._first) if await self._may_call(self._first) else None
            while batch and handler and not self.calls.is_cut and await self._may_call(batch):
                batch = await self._turn(handler, batch)
                self.host.suspects.leave(self)
                batch = batch or (await self._linger() if self.hold.state.is_held else None)
        except asyncio.CancelledError as error:
            if not self.calls.is_cancelled(error):
                await Failing(self).fail_try(batch or self._first, error)
            elif self.state is not LOST:
                log.warning("aborted %s before its batch was done", self.lease)
                await Failing(self).settle_cut(batch or self._first)
        except (LeaseLost, StorageUnavailable) as error:
            self.hold.lose(str(error))
        except Exception as error:
            log.exception("serving %s failed", self.lease)
            await Failing(self).fail_try(batch or self._first, error)
        finally:
            self.hold.give_up_rest()
            try:
                await self._end(handler)
            finally:
                self._leave_slot()
                self.host.suspects.leave(self)
                self._fiber = None  # it refers to the lane: only the garbage collector would free the two

    async def _may_call(self, batch: Batch) -> bool:
        """Whether the handler may be called with *batch*. False: the thread was given back."""
        if not self._has_slot and not await self._take_slot():
            return False
        suspects = self.host.suspects
        if (not batch.crashes and not suspects.is_closed) or suspects.is_trying(self):
            return True
        self._leave_slot()
        delay = await suspects.admit(self, batch.crashes)
        if delay is None:
            return await self._take_slot()
        await (self.hold.put_off(delay) if delay else self.hold.give_back())
        return False

    async def _take_slot(self) -> bool:
        """Whether the handler may be called. False: too many others are being called, and the thread was given back."""
        self._has_slot = self.host.slots.claim() or await self.host.slots.wait()
        if not self._has_slot:
            await self.hold.give_back()
        return self._has_slot

    def _leave_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self.host.slots.leave()

    async def _begin(self, batch: Batch) -> Handler | None:
        try:
            return await self.calls.start()
        except FAILURES as error:
            if self.calls.is_cancelled(error):
                raise
            await Failing(self).put_off_start(batch, error)
            return None

    async def _turn(self, handler: Handler, batch: Batch) -> Batch | None:
        """
        Handle a batch, settle what was handled, and fetch the next one.

        Raises:
            LeaseLost: another worker may hold the thread now.
        """
        requests, flaw = self.handler.serializer().read(batch.messages)
        called = await self._perform(handler, batch, requests) if requests else Called()
        if called.error is not None or flaw is not None:  # an error may count as false, by a length or __bool__
            return await Failing(self).settle(batch, len(requests), called, flaw)
        done, seconds = len(requests), called.seconds
        if self._seems_drained(batch, done) and not self.handler.has_lifecycle:
            self._leave_slot()  # the next thread begins while this one is settled
        wanted = self.hold.reserve()
        leaving, is_over = wanted == 0 or self.host.is_leaving(), self._is_turn_over()
        yields = is_over and wanted > 0 and await self.hold.tell(self.host.must_yield(self.lease))
        number, last, priority = self.hold.number_call(), batch.last, batch.tube.priority
        settlement = Settlement(self.lease, priority, last, seconds, wanted, leaving, is_over, number, yields)
        settled = await self.hold.settle(settlement)
        if not settled.is_lost:
            self.note_handled(batch, done, seconds)
        return self.hold.hear(settled, wanted)

    def _perform(self, handler: Handler, batch: Batch, requests: list[Any]) -> Awaitable[Called]:
        """The renewer revokes a lane whose lease is over. After the whole process stood still, this may come first."""
        if self.host.clock() >= self.deadline:
            raise LeaseLost("its lease was over before the handler was called")
        return self.calls.perform(handler, batch, requests)

    def _seems_drained(self, batch: Batch, done: int) -> bool:
        return done < self.hold.asked and batch.last >= self.alone_until

    def _is_turn_over(self) -> bool:
        return time.monotonic() - self._bound_at > turn_of(self.handler)

    async def _linger(self) -> Batch | None:
        """Keep a drained thread for its next request, so that a trickle does not pay bind, start and stop each time."""
        context.batch.set(None)
        leave_at = time.monotonic() + self.linger_seconds
        batch: Batch | None = None
        self.hold.to(LINGERING)
        self._bell.is_rung |= self.host.is_leaving()  # others may have come to wait since it was settled
        self._leave_slot()
        self.host.drained(self)
        while self.state.is_held and not batch:
            await self._bell.wait(leave_at - time.monotonic())
            leaving, wanted = self.host.is_leaving() or time.monotonic() >= leave_at, self.hold.reserve()
            brought = self._bell.take(self.hold.last_call) if wanted else None
            settled = Settled(brought) if brought else await self.hold.fetch(wanted, leaving or wanted == 0)
            batch = self.hold.hear(settled, wanted)
        self.host.resumed(self)
        if batch:
            self.hold.to(HANDLING)
        return batch

    async def _end(self, handler: Handler | None) -> None:
        if self.state.is_held:
            self.hold.to(ENDING)
        if handler and self.handler.has_lifecycle:
            with suppress(asyncio.CancelledError):
                await self.host.suspects.wait_until_open(self)
            await self.calls.stop(handler)
        await self.hold.release()

    def failure(self, batch: Batch, attempt: int, error: BaseException, delay: float | None) -> Failure:
        return failure_of(batch, attempt, error, delay, self.hold.number_call())

    def note_handled(self, batch: Batch, done: int, seconds: float) -> None:
        """The first *done* requests are settled."""
        self.hold.note_handled(done)
        self.calls.note_handled(batch, done, seconds)
