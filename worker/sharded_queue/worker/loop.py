"""The worker: binds threads and runs handlers in a loop of bind → handle → settle → release."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from sharded_queue import tracing
from sharded_queue.coordinator import Arrival, Bound, Coordinator
from sharded_queue.errors import SettingsError, StorageUnavailable
from sharded_queue.handler import Handler, ageing_of, find, known, shards
from sharded_queue.lease import Lease, clock
from sharded_queue.printable import counted
from sharded_queue.queue.middleware import Middleware, around_calls, checked
from sharded_queue.queue.queue import Queue
from sharded_queue.settings import WORKER_NAME, settings
from sharded_queue.signals import heeded
from sharded_queue.state import About
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.tube import Shard
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.binder import Binder
from sharded_queue.worker.failures import policy_of
from sharded_queue.worker.introduction import Introduction
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.lease_renewer import LeaseRenewer
from sharded_queue.worker.lifespan import Lifespan, LifespanGuard
from sharded_queue.worker.lookout import Lookout
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.scheduler import Scheduler
from sharded_queue.worker.settlement_batcher import SettlementBatcher
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.suspects import Suspects
from sharded_queue.worker.task_pool import TaskPool
from sharded_queue.worker.telemetry import Telemetry
from sharded_queue.worker.turns import Turns
from sharded_queue.worker.wakeup import WakeupListener

log = logging.getLogger("sharded_queue")


@dataclass(slots=True)
class Stats:
    """What a worker has done since it was created. Counters only grow."""

    handled: int = 0
    batches: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    bound: int = 0
    lost: int = 0
    stepped_at: float = 0.0
    """Monotonic time of the last finished step of the loop, by which `/livez` knows that the loop moves."""
    latencies: dict[str, Latency] = field(default_factory=dict)
    """By name of handler; a handler without a thread so far is not in it."""


class Worker:
    """
    Serves threads of the handlers it knows: *handlers*, or all that this process defined.

    A worker binds up to `settings.worker_concurrency` threads at a time and handles each of them in order. Any number
    of workers may share a coordinator, or have one each.

    *middleware* is around each call of a handler; None: that of *queue*. *lifespan*: an async context manager, such as
    a function with `@asynccontextmanager`. It is entered before the first thread is bound, and left after the last
    `stop` of a handler, by the same task. Handlers get what it yields by `shared`.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        queue: Queue,
        *,
        handlers: Sequence[type[Handler] | str] | None = None,
        name: str | None = None,
        middleware: Sequence[Middleware] | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        """
        Raises:
            HandlerError: *middleware* has something else than instances of Middleware.
            HandlerNotFound: no handler of a name in *handlers* was defined in this process.
            SettingsError: *name* cannot be the name of a worker.
        """
        self.coordinator, self.queue = coordinator, queue
        self.call = around_calls(queue.middleware if middleware is None else checked(middleware))
        self._lifespan = LifespanGuard(lifespan)
        if name is not None and not re.fullmatch(WORKER_NAME, name):
            raise SettingsError(f"worker name {name!r} must be 1 to 200 characters without spaces and slashes")
        self.owner = f"{name or settings.worker_name}/{uuid4().hex[:8]}"
        self.stats = Stats()
        self._handlers = None if handlers is None else [find(h) if isinstance(h, str) else h for h in handlers]
        self._lanes: set[Lane] = set()
        self._lingering: set[Lane] = set()
        self._pool = TaskPool()
        self._renewer: LeaseRenewer
        self.slots, self.suspects = Slots(self._pool), Suspects(self)
        self._is_reopened = False
        self._settlements = SettlementBatcher(queue.storage, self._pool)
        self._scheduler = Scheduler(queue.storage, self.shards)
        self.telemetry = Telemetry(self, queue.storage, self.shards)
        self._stopping = self._draining = False
        self._changed = asyncio.Event()
        self.quota, self.fits = Quota(), BatchFits()
        self._introduction = Introduction(self._tries)
        self._cannot_start: dict[str, str] = {}
        """The error of each handler whose last start failed."""
        self.is_traced, self.clock = False, clock
        self._lookout = Lookout(coordinator)
        self._renew_binder()
        coordinator.attach(queue.storage)

    async def loop(self, limit: int | None = None) -> int:
        """
        Serve until stopped; returns the number of requests handled.

        With *limit*, returns once exactly *limit* requests were handled, or once this worker found nothing to serve
        for `worker_empty_limit × worker_empty_pause` seconds.

        Raises:
            ShardedQueueError: the lifespan could not begin, and no thread was bound; or it failed at its end.
        """
        handled_before = self.stats.handled
        async with self._lifespan as is_entered:
            if is_entered:
                self.stats.stepped_at = time.monotonic()
                await self._loop(limit)
        return self.stats.handled - handled_before

    async def _loop(self, limit: int | None) -> None:
        self.quota, self._draining = Quota(limit), False
        self.slots, self.suspects = Slots(self._pool), Suspects(self)
        self._renew_binder()
        lease, timeout = settings.coordinator_lease, settings.coordinator_timeout
        self._renewer = renewer = LeaseRenewer(
            self.coordinator, self._lanes.copy, lease, timeout, self.clock, self._introduction.due
        )
        wakeups = WakeupListener(self.coordinator, self.owner, self._deliver)
        async with renewer.running(), self._scheduler.running(), self.telemetry.running():
            try:
                await self._serve(wakeups)
            finally:
                await wakeups.close()
                await self._drain()
                await self._turns.close()
                await self.coordinator.leave(self.owner, self._introduction.taken_back())

    def _renew_binder(self) -> None:
        self._binder = Binder(self, self.coordinator, self._lookout, lambda: self._stopping or self.suspects.is_closed)
        self._turns = Turns(self._lookout, self.shards, self._binder.is_full)

    async def run(self, limit: int | None = None) -> int:
        """
        As `loop`, for a program of its own: SIGTERM and SIGINT stop the worker, and a second one aborts its batches.

        The process's own handlers of these signals are restored afterwards.

        Raises:
            ShardedQueueError: this is not the main OS thread, the only one that receives signals.
        """
        with heeded(self.heed):
            return await self.loop(limit)

    def heed(self, name: str) -> None:
        """React to the signal *name*, which asks the process to end."""
        threads = counted(len(self._lanes), "thread")
        if self._stopping:
            log.warning("%s again: aborting %s", name, threads)
            self.abort()
        else:
            log.info("%s: finishing what %s began", name, threads)
            self.stop()

    def stop(self) -> None:
        """Take nothing new, finish the running batches within `settings.worker_drain` seconds, release the threads."""
        self._stopping = True
        self.suspects.stop()
        self._changed.set()
        self._lifespan.give_up_entering()

    def abort(self) -> None:
        """Stop at once. Running batches are cancelled, and handled again by whichever worker binds their threads."""
        self.stop()
        for lane in self._lanes:
            lane.abort()

    @property
    def is_entering(self) -> bool:
        """Whether its lifespan has yet to begin."""
        return self._lifespan.is_entering

    @property
    def is_stopping(self) -> bool:
        """Whether it binds no more threads, because `stop` or `abort` was called."""
        return self._stopping

    @property
    def lanes(self) -> Collection[Lane]:
        """One lane for each thread that this worker holds."""
        return self._lanes

    def known_handlers(self) -> Mapping[str, type[Handler]]:
        """The handlers that it serves, by name."""
        return known() if self._handlers is None else {handler.name: handler for handler in self._handlers}

    async def _serve(self, wakeups: WakeupListener) -> None:
        """Poll for threads and wait for a reason to poll again, until stopped or done."""
        await self._verify()
        busy_at: float | None = None
        called: Sequence[Shard] | None = ()
        while not self._is_over():
            polls_all = called is not None and not self.quota.is_reserved
            if called is not None:
                await self._binder.poll(called)
            if self.busy() or busy_at is None:  # idle since the first look at the earliest, however long that took
                busy_at = time.monotonic()
            elif polls_all and self.quota.is_limited and time.monotonic() - busy_at >= settings.linger_seconds:
                return
            called = await self._idle(wakeups, busy_at)

    async def _verify(self) -> None:
        """Begin only on a storage that keeps its promises. One that does not answer may come back."""
        while not self._stopping:
            try:
                await self.queue.storage.verify()
                return
            except StorageUnavailable as error:
                log.warning("cannot begin: %s", error)
                await asyncio.sleep(settings.coordinator_delay)

    def _is_over(self) -> bool:
        return self._stopping or self.quota.is_used_up

    async def _idle(self, wakeups: WakeupListener, busy_at: float) -> Sequence[Shard] | None:
        """Wait for something to do; returns the shards to poll, () for all, or None: it is not time to poll."""
        self._changed.clear()
        if self._stopping:
            return None
        if self._binder.must_look() or self._is_reopened:
            self._is_reopened = False
            return ()
        till = self._binder.patience()
        if self.quota.is_limited:
            till = min(till, busy_at + settings.linger_seconds)
        shards = [] if self._binder.is_full() else self._binder.in_turn()
        called = await wakeups.wait(shards, self._changed, max(0.001, till - time.monotonic()))
        self.stats.stepped_at = time.monotonic()
        return called if called or self._binder.may_bind() or not self._changed.is_set() else None

    def _deliver(self, arrival: Arrival | None) -> None:
        """Wake the lane of a drained thread that got a request; None: any of them may have got one."""
        for lane in self._lanes:
            if arrival is None or lane.lease == arrival.lease:
                lane.wake(arrival)

    def _start(self, handler: type[Handler], batch: Batch, deadline: float) -> None:
        lane = Lane(self, handler, batch, deadline, settings.linger_seconds)
        self._lanes.add(lane)
        lane.start(self._pool, partial(self._finished, lane))

    def _finished(self, lane: Lane, error: BaseException | None) -> None:
        self._lanes.discard(lane)
        self._lingering.discard(lane)
        self.stats.lost += lane.is_lost
        self.suspects.notice()
        self._changed.set()
        if error is not None:
            log.error("serving %s ended with an error", lane.lease, exc_info=error)

    async def _drain(self) -> None:
        """Let running batches end within the grace period, then abort the rest."""
        self._draining = True
        self.slots.close()
        self.suspects.stop()
        for lane in self._lanes:
            lane.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.worker_drain):
                await self._all_finished()
        for lane in self._lanes:
            lane.abort()
        await self._all_finished()

    async def _all_finished(self) -> None:
        while self._lanes:
            self._changed.clear()
            await self._changed.wait()

    # What the binder asks of its worker (`binder.Host`).

    def shards(self) -> list[Shard]:
        return list(shards(dict(self.known_handlers())))

    def busy(self) -> int:
        return len(self._lanes) - len(self._lingering) - self.suspects.waiting

    def ageing_seconds(self, shard: Shard) -> float:
        handler = self.known_handlers().get(shard.handler)
        return ageing_of(handler) if handler else 0.0

    def batch_size(self, shard: Shard) -> int:
        return self.fits.size(self.known_handlers().get(shard.handler))

    def _tries(self, shard: Shard) -> int | None:
        handler = self.known_handlers().get(shard.handler)
        return policy_of(handler).limit if handler else None

    def introduce(self, shard: Shard) -> About | None:
        return self._introduction.due(shard)

    def serve(self, shard: Shard, bound: Bound, asked_at: float) -> None:
        self.stats.stepped_at = time.monotonic()
        self._scheduler.hear(shard, bound.occurs_seconds)
        if bound.batches:
            self.is_traced = tracing.is_on()
            handler, deadline = self.known_handlers()[shard.handler], self._renewer.deadline(asked_at)
            for batch in bound.batches:
                self._start(handler, batch, deadline)
            self.stats.bound += len(bound.batches)
            self._renewer.watch(deadline)

    def make_room(self) -> None:
        if len(self._lanes) > settings.worker_concurrency or self._binder.is_cordoned:
            for lane in self._lingering:
                lane.wake()

    # What lanes ask of their worker (`lane.Host`).

    def reserve(self, handler: type[Handler]) -> int:
        if self._stopping or self._draining or self._binder.is_cordoned:
            return 0
        return self.quota.reserve(self.fits.size(handler))

    def handled(self, count: int, seconds: float) -> None:
        self.stats.handled += count
        self.quota.note_handled(count)
        self.stats.batches += 1
        self.stats.busy_seconds += seconds

    def latency(self, handler: type[Handler]) -> Latency:
        return self.stats.latencies.get(handler.name) or self.stats.latencies.setdefault(handler.name, Latency())

    def failed(self, handler: type[Handler]) -> None:
        self.stats.failed += 1

    @property
    def is_measured(self) -> bool:
        return self.telemetry.is_on

    def called(self, handler: type[Handler], seconds: float, error: BaseException | None) -> None:
        self.telemetry.called(handler.name, seconds, error)

    def started(self, handler: type[Handler]) -> None:
        self._cannot_start.pop(handler.name, None)

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        before, self._cannot_start[handler.name] = self._cannot_start.get(handler.name), error
        return before == error

    def is_leaving(self) -> bool:
        crowded = len(self._lanes) > settings.worker_concurrency
        return self._stopping or self._draining or self._binder.others_wait or crowded

    async def must_yield(self, lease: Lease) -> bool:
        return self._binder.is_serving() and await self._turns.must_yield(lease.shard)

    def drained(self, lane: Lane) -> None:
        self._lingering.add(lane)
        self.suspects.notice()
        self._changed.set()

    def resumed(self, lane: Lane) -> None:
        self._lingering.discard(lane)

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        if len(self._lanes) == 1:  # no other lane to share a call with: this saves two rounds of the event loop
            return self._settle_alone(settlement)
        return self._settlements.settle(settlement)

    async def _settle_alone(self, settlement: Settlement) -> Settled:
        (settled,) = await self.queue.storage.settle([settlement])
        return settled

    async def fail(self, failure: Failure) -> bool:
        return await self.queue.storage.fail(failure)

    def bind_again(self) -> None:
        """A last try is over: bind again what others left."""
        self._is_reopened = True
        self._changed.set()

    async def isolate(self, lease: Lease, is_alone: bool, call: int) -> bool:
        return await self.coordinator.isolate(lease, is_alone, call)

    async def release(self, lease: Lease, delay_seconds: float = 0.0) -> None:
        try:
            await self.coordinator.release([lease], delay_seconds)
        except StorageUnavailable as error:
            log.warning("%s could not be released and will expire: %s", lease, error)
