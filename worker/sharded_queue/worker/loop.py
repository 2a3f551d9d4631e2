"""The worker: binds threads and runs handlers in a loop of bind → handle → settle → release."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from uuid import uuid4

from sharded_queue import tracing
from sharded_queue.coordinator import Bound, Coordinator
from sharded_queue.errors import SettingsError, StorageUnavailable
from sharded_queue.handler import Handler, Retry, ageing_of, find, known, linger_of, shards
from sharded_queue.lease import Lease, clock
from sharded_queue.printable import counted
from sharded_queue.queue.middleware import Middleware, around_calls, checked
from sharded_queue.queue.queue import Queue
from sharded_queue.settings import WORKER_NAME, settings
from sharded_queue.signals import heeded
from sharded_queue.state import About
from sharded_queue.storage import Storage
from sharded_queue.tube import Shard
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.binder import Binder
from sharded_queue.worker.failures import policy_of, stops
from sharded_queue.worker.introduction import Introduction
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.lane_state import LOST
from sharded_queue.worker.lanes import Lanes
from sharded_queue.worker.lease_renewer import LeaseRenewer
from sharded_queue.worker.ledger import Ledger
from sharded_queue.worker.lifespan import Lifespan, LifespanGuard
from sharded_queue.worker.lookout import Lookout
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.scheduler import Scheduler
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.suspects import Suspects
from sharded_queue.worker.tally import Stats, Tally
from sharded_queue.worker.task_pool import TaskPool
from sharded_queue.worker.telemetry import Telemetry
from sharded_queue.worker.turns import Turns
from sharded_queue.worker.wakeup import WakeupListener

log = logging.getLogger("sharded_queue")


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
        chosen = queue.middleware if middleware is None else checked(middleware)
        self._lifespan = LifespanGuard(lifespan)
        if name is not None and not re.fullmatch(WORKER_NAME, name):
            raise SettingsError(f"worker name {name!r} must be 1 to 200 characters without spaces and slashes")
        self.owner = f"{name or settings.worker_name}/{uuid4().hex[:8]}"
        self.stats = Stats()
        self._handlers = None if handlers is None else [find(h) if isinstance(h, str) else h for h in handlers]
        self._changed = asyncio.Event()
        self._pool = TaskPool()
        self._lanes = Lanes(self._pool, self._changed, self._note_end)
        self._renewer: LeaseRenewer
        self._scheduler = Scheduler(queue.storage, self.shards)
        self.telemetry = Telemetry(self, queue.storage, self.shards)
        self._stopping = self._draining = self._is_reopened = False
        self.fits, self.clock = BatchFits(), clock
        self.tally = Tally(around_calls(chosen), self.fits, self.stats, self.telemetry)
        self.ledger = Ledger(queue.storage, coordinator, self._pool, self._lanes, self.fits, self._is_closed)
        self._introduction = Introduction(partial(_tries, self._handlers))
        self._stops = cache(partial(_stops, self._handlers))
        self._lookout = Lookout(coordinator)
        self._begin_anew()
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
        self.ledger.quota, self._draining = Quota(limit), False
        self._begin_anew()
        lease, timeout = settings.coordinator_lease, settings.coordinator_timeout
        self._renewer = renewer = LeaseRenewer(
            self.coordinator, self._lanes.copy, lease, timeout, self.clock, self._introduction.due
        )
        wakeups = WakeupListener(self.coordinator, self.owner, self._lanes.deliver)
        async with renewer.running(), self._scheduler.running(), self.telemetry.running():
            try:
                await self._serve(wakeups)
            finally:
                await wakeups.close()
                await self._drain()
                await self._turns.close()
                await self.coordinator.leave(self.owner, self._introduction.taken_back())

    def _begin_anew(self) -> None:
        """What lasts for one loop."""
        self.slots, self.suspects = Slots(self._pool), Suspects(self)
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
        self._lanes.abort()

    @property
    def is_entering(self) -> bool:
        """Whether its lifespan has yet to begin."""
        return self._lifespan.is_entering

    @property
    def is_stopping(self) -> bool:
        """Whether it binds no more threads, because `stop` or `abort` was called."""
        return self._stopping

    @property
    def quota(self) -> Quota:
        """How many requests the loop may still take."""
        return self.ledger.quota

    @property
    def lanes(self) -> Collection[Lane]:
        """One lane for each thread that this worker holds."""
        return self._lanes

    def known_handlers(self) -> Mapping[str, type[Handler]]:
        """The handlers that it serves, by name."""
        return _named(self._handlers)

    async def _serve(self, wakeups: WakeupListener) -> None:
        """Poll for threads and wait for a reason to poll again, until stopped or done."""
        await _verify(self.queue.storage, lambda: self._stopping)
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

    def _note_end(self, lane: Lane) -> None:
        self.stats.lost += lane.state is LOST
        self.suspects.notice()

    async def _drain(self) -> None:
        self._draining = True
        self.slots.close()
        self.suspects.stop()
        await self._lanes.drain(settings.worker_drain)

    def _is_closed(self) -> bool:
        """Whether it takes nothing new."""
        return self._stopping or self._draining or self._binder.is_cordoned

    # What the binder asks of its worker (`binder.Host`).

    def shards(self) -> list[Shard]:
        return list(shards(dict(self.known_handlers())))

    def busy(self) -> int:
        return len(self._lanes) - self._lanes.lingering - self.suspects.waiting

    def ageing_seconds(self, shard: Shard) -> float:
        handler = self.known_handlers().get(shard.handler)
        return ageing_of(handler) if handler else 0.0

    def batch_size(self, shard: Shard) -> int:
        return self.fits.size(self.known_handlers().get(shard.handler))

    def stops_exhausted(self, shard: Shard) -> bool:
        return self._stops(shard)

    def introduce(self, shard: Shard) -> About | None:
        return self._introduction.due(shard)

    def serve(self, shard: Shard, bound: Bound, asked_at: float) -> None:
        self.stats.stepped_at = time.monotonic()
        self._scheduler.hear(shard, bound.occurs_seconds)
        if bound.batches:
            self.tally.is_traced = tracing.is_on()
            handler, deadline = self.known_handlers()[shard.handler], self._renewer.deadline(asked_at)
            for batch in bound.batches:
                self._lanes.start(Lane(self, handler, batch, deadline, linger_of(handler)))
            self.stats.bound += len(bound.batches)
            self._renewer.watch(deadline)

    def make_room(self) -> None:
        if self._lanes.is_crowded or self._binder.is_cordoned:
            self._lanes.wake_lingering()

    # What lanes ask of their worker (`lane.Host`).

    def is_leaving(self) -> bool:
        return self._stopping or self._draining or self._binder.others_wait or self._lanes.is_crowded

    async def must_yield(self, lease: Lease) -> bool:
        return self._binder.is_serving() and await self._turns.must_yield(lease.shard)

    def drained(self, lane: Lane) -> None:
        self._lanes.note_drained(lane)
        self.suspects.notice()

    def resumed(self, lane: Lane) -> None:
        self._lanes.note_resumed(lane)

    def bind_again(self) -> None:
        """A last try is over: bind again what others left."""
        self._is_reopened = True
        self._changed.set()


def _named(handlers: Sequence[type[Handler]] | None) -> Mapping[str, type[Handler]]:
    return known() if handlers is None else {handler.name: handler for handler in handlers}


def _policy(handlers: Sequence[type[Handler]] | None, shard: Shard) -> Retry | None:
    """It is asked in an OS thread that outlives the worker for a moment, and must not keep it."""
    handler = _named(handlers).get(shard.handler)
    return policy_of(handler) if handler else None


def _stops(handlers: Sequence[type[Handler]] | None, shard: Shard) -> bool:
    """Whether a request that used up its tries stops its thread."""
    policy = _policy(handlers, shard)
    return policy is not None and stops(policy)


def _tries(handlers: Sequence[type[Handler]] | None, shard: Shard) -> int | None:
    """Of a request."""
    policy = _policy(handlers, shard)
    return policy.limit if policy else None


async def _verify(storage: Storage, is_stopping: Callable[[], bool]) -> None:
    """Begin only on a storage that keeps its promises. One that does not answer may come back."""
    while not is_stopping():
        try:
            await storage.verify()
            return
        except StorageUnavailable as error:
            log.warning("cannot begin: %s", error)
            await asyncio.sleep(settings.coordinator_delay)
