"""The calls of one lane's handler: its start, one batch after the other, and its stop."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, Protocol, TypeVar

from sharded_queue import context, tracing
from sharded_queue.coordinator import PartDone
from sharded_queue.errors import describe
from sharded_queue.handler import Handler
from sharded_queue.lease import Lease
from sharded_queue.outcomes import Snooze, cause_of
from sharded_queue.serializer import unpack
from sharded_queue.settings import settings
from sharded_queue.state import Report
from sharded_queue.storage import Batch
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.failures import FAILURES, log_failure
from sharded_queue.worker.latency import Latency

log = logging.getLogger("sharded_queue")
T = TypeVar("T")


class Host(Protocol):
    """What calls of a handler need of their worker."""

    is_traced: bool
    """Whether to trace calls of handlers."""

    @property
    def is_measured(self) -> bool:
        """Whether to report calls of handlers by `called`."""

    call: Callable[[Handler, Sequence[Any]], Awaitable[None]]
    """Calls a handler with a batch, through the middleware if there is any."""

    fits: BatchFits
    """How many requests a call of a handler may have."""

    def latency(self, handler: type[Handler]) -> Latency: ...

    def handled(self, count: int, seconds: float) -> None: ...

    def failed(self, handler: type[Handler]) -> None: ...

    def started(self, handler: type[Handler]) -> None: ...

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        """Whether the last start of *handler* failed with the same error."""

    def called(self, handler: type[Handler], seconds: float, error: BaseException | None) -> None:
        """A call of *handler* has ended."""


class Called(NamedTuple):
    """What came of a call: what it raised, if anything, its time, and how many of its requests it reported done."""

    error: BaseException | None = None
    seconds: float = 0.0
    done: int = 0


class Done:
    """How many of the first requests of a call are handled, whatever becomes of the call. It only grows."""

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def note(self, count: int) -> None:
        with self._lock:  # several OS threads of a handler may report at once
            self.count = max(self.count, count)


class Running(NamedTuple):
    """A call of the first *requests* of a batch."""

    batch: Batch
    requests: int
    done: Done


class HandlerCalls:
    """Calls the handler of a lane, and knows what is to be known of the call that runs."""

    __slots__ = (
        "_handed_ms",
        "_handler",
        "_host",
        "_latency",
        "_lease",
        "_running",
        "cut",
        "is_cut",
        "known_error",
        "report",
        "since",
    )

    def __init__(self, host: Host, handler: type[Handler], lease: Lease) -> None:
        self._host, self._handler, self._lease = host, handler, lease
        self._latency, self._handed_ms = host.latency(handler), 0
        self._running: Running | None = None
        self.since: float | None = None
        """Monotonic time at which the running call of one of the handler's methods began."""
        self.report: Report | None = None
        """What the handler last reported of its batch. Renewals read it in an OS thread of their own."""
        self.known_error: str | None = None
        """What the handler raised on a batch that is handled one by one since."""
        self.is_cut = False
        """Whether the running call is to end, and no other one begins."""
        self.cut: Called | None = None
        """The call that was cut off, if one ran."""

    @property
    def part_done(self) -> PartDone | None:
        """
        What the running call reported done, but for its last request: the end of the call settles that. Renewals read
        it in an OS thread of their own.
        """
        if not (running := self._running) or not (count := min(running.done.count, running.requests - 1)):
            return None
        return PartDone(running.batch.tube.priority, running.batch.first, running.batch.first + count - 1)

    async def start(self) -> Handler:
        """
        Raises:
            one of FAILURES: the handler cannot start. The log has it.
        """
        try:
            self._handler.serializer()
            handler = await self._limit(self._make()) if self._handler.has_lifecycle else self._handler()
        except FAILURES as error:
            if not self.is_cancelled(error):
                self._log_failed_start(error)
            raise
        self._host.started(self._handler)
        return handler

    async def _make(self) -> Handler:
        handler = await self._handler.create()
        await handler.start()
        return handler

    def _log_failed_start(self, error: BaseException) -> None:
        self._host.failed(self._handler)
        said, name = describe(error), self._handler.name
        trace = None if self._host.is_known_failure(self._handler, said) else error
        log.error("%s cannot start on thread %s: %s", name, self._lease.thread, said, exc_info=trace)

    async def perform(self, handler: Handler, batch: Batch, requests: list[Any]) -> Called:
        """Call the handler with *requests*, the first ones of the batch."""
        self._handed_ms, self.report = time.time_ns() // 1_000_000, None
        handled = Done()
        self._running = Running(batch, len(requests), handled)
        _set_context(batch, len(requests), partial(self._note_report, batch.first), handled.note)
        failure: BaseException | None = None
        began = self.since = time.monotonic()
        try:
            if not self._host.is_traced:
                await self._host.call(handler, requests)
            else:
                await self._call_traced(handler, requests)
        except FAILURES as error:
            if self.is_cancelled(error):
                self.cut = Called(error, time.monotonic() - began, handled.count)
                raise
            failure = error
        finally:
            seconds, self.since, self._running = time.monotonic() - began, None, None
        self._note(len(requests), seconds, failure)
        is_handled = handled.count == len(requests)  # whatever it raised afterwards
        return Called(None if is_handled else failure, seconds, handled.count)

    async def _call_traced(self, handler: Handler, requests: list[Any]) -> None:
        owner, headers = self._lease.owner, (unpack(message).headers for message in context.current().messages)
        with tracing.handling(self._handler.name, self._lease.thread, owner, headers, len(requests)):
            await self._host.call(handler, requests)

    def _note(self, count: int, seconds: float, failure: BaseException | None) -> None:
        self._latency.calls.add(seconds * 1000)
        if self._handler.timeout_seconds is not None:
            self._host.fits.note(self._handler, count, seconds, failure)
        if self._host.is_measured:
            self._host.called(self._handler, seconds, failure)
        if failure is not None and not isinstance(cause_of(failure), Snooze):
            log_failure(self._handler, self._lease, count, failure, self.known_error)
            self._host.failed(self._handler)

    def _note_report(self, first: int, done: int, of: int | None, note: str) -> None:
        self.report = Report(first, done, of, note)

    def note_handled(self, batch: Batch, done: int, seconds: float) -> None:
        """
        The first *done* requests of the batch are settled. Those behind a failed one are handed out again, and would
        count twice if they counted before.
        """
        self._host.handled(done, seconds)
        self.note_waits(batch.messages[int(batch.attempt > 1) : done])

    def note_waits(self, messages: Sequence[bytes]) -> None:
        """*messages* were handed out for the first time by the last call."""
        self._latency.waits.add_waits(messages, self._handed_ms)

    async def stop(self, handler: Handler) -> None:
        context.batch.set(None)
        try:
            await self._limit(handler.stop())
        except FAILURES:
            log.exception("%s failed to stop on thread %s", self._handler.name, self._lease.thread)

    async def _limit(self, step: Awaitable[T]) -> T:
        """
        Raises:
            TimeoutError: the handler hung. `create`, `start` and `stop` may take as long as one batch.
        """
        self.since = time.monotonic()
        try:
            async with asyncio.timeout(settings.coordinator_timeout):
                return await step
        finally:
            self.since = None

    def is_cancelled(self, error: BaseException) -> bool:
        """
        Whether the lane itself is being cancelled. A handler may also await something that was cancelled, or have its
        task cancelled by what it opened in `start`, such as a TaskGroup or a timeout.
        """
        if self.is_cut or self._handler.has_lifecycle:
            return self.is_cut and isinstance(error, asyncio.CancelledError)
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _set_context(
    batch: Batch, count: int, report: Callable[[int, int | None, str], None], note_done: Callable[[int], None]
) -> None:
    messages = batch.messages if count == len(batch.messages) else batch.messages[:count]
    sequences = range(batch.first, batch.first + count)
    context.batch.set(context.Context(batch.lease, batch.tube, batch.attempt, sequences, messages, report, note_done))
