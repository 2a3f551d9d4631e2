"""One thread held by a worker: handle, settle, repeat, until the thread is drained, failed, aborted or lost."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from sharded_queue import context, tracing
from sharded_queue.coordinator import Arrival
from sharded_queue.errors import LeaseLost, SerializationError, StorageUnavailable, describe
from sharded_queue.handler import Handler
from sharded_queue.lease import Lease
from sharded_queue.serializer import unpack
from sharded_queue.settings import settings
from sharded_queue.state import Report
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.failures import (
    FAILURES,
    delay_seconds,
    failure_of,
    failure_of_all,
    log_failure,
    policy_of,
)
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.suspects import Suspects
from sharded_queue.worker.task_pool import Ended, Fiber, TaskPool

log = logging.getLogger("sharded_queue")
T = TypeVar("T")


class Host(Protocol):
    """What a lane needs of its worker."""

    is_traced: bool
    """Whether to trace calls of handlers."""

    @property
    def is_measured(self) -> bool:
        """Whether to report calls of handlers by `called`."""

    call: Callable[[Handler, Sequence[Any]], Awaitable[None]]
    """Calls a handler with a batch, through the middleware if there is any."""

    clock: Callable[[], float]
    """The clock of lease deadlines."""

    slots: Slots
    """What a lane needs one of to call its handler."""

    quota: Quota
    """Takes back what was reserved and not handed out."""

    fits: BatchFits
    """How many requests a call of a handler may have."""

    suspects: Suspects
    """Says when to call a handler with a request that a worker died with."""

    def reserve(self, handler: type[Handler]) -> int:
        """Reserve the next batch; returns its largest size, 0 when the worker takes nothing new."""

    def handled(self, count: int, seconds: float) -> None: ...

    def latency(self, handler: type[Handler]) -> Latency: ...

    def failed(self, handler: type[Handler]) -> None: ...

    def started(self, handler: type[Handler]) -> None: ...

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        """Whether the last start of *handler* failed with the same error."""

    def is_leaving(self) -> bool:
        """Whether to release a drained thread at once: other threads wait, or the worker stops."""

    async def must_yield(self, lease: Lease) -> bool:
        """Whether a thread whose turn is over makes way for one of another shard."""

    def drained(self, lane: "Lane") -> None:
        """*lane* has nothing to handle, and lingers."""

    def resumed(self, lane: "Lane") -> None:
        """*lane* lingers no more."""

    def settle(self, settlement: Settlement) -> Awaitable[Settled]: ...

    def called(self, handler: type[Handler], seconds: float, error: BaseException | None) -> None:
        """A call of *handler* has ended."""

    async def fail(self, failure: Failure) -> bool: ...

    async def release(self, lease: Lease, delay_seconds: float = 0.0) -> None: ...

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool: ...


class Lane:
    """
    Serves one thread. *deadline*, by the host's clock, is when the lease can no longer be trusted: from then on another
    worker may hold the thread.
    """

    __slots__ = (
        "__weakref__",
        "_alone_until",
        "_arrival",
        "_asked",
        "_bound_at",
        "_calls",
        "_fiber",
        "_first",
        "_handed_ms",
        "_has_slot",
        "_is_cut",
        "_is_ending",
        "_is_settling",
        "_is_woken",
        "_known_error",
        "_latency",
        "_reserved",
        "_waking",
        "called_since",
        "deadline",
        "handler",
        "host",
        "is_held",
        "is_left",
        "is_lingering",
        "is_lost",
        "lease",
        "linger_seconds",
        "report",
    )

    def __init__(
        self, host: Host, handler: type[Handler], batch: Batch, deadline: float, linger_seconds: float
    ) -> None:
        self.host, self.handler, self.lease = host, handler, batch.lease
        self.deadline, self.linger_seconds = deadline, linger_seconds
        self.called_since: float | None = None
        """Monotonic time at which the running call of one of the handler's methods began."""
        self.report: Report | None = None
        """What the handler last reported of its batch. Renewals read it in an OS thread of their own."""
        self.is_lost = self.is_lingering = self.is_left = False
        self.is_held, self._is_settling, self._is_ending = True, False, False
        self._bound_at = time.monotonic()
        self._calls = 0
        self._latency, self._handed_ms = host.latency(handler), 0
        self._first, self._reserved, self._asked = batch, len(batch.messages), host.fits.size(handler)
        self._alone_until = batch.first
        """The last request of a batch that failed: those up to it come one by one."""
        self._known_error: str | None = None
        """What the handler raised on that batch."""
        self._is_woken = False
        self._arrival: Arrival | None = None
        self._waking: asyncio.Event | None = None
        self._is_cut = self._has_slot = False
        self._fiber: Fiber | None = None

    @property
    def is_exposed(self) -> bool:
        """
        Whether the lane must learn that its lease ended. Not while a settlement is under way: its answer tells what
        became of the lease, which the settlement may have released itself.
        """
        return self.is_held and not self._is_settling

    def start(self, pool: TaskPool, ended: Ended) -> None:
        """Serve the thread in a fiber of *pool*, in one task where the handler may open what it closes later."""
        start = pool.start_alone if self.handler.has_lifecycle else pool.start
        self._fiber = start(self.serve(), ended)
        self._fiber.must_stop = self._must_stop

    def wake(self, arrival: Arrival | None = None) -> None:
        """Check again: a request may have arrived in the drained thread, or the lane has to leave."""
        self._is_woken = True
        self._arrival = arrival or self._arrival
        if self._waking:
            self._waking.set()

    def leave(self) -> None:
        """The lease is not renewed, as the event loop is blocked. Called in another OS thread."""
        self.is_left = True

    def _must_stop(self) -> bool:
        """Whether the lease ended while the event loop was blocked: the handler must not go on when the loop does."""
        if not self.is_left or not self.is_exposed or self._is_ending or self.host.clock() < self.deadline:
            return False
        self._note_loss("it ended before its handler went on")
        self._is_cut = True
        return True

    def is_run_by(self, task: "asyncio.Task[Any]") -> bool:
        """Whether the lane runs now, where *task* is what the event loop runs."""
        return self._fiber is not None and self._fiber.is_run_by(task)

    def revoke(self, reason: str) -> None:
        """The lease is lost: stop the handler, write nothing."""
        if self.is_exposed:
            self._note_loss(reason)
            if not self._is_ending:
                self.abort()

    def _note_loss(self, reason: str) -> None:
        log.warning("lost %s: %s", self.lease, reason)
        self.is_lost, self.is_held = True, False

    def abort(self) -> None:
        """Stop the handler now. The thread is released, and its batch handled again elsewhere."""
        self._is_cut = True
        if self._fiber:
            self._fiber.cancel()

    async def serve(self) -> None:
        """Handle the first batch and those that follow, until the thread is let go."""
        handler: Handler | None = None
        batch: Batch | None = self._first
        context.lease.set(self.lease)
        try:
            self._has_slot = self.host.slots.claim()
            handler = await self._begin(self._first) if await self._may_call(self._first) else None
            while batch and handler and not self._is_cut and await self._may_call(batch):
                batch = await self._turn(handler, batch)
                self.host.suspects.leave(self)
                batch = batch or (await self._linger() if self.is_held else None)
        except asyncio.CancelledError as error:
            if not self._is_cancelled(error):
                await self._fail_try(batch or self._first, error)
            elif not self.is_lost:
                log.warning("aborted %s before its batch was done", self.lease)
        except (LeaseLost, StorageUnavailable) as error:
            self._note_loss(str(error))
        except Exception as error:
            log.exception("serving %s failed", self.lease)
            await self._fail_try(batch or self._first, error)
        finally:
            self._is_ending = True
            self.host.quota.give_back(self._reserved)
            try:
                if self.is_held or self.handler.has_lifecycle:
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
        await (self._put_off_try(delay) if delay else self._give_back())
        return False

    async def _put_off_try(self, seconds: float) -> None:
        await self._tell(self.host.release(self.lease, seconds))
        self.is_held = False

    async def isolate(self, is_alone: bool) -> bool:
        """Note whether the worker handles nothing but the request in hand. False: the lease was lost."""
        return await self.host.isolate(self.lease, is_alone, self._call_number())

    async def _take_slot(self) -> bool:
        """Whether the handler may be called. False: too many others are being called, and the thread was given back."""
        self._has_slot = self.host.slots.claim() or await self.host.slots.wait()
        if not self._has_slot:
            await self._give_back()
        return self._has_slot

    def _leave_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self.host.slots.leave()

    async def _give_back(self) -> None:
        """Free the thread for other workers, with its requests. By a settlement, which many lanes can share."""
        settled = await self._tell(self.host.settle(Settlement(self.lease, release=True, call=self._call_number())))
        self._next(settled, 0)

    async def _fail_try(self, batch: Batch, error: BaseException) -> None:
        """An unexpected error is a failed try: it is counted, and repeated only after a pause."""
        try:
            if batch.attempt >= policy_of(self.handler).limit:
                await self._tell(self.host.fail(self._failure(batch, batch.attempt, error, None)))
            else:
                await self._put_off(batch, batch.attempt, error)
        except Exception:
            log.exception("%s is left to expire", self.lease)
            self.is_held = False

    async def _begin(self, batch: Batch) -> Handler | None:
        try:
            self.handler.serializer()
            handler = await self._called(self._make()) if self.handler.has_lifecycle else self.handler()
        except FAILURES as error:
            if self._is_cancelled(error):
                raise
            self.host.failed(self.handler)
            said, name = describe(error), self.handler.name
            trace = None if self.host.is_known_failure(self.handler, said) else error
            log.error("%s cannot start on thread %s: %s", name, self.lease.thread, said, exc_info=trace)
            await self._put_off_start(batch, error)
            return None
        self.host.started(self.handler)
        return handler

    async def _end(self, handler: Handler | None) -> None:
        if handler and self.handler.has_lifecycle:
            context.batch.set(None)
            try:
                with suppress(asyncio.CancelledError):
                    await self.host.suspects.wait_until_open(self)
                await self._called(handler.stop())
            except FAILURES:
                log.exception("%s failed to stop on thread %s", self.handler.name, self.lease.thread)
        if self.is_held:
            self.is_held = False
            await self.host.release(self.lease)

    async def _make(self) -> Handler:
        handler = await self.handler.create()
        await handler.start()
        return handler

    async def _called(self, step: Awaitable[T]) -> T:
        """
        Raises:
            TimeoutError: the handler hung. `create`, `start` and `stop` may take as long as one batch.
        """
        self.called_since = time.monotonic()
        try:
            async with asyncio.timeout(settings.coordinator_timeout):
                return await step
        finally:
            self.called_since = None

    async def _tell(self, answer: Awaitable[T]) -> T:
        """Await the storage's answer. Until it comes, nothing else tells what became of the lease."""
        self._is_settling = True
        try:
            return await answer
        finally:
            self._is_settling = False

    async def _turn(self, handler: Handler, batch: Batch) -> Batch | None:
        """Handle a batch, settle what was handled, and fetch the next one."""
        requests, flaw = self.handler.serializer().read(batch.messages)
        self._handed_ms, self.report = time.time_ns() // 1_000_000, None
        began = self.called_since = time.monotonic()
        error = await self._call(handler, batch, requests) if requests else None
        ended, self.called_since = time.monotonic(), None
        if error is not None and len(requests) > 1:  # an error may count as false, by a length or __bool__
            return await self._take_apart(batch, len(requests), error)
        done = len(requests) if error is None else 0
        if error is not None or flaw is not None:
            return await self._settle_and_fail(batch, done, ended - began, error, flaw)
        if self._seems_drained(batch, done) and not self.handler.has_lifecycle:
            self._leave_slot()  # the next thread begins while this one is settled
        wanted = self.host.reserve(self.handler)
        leaving, is_over = wanted == 0 or self.host.is_leaving(), ended - self._bound_at > settings.worker_turn
        yields = is_over and wanted > 0 and await self._tell(self.host.must_yield(self.lease))
        settlement = Settlement(
            self.lease,
            batch.tube.priority,
            batch.last,
            ended - began,
            wanted,
            leaving,
            is_over,
            self._call_number(),
            yields,
        )
        settled = await self._tell(self.host.settle(settlement))
        if not settled.is_lost:
            self._note_handled(batch.messages if batch.attempt == 1 else batch.messages[1:], done, ended - began)
        return self._next(settled, wanted)

    def _seems_drained(self, batch: Batch, done: int) -> bool:
        return done < self._asked and batch.last >= self._alone_until

    async def _take_apart(self, batch: Batch, count: int, error: BaseException) -> Batch | None:
        """
        The call of the first *count* requests failed. From here on each is handed out alone and settled, the last one
        too, whatever happens meanwhile: none is handled more than twice because of another one.
        """
        failure = failure_of_all(batch, count, error, self._call_number())
        if not await self._tell(self.host.fail(failure)):
            return self._next(Settled(is_lost=True), 0)
        self._known_error, self._alone_until = describe(error), batch.first + count - 1
        return self._next(Settled(batch._replace(messages=batch.messages[:1])), 0)

    def _note_report(self, first: int, done: int, of: int | None, note: str) -> None:
        self.report = Report(first, done, of, note)

    async def _call(self, handler: Handler, batch: Batch, requests: list[Any]) -> BaseException | None:
        """
        Call the handler with *requests*, the first ones of the batch. Returns what it raised, if anything.

        The renewer revokes a lane whose lease is over. After the whole process stood still, a call may come first.

        Raises:
            LeaseLost: another worker may hold the thread now.
        """
        if self.host.clock() >= self.deadline:
            raise LeaseLost("its lease was over before the handler was called")
        _set_context(batch, len(requests), partial(self._note_report, batch.first))
        failure: BaseException | None = None
        began = time.monotonic()
        try:
            if not self.host.is_traced:
                await self.host.call(handler, requests)
            else:
                await self._call_traced(handler, requests)
        except FAILURES as error:
            if self._is_cancelled(error):
                raise
            failure = error
        seconds = time.monotonic() - began
        self._latency.calls.add(seconds * 1000)
        if self.handler.timeout_seconds is not None:
            self.host.fits.note(self.handler, len(requests), seconds, failure)
        if self.host.is_measured:
            self.host.called(self.handler, seconds, failure)
        if failure is not None:
            log_failure(self.handler, self.lease, len(requests), failure, self._known_error)
            self.host.failed(self.handler)
        return failure

    async def _call_traced(self, handler: Handler, requests: list[Any]) -> None:
        owner, headers = self.lease.owner, (unpack(message).headers for message in context.current().messages)
        with tracing.handling(self.handler.name, self.lease.thread, owner, headers, len(requests)):
            await self.host.call(handler, requests)

    def _note_handled(self, messages: Sequence[bytes], done: int, seconds: float) -> None:
        """
        *messages*: those of the first *done* that were handed out for the first time. Requests count when they are
        settled or failed: those behind a failed one are handed out again, and would count twice.
        """
        self.host.handled(done, seconds)
        self._reserved -= done
        self._latency.waits.add_waits(messages, self._handed_ms)

    async def _settle_and_fail(
        self, batch: Batch, done: int, seconds: float, error: BaseException | None, flaw: SerializationError | None
    ) -> Batch | None:
        """The first request failed; or the first *done* were handled, and the next one cannot be read."""
        if done:
            through = batch.first + done - 1
            settlement = Settlement(self.lease, batch.tube.priority, through, seconds, call=self._call_number())
            settled = await self._tell(self.host.settle(settlement))
            if settled.is_lost:
                return self._next(settled, 0)
            self._note_handled(batch.messages[int(batch.attempt > 1) : done], done, seconds)
        attempt = batch.attempt if done == 0 else 1
        culprit = batch._replace(first=batch.first + done, attempt=attempt)
        if error is None:
            assert flaw
            return await self._dead_letter(culprit, flaw)
        if attempt == 1:
            self._latency.waits.add_waits(batch.messages[:1], self._handed_ms)
        if attempt >= policy_of(self.handler).limit:
            return await self._dead_letter(culprit, error)
        await self._put_off(culprit, attempt, error)
        return None

    async def _put_off(self, batch: Batch, attempt: int, error: BaseException) -> None:
        """The whole thread waits: no request may overtake the one that failed."""
        delay = delay_seconds(policy_of(self.handler), attempt)
        if await self._tell(self.host.fail(self._failure(batch, attempt, error, delay))):
            log.info("%s waits %.2f s after attempt %d", self.lease, delay, attempt)
        self.is_held = False

    async def _put_off_start(self, batch: Batch, error: BaseException) -> None:
        """No request is to blame, so no request's attempts count up; failed starts are counted separately."""
        policy = policy_of(self.handler)
        failure = self._failure(batch, batch.attempt - 1, error, delay_seconds(policy, 1))
        await self._tell(self.host.fail(failure._replace(cap_seconds=policy.cap_seconds)))
        self.is_held = False

    async def _dead_letter(self, batch: Batch, error: BaseException) -> Batch | None:
        log.error("request %d of %s goes to the dead letters: %s", batch.first, batch.tube, describe(error))
        if not await self._tell(self.host.fail(self._failure(batch, batch.attempt, error, None))):
            return self._next(Settled(is_lost=True), 0)
        self.host.quota.give_back(self._reserved)
        self._reserved = 0
        wanted = self.host.reserve(self.handler)
        settlement = Settlement(self.lease, wanted=wanted, release=wanted == 0, call=self._call_number())
        return self._next(await self._tell(self.host.settle(settlement)), wanted)

    def _failure(self, batch: Batch, attempt: int, error: BaseException, delay: float | None) -> Failure:
        return failure_of(batch, attempt, error, delay, self._call_number())

    def _call_number(self) -> int:
        """Calls are numbered so that Redis can tell a late call from the next one."""
        self._calls += 1
        return self._calls

    def _is_cancelled(self, error: BaseException) -> bool:
        """
        Whether the lane itself is being cancelled. A handler may also await something that was cancelled, or have its
        task cancelled by what it opened in `start`, such as a TaskGroup or a timeout.
        """
        if self._is_cut or self.handler.has_lifecycle:
            return self._is_cut and isinstance(error, asyncio.CancelledError)
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0

    def _next(self, settled: Settled, wanted: int) -> Batch | None:
        handed = len(settled.batch.messages) if settled.batch else 0
        self.host.quota.give_back(self._reserved + wanted - handed)
        self._reserved, self._asked = handed, wanted or self._asked
        if settled.is_lost:
            self._note_loss("its fence was refused")
        if settled.is_released:
            self.is_held = False
        return settled.batch

    async def _linger(self) -> Batch | None:
        """Keep a drained thread for its next request, so that a trickle does not pay bind, start and stop each time."""
        context.batch.set(None)
        leave_at = time.monotonic() + self.linger_seconds
        batch: Batch | None = None
        self.is_lingering = True
        self._is_woken |= self.host.is_leaving()  # others may have come to wait since it was settled
        self._leave_slot()
        self.host.drained(self)
        while self.is_held and not batch:
            await self._wait_to_wake(leave_at - time.monotonic())
            leaving, wanted = self.host.is_leaving() or time.monotonic() >= leave_at, self.host.reserve(self.handler)
            settled = self._delivered() if wanted else None
            if not settled:
                release, number = leaving or wanted == 0, self._call_number()
                settlement = Settlement(self.lease, wanted=wanted, release=release, call=number)
                settled = await self._tell(self.host.settle(settlement))
            batch = self._next(settled, wanted)
        self.is_lingering = False
        self.host.resumed(self)
        return batch

    def _delivered(self) -> Settled | None:
        """The request that came with its wake-up. After a later call than it answers, that call's answer has it."""
        arrival, self._arrival = self._arrival, None
        if arrival and arrival.batch and arrival.call == self._calls:
            return Settled(arrival.batch)
        return None

    async def _wait_to_wake(self, seconds: float) -> None:
        if not self._is_woken:
            self._waking = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, 0)):
                    await self._waking.wait()
            self._waking = None
        self._is_woken = False


def _set_context(batch: Batch, count: int, report: Callable[[int, int | None, str], None]) -> None:
    messages = batch.messages if count == len(batch.messages) else batch.messages[:count]
    sequences = range(batch.first, batch.first + count)
    context.batch.set(context.Context(batch.lease, batch.tube, batch.attempt, sequences, messages, report))
