"""One thread held by a worker: handle, settle, repeat, until the thread is drained, failed, aborted or lost."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from sharded_queue import context, logs, tracing
from sharded_queue.coordinator import Arrival
from sharded_queue.errors import LeaseLost, SerializationError, StorageUnavailable, describe, traceback_of
from sharded_queue.handler import Handler, Retry
from sharded_queue.lease import Lease
from sharded_queue.printable import counted
from sharded_queue.serializer import unpack
from sharded_queue.settings import settings
from sharded_queue.state import Report
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.task_pool import Ended, Fiber, TaskPool

log = logging.getLogger("sharded_queue")
T = TypeVar("T")
FAILURES = (Exception, BaseExceptionGroup, SystemExit, asyncio.CancelledError)
"""
What a handler may raise without harm to its worker. `Lane._is_cancelled` tells whose a cancellation is.
"""


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

    def reserve(self) -> int:
        """Reserve the next batch; returns its largest size, 0 when the worker takes nothing new."""

    def unreserve(self, count: int) -> None: ...

    def handled(self, count: int, seconds: float) -> None: ...

    def latency(self, handler: type[Handler]) -> Latency: ...

    def failed(self, handler: type[Handler]) -> None: ...

    def started(self, handler: type[Handler]) -> None: ...

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        """Whether the last start of *handler* failed with the same error."""

    def is_leaving(self) -> bool:
        """Whether to release a drained thread at once: other threads wait, or the worker stops."""

    def drained(self) -> None:
        """A lane has nothing to handle, and lingers."""

    def resumed(self) -> None:
        """A lane lingers no more."""

    def settle(self, settlement: Settlement) -> Awaitable[Settled]: ...

    def called(self, handler: type[Handler], seconds: float, error: BaseException | None) -> None:
        """A call of *handler* has ended."""

    async def fail(self, failure: Failure) -> bool: ...

    async def release(self, lease: Lease) -> None: ...


class Lane:
    """
    Serves one thread. *deadline*, by the host's clock, is when the lease can no longer be trusted: from then on another
    worker may hold the thread.
    """

    def __init__(
        self, host: Host, handler: type[Handler], batch: Batch, deadline: float, linger_seconds: float
    ) -> None:
        self.host, self.handler, self.lease = host, handler, batch.lease
        self.deadline, self.linger_seconds = deadline, linger_seconds
        self.called_since: float | None = None
        """Monotonic time at which the running call of one of the handler's methods began."""
        self.report: Report | None = None
        """What the handler last reported of its batch. Renewals read it in an OS thread of their own."""
        self.is_lost = self.is_lingering = False
        self.is_held, self._is_settling, self._is_ending = True, False, False
        self._bound_at = time.monotonic()
        self._calls = 0
        self._latency, self._handed_ms = host.latency(handler), 0
        self._first, self._reserved = batch, len(batch.messages)
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

    def wake(self, arrival: Arrival | None = None) -> None:
        """Check again: a request may have arrived in the drained thread, or the lane has to leave."""
        self._is_woken = True
        self._arrival = arrival or self._arrival
        if self._waking:
            self._waking.set()

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
        logs.about.set(logs.About(self.lease.owner, self.handler.name, self.lease.thread))
        try:
            handler = await self._begin(self._first) if await self._take_slot() else None
            while batch and handler and not self._is_cut and await self._take_slot():
                batch = await self._turn(handler, batch) or await self._linger()
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
            self.host.unreserve(self._reserved)
            try:
                await self._end(handler)
            finally:
                self._leave_slot()

    async def _take_slot(self) -> bool:
        """Whether the handler may be called. False: too many others are being called, and the thread was given back."""
        if not self._has_slot:
            self._has_slot = await self.host.slots.take()
            if not self._has_slot:
                await self._give_back()
        return self._has_slot

    def _leave_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self.host.slots.leave()

    async def _give_back(self) -> None:
        """Free the thread for other workers, with its requests. By a settlement, which many lanes can share."""
        settled = await self._settle_as(Settlement(self.lease, release=True, call=self._call_number()))
        self._next(settled, 0)

    async def _fail_try(self, batch: Batch, error: BaseException) -> None:
        """An unexpected error is a failed try: it is counted, and repeated only after a pause."""
        try:
            if batch.attempt >= self._policy().limit:
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
            try:
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
        """Handle a batch up to its first failure, settle what was handled, and fetch the next batch."""
        requests, flaw = self.handler.serializer().read(batch.messages)
        self._handed_ms, self.report = time.time_ns() // 1_000_000, None
        began = self.called_since = time.monotonic()
        done, error = await self._handle(handler, batch, requests)
        seconds = time.monotonic() - began
        self.called_since = None
        if error or flaw:
            return await self._settle_and_fail(batch, done, seconds, error, flaw)
        if len(batch.messages) < settings.worker_batch_size and not self.handler.has_lifecycle:
            self._leave_slot()  # the thread seems drained, so the next one begins while this one is settled
        return await self._settle(batch, done, seconds)

    async def _handle(self, handler: Handler, batch: Batch, requests: list[Any]) -> tuple[int, BaseException | None]:
        """
        Returns how many requests from the head were handled, and the error of the next one, if it failed.

        A batch that fails is halved until the request that fails on its own is found: log2 of the batch more calls.
        """
        done, suspects = 0, len(requests)
        error = None
        while done < len(requests):
            size = suspects if error is None else max(1, suspects // 2)
            chunk = slice(done, done + size)
            self._check_deadline()
            _set_context(batch, chunk, partial(self._note_report, batch.first))
            failure = await self._call(handler, requests[chunk], error)
            if failure is None:
                done, suspects = done + size, suspects - size
                if suspects == 0:
                    error, suspects = None, len(requests) - done
            elif size == 1:
                return done, failure
            else:
                error, suspects = failure, size
        return done, None

    def _note_report(self, first: int, done: int, of: int | None, note: str) -> None:
        self.report = Report(first, done, of, note)

    def _check_deadline(self) -> None:
        """
        The renewer revokes a lane whose lease is over. After the whole process stood still, a batch may come first.

        Raises:
            LeaseLost: another worker may hold the thread now.
        """
        if self.host.clock() >= self.deadline:
            raise LeaseLost("its lease was over before the handler was called")

    async def _call(self, handler: Handler, requests: list[Any], before: BaseException | None) -> BaseException | None:
        """Returns what the handler raised, if anything; *before*: what it raised on the larger batch before."""
        began = time.monotonic()
        try:
            if not self.host.is_traced:
                await self.host.call(handler, requests)
            else:
                await self._call_traced(handler, requests)
        except FAILURES as error:
            if self._is_cancelled(error):
                raise
            self._note_call(began, error)
            said = describe(error)
            trace = None if before and describe(before) == said else error
            name, count = self.handler.name, len(requests)
            log.warning("%s failed on %s of %s: %s", name, counted(count, "request"), self.lease, said, exc_info=trace)
            self.host.failed(self.handler)
            return error
        self._note_call(began, None)
        return None

    def _note_call(self, began: float, error: BaseException | None) -> None:
        seconds = time.monotonic() - began
        self._latency.calls.add(seconds * 1000)
        if self.host.is_measured:
            self.host.called(self.handler, seconds, error)

    async def _call_traced(self, handler: Handler, requests: list[Any]) -> None:
        owner, headers = self.lease.owner, (unpack(message).headers for message in context.current().messages)
        with tracing.handling(self.handler.name, self.lease.thread, owner, headers, len(requests)):
            await self.host.call(handler, requests)

    async def _settle(self, batch: Batch, done: int, seconds: float) -> Batch | None:
        wanted = self.host.reserve()
        leaving = wanted == 0 or self.host.is_leaving()
        through = batch.first + done - 1
        settled = await self._settle_as(
            Settlement(
                self.lease, batch.tube.priority, through, seconds, wanted, leaving, self._is_over(), self._call_number()
            )
        )
        if not settled.is_lost:
            self._note_handled(batch, done, seconds)
        return self._next(settled, wanted)

    def _note_handled(self, batch: Batch, done: int, seconds: float) -> None:
        self.host.handled(done, seconds)
        self._reserved -= done
        self._note_waits(batch, int(batch.attempt > 1), done)

    def _note_waits(self, batch: Batch, first: int, end: int) -> None:
        """
        Requests count when they are settled or failed. Those behind a failed one are handed out again, and would count
        twice.
        """
        is_whole = first == 0 and end == len(batch.messages)
        messages = batch.messages if is_whole else batch.messages[first:end]
        self._latency.waits.add_waits(messages, self._handed_ms)

    def _settle_as(self, settlement: Settlement) -> Awaitable[Settled]:
        return self._tell(self.host.settle(settlement))

    def _is_over(self) -> bool:
        return time.monotonic() - self._bound_at > settings.worker_turn

    async def _settle_and_fail(
        self, batch: Batch, done: int, seconds: float, error: BaseException | None, flaw: SerializationError | None
    ) -> Batch | None:
        if done:
            through = batch.first + done - 1
            settled = await self._settle_as(
                Settlement(self.lease, batch.tube.priority, through, seconds, call=self._call_number())
            )
            if settled.is_lost:
                return self._next(settled, 0)
            self._note_handled(batch, done, seconds)
        attempt = batch.attempt if done == 0 else 1
        culprit = batch._replace(first=batch.first + done, attempt=attempt)
        if error is None:
            assert flaw
            return await self._dead_letter(culprit, flaw)
        if attempt == 1:
            self._note_waits(batch, done, done + 1)
        if attempt >= self._policy().limit:
            return await self._dead_letter(culprit, error)
        await self._put_off(culprit, attempt, error)
        return None

    async def _put_off(self, batch: Batch, attempt: int, error: BaseException) -> None:
        """The whole thread waits: no request may overtake the one that failed."""
        delay = delay_seconds(self._policy(), attempt)
        if await self._tell(self.host.fail(self._failure(batch, attempt, error, delay))):
            log.info("%s waits %.2f s after attempt %d", self.lease, delay, attempt)
        self.is_held = False

    async def _put_off_start(self, batch: Batch, error: BaseException) -> None:
        """No request is to blame, so no request's attempts count up; failed starts are counted separately."""
        policy = self._policy()
        failure = self._failure(batch, batch.attempt - 1, error, delay_seconds(policy, 1))
        await self._tell(self.host.fail(failure._replace(cap_seconds=policy.cap_seconds)))
        self.is_held = False

    def _policy(self) -> Retry:
        """A policy that raises must not keep a failure from being counted."""
        try:
            return self.handler.policy()
        except Exception:
            log.exception("%s.policy() failed; using the defaults of the settings", self.handler.name)
            return Handler.policy()

    async def _dead_letter(self, batch: Batch, error: BaseException) -> Batch | None:
        log.error("request %d of %s goes to the dead letters: %s", batch.first, batch.tube, describe(error))
        if not await self._tell(self.host.fail(self._failure(batch, batch.attempt, error, None))):
            return self._next(Settled(is_lost=True), 0)
        self.host.unreserve(self._reserved)
        self._reserved = 0
        wanted = self.host.reserve()
        settlement = Settlement(self.lease, wanted=wanted, release=wanted == 0, call=self._call_number())
        return self._next(await self._settle_as(settlement), wanted)

    def _failure(self, batch: Batch, attempt: int, error: BaseException, delay: float | None) -> Failure:
        said, where, number = describe(error), traceback_of(error), self._call_number()
        return Failure(self.lease, batch.tube.priority, batch.first, attempt, said, delay, number, where)

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
        self.host.unreserve(self._reserved + wanted - handed)
        self._reserved = handed
        if settled.is_lost:
            self._note_loss("its fence was refused")
        if settled.is_released:
            self.is_held = False
        return settled.batch

    async def _linger(self) -> Batch | None:
        """
        Keep a drained thread for its next request, so that a trickle does not pay bind, start and stop each time.

        Not one that was released when its last requests were settled.
        """
        context.batch.set(None)
        if not self.is_held:
            return None
        leave_at = time.monotonic() + self.linger_seconds
        batch: Batch | None = None
        self.is_lingering = True
        self._leave_slot()
        self.host.drained()
        while self.is_held and not batch:
            await self._wait_to_wake(leave_at - time.monotonic())
            leaving, wanted = self.host.is_leaving() or time.monotonic() >= leave_at, self.host.reserve()
            settled = self._delivered() if wanted else None
            if not settled:
                release, number = leaving or wanted == 0, self._call_number()
                settled = await self._settle_as(Settlement(self.lease, wanted=wanted, release=release, call=number))
            batch = self._next(settled, wanted)
        self.is_lingering = False
        self.host.resumed()
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


def delay_seconds(policy: Retry, attempt: int) -> float:
    """Seconds that a thread waits after the failed *attempt* (from 1): exponential, less a random part."""
    full = min(policy.cap_seconds, policy.base_seconds * (1 << min(attempt - 1, 60)))
    return full * (1 - policy.jitter * random.random())  # noqa: S311 - spreads retries, no secret


def _set_context(batch: Batch, chunk: slice, report: Callable[[int, int | None, str], None]) -> None:
    messages = batch.messages[chunk] if chunk.stop - chunk.start < len(batch.messages) else batch.messages
    first = batch.first + chunk.start
    attempt = batch.attempt if chunk.start == 0 else 1
    sequences = range(first, first + len(messages))
    context.batch.set(context.Context(batch.lease, batch.tube, attempt, sequences, messages, report))
