"""The worker: binds threads and runs handlers in a loop of bind → handle → settle → release."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from uuid import uuid4

from sharded_queue import tracing
from sharded_queue.coordinator import Arrival, BindRequest, Bound, Coordinator
from sharded_queue.errors import SettingsError, StorageUnavailable
from sharded_queue.handler import Handler, find, known, shards
from sharded_queue.lease import Lease, clock
from sharded_queue.printable import counted
from sharded_queue.queue.middleware import Middleware, around_calls, checked
from sharded_queue.queue.queue import Queue
from sharded_queue.settings import WORKER_NAME, settings
from sharded_queue.signals import heeded
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.tube import Shard
from sharded_queue.worker.batch_fit import BatchFits
from sharded_queue.worker.introduction import Introduction
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.lease_renewer import LeaseRenewer
from sharded_queue.worker.lifespan import Lifespan, LifespanGuard
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.scheduler import Scheduler
from sharded_queue.worker.settlement_batcher import SettlementBatcher
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.task_pool import TaskPool
from sharded_queue.worker.telemetry import Telemetry
from sharded_queue.worker.wakeup import POLL_BACKOFF, WakeupListener

log = logging.getLogger("sharded_queue")
CORDONED_SECONDS = 1.0
"""How long a cordoned worker waits before it polls again, to learn whether it still is cordoned."""
BOUND_AT_ONCE = 32
"""Threads of one bind at most: few enough that handlers start soon, many enough to share the round trip."""
CHECKS_PER_LEASE = 1.5
"""
How often an idle worker asks when the next thread becomes free. Another worker may bind a thread after the last poll
and crash; asking this often finds that lease before it ends.
"""


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
        self.slots = Slots(self._pool)
        self._settlements = SettlementBatcher(queue.storage, self._pool)
        self._scheduler = Scheduler(queue.storage, self._shards)
        self.telemetry = Telemetry(self, queue.storage, self._shards)
        self._stopping = self._draining = False
        self._changed = asyncio.Event()
        self._others_wait = self._many_wait = False
        self.quota, self.fits = Quota(), BatchFits()
        self._introduction = Introduction()
        self._cordoned_until = 0.0
        self._first_shard = 0
        self._poll_at, self._free_at, self._asked_at = 0.0, inf, -inf
        self._cannot_start: dict[str, str] = {}
        """The error of each handler whose last start failed."""
        self.is_traced, self.clock = False, clock
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
        self.quota, self._draining, self.slots = Quota(limit), False, Slots(self._pool)
        lease, timeout = settings.coordinator_lease, settings.coordinator_timeout
        renewer = LeaseRenewer(self.coordinator, self._lanes.copy, lease, timeout, self.clock, self._introduction.due)
        wakeups = WakeupListener(self.coordinator, self.owner, self._deliver)
        async with renewer.running(), self._scheduler.running(), self.telemetry.running():
            try:
                await self._serve(renewer, wakeups)
            finally:
                await wakeups.close()
                await self._drain()
                await self.coordinator.leave(self.owner, self._introduction.taken_back())

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

    async def _serve(self, renewer: LeaseRenewer, wakeups: WakeupListener) -> None:
        """Poll for threads and wait for a reason to poll again, until stopped or done."""
        await self._verify()
        quiet = 0
        busy_at: float | None = None
        is_time_to_poll = True
        while not self._is_over():
            polls_all = is_time_to_poll and not self.quota.is_reserved
            if is_time_to_poll:
                lanes_before = len(self._lanes)
                await self._poll(renewer)
                quiet = 0 if len(self._lanes) > lanes_before else quiet + 1
                self._poll_at = time.monotonic() + self._longest_pause(quiet)
            if self._busy() or busy_at is None:  # idle since the first look at the earliest, however long that took
                busy_at = time.monotonic()
            elif polls_all and self.quota.is_limited and time.monotonic() - busy_at >= settings.linger_seconds:
                return
            is_time_to_poll = await self._idle(wakeups, self._patience(busy_at))

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

    def _busy(self) -> int:
        return len(self._lanes) - len(self._lingering)

    def _room(self) -> int:
        """How many threads to bind now; under a limit, no more than the requests that are left."""
        return self.quota.threads(0 if self._is_leaving_shards() else settings.worker_concurrency - self._busy())

    def _room_ahead(self) -> int:
        """How many threads to bind beyond the room; none under a limit, as each takes a part of what is left."""
        if self.quota.is_limited or self._is_leaving_shards():
            return 0
        return self.slots.ahead() - max(0, self._busy() - settings.worker_concurrency)

    def _is_leaving_shards(self) -> bool:
        return self._stopping or time.monotonic() < self._cordoned_until

    def _may_bind(self) -> bool:
        """Whether to bind some of the threads that the last poll left behind: at best, many by one command."""
        if self._others_wait and self._room() > 0:
            return True
        return self._many_wait and 0 < self.slots.ahead() <= 2 * self._room_ahead()

    def _longest_pause(self, quiet: int) -> float:
        """Seconds until an idle worker polls without a wake-up, after *quiet* polls in a row found nothing."""
        return settings.coordinator_delay * min(1 << min(quiet, 10), POLL_BACKOFF * max(1, len(self._shards())))

    def _patience(self, busy_at: float) -> float:
        """How long to wait for a wake-up: until something is due, or until it is time to ask what is."""
        due = [self._poll_at]
        if self._room() > 0:
            due += [self._free_at + 0.001, self._asked_at + settings.coordinator_lease / CHECKS_PER_LEASE]
        if time.monotonic() < self._cordoned_until:
            due.append(self._cordoned_until)
        if self.quota.is_limited:
            due.append(busy_at + settings.linger_seconds)
        return max(0.001, min(due) - time.monotonic())

    async def _idle(self, wakeups: WakeupListener, seconds: float) -> bool:
        """Wait for something to do; returns whether it is time to poll for threads."""
        self._changed.clear()
        if self._stopping:
            return False
        is_woken = await wakeups.wait(self._shards() if self._room() > 0 else [], self._changed, seconds)
        self.stats.stepped_at = time.monotonic()
        if is_woken or self._may_bind():
            return True
        return not self._changed.is_set() and await self._is_time_to_poll()

    def _deliver(self, arrival: Arrival | None) -> None:
        """Wake the lane of a drained thread that got a request; None: any of them may have got one."""
        for lane in self._lanes:
            if arrival is None or lane.lease == arrival.lease:
                lane.wake(arrival)

    async def _is_time_to_poll(self) -> bool:
        """No wake-up came: whether a thread is free now, or may be for all that the worker knows."""
        if self.quota.is_limited or self._room() <= 0 or time.monotonic() >= self._poll_at:
            return True
        self._asked_at = time.monotonic()
        try:
            free_in = await self.coordinator.free_in(self._shards())
        except StorageUnavailable:  # the poll will log what is wrong
            return True
        self._free_at = inf if free_in is None else time.monotonic() + free_in
        return free_in == 0

    async def _poll(self, renewer: LeaseRenewer) -> None:
        """Fill the room with threads, and note when the next one becomes free by itself, if that is known."""
        moments: list[float] = []
        shards = self._shards()
        if self._room() > 0:
            self._asked_at = time.monotonic()
        self._first_shard += 1
        self._others_wait = self._many_wait = False
        for place in range(len(shards)):
            shard = shards[(self._first_shard + place) % len(shards)]
            # A shard that was not polled may have work, and so may a shard for which a limit left no room.
            self._others_wait |= self._room() <= 0 and (place > 0 or self.quota.is_limited)
            moments += await self._fill(shard, renewer)
        self._make_room()
        self._free_at = time.monotonic() + min(moments, default=inf)

    async def _fill(self, shard: Shard, renewer: LeaseRenewer) -> list[float]:
        """
        Bind threads in parts: while Redis binds one part, the threads of the part before are handled.

        Room that is freed meanwhile is left to the next poll, so that no shard keeps out the others.
        """
        moments, left = [], max(0, self._room()) + max(0, self._room_ahead())
        while (part := min(left, max(0, self._room()) + self._room_ahead(), BOUND_AT_ONCE)) > 0:
            bound = await self._bind(shard, part, renewer)
            if bound.next_seconds is not None:
                moments.append(bound.next_seconds)
            self._others_wait |= bound.others_wait
            left -= part
            if len(bound.batches) < part:
                break
            self._many_wait |= bound.others_wait
        return moments

    async def _bind(self, shard: Shard, threads: int, renewer: LeaseRenewer) -> Bound:
        """Bind *threads* threads, those beyond the room ahead."""
        room = min(threads, max(0, self._room()))
        most = self.fits.size(self.known_handlers().get(shard.handler))
        wanted, asked_at = self.quota.reserve_each(most, threads), self.clock()
        bound = Bound([])
        try:
            lease_seconds, ageing_seconds = settings.coordinator_lease, self._ageing_seconds(shard)
            about = self._introduction.due(shard)
            request = BindRequest(self.owner, room, wanted, lease_seconds, ageing_seconds, about, threads - room)
            bound = await self.coordinator.bind(shard, request)
            self._scheduler.hear(shard, bound.occurs_seconds)
        except StorageUnavailable as error:
            log.warning("cannot poll for threads of %s: %s", shard.tag, error)
            await asyncio.sleep(settings.coordinator_delay)
        self.quota.give_back(wanted * threads - sum(len(batch.messages) for batch in bound.batches))
        if bound.is_cordoned:  # no listening either: wake-ups are for workers that may bind
            self._cordoned_until = time.monotonic() + CORDONED_SECONDS
        if bound.batches:
            self.is_traced = tracing.is_on()
            handler, deadline = self.known_handlers()[shard.handler], renewer.deadline(asked_at)
            for batch in bound.batches:
                self._start(handler, batch, deadline)
            self.stats.bound += len(bound.batches)
            renewer.watch(deadline)
        self.stats.stepped_at = time.monotonic()
        return bound

    def _ageing_seconds(self, shard: Shard) -> float:
        handler = self.known_handlers().get(shard.handler)
        return handler.ageing_seconds if handler else 0.0

    def _start(self, handler: type[Handler], batch: Batch, deadline: float) -> None:
        lane = Lane(self, handler, batch, deadline, settings.linger_seconds)
        self._lanes.add(lane)
        lane.start(self._pool, partial(self._finished, lane))

    def _finished(self, lane: Lane, error: BaseException | None) -> None:
        self._lanes.discard(lane)
        self._lingering.discard(lane)
        self.stats.lost += lane.is_lost
        self._changed.set()
        if error is not None:
            log.error("serving %s ended with an error", lane.lease, exc_info=error)

    def _make_room(self) -> None:
        """Have lanes that linger leave, where new threads were bound in their place."""
        if len(self._lanes) > settings.worker_concurrency:
            for lane in self._lingering:
                lane.wake()

    def _shards(self) -> list[Shard]:
        return list(shards(dict(self.known_handlers())))

    async def _drain(self) -> None:
        """Let running batches end within the grace period, then abort the rest."""
        self._draining = True
        self.slots.close()
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

    # What lanes ask of their worker (`lane.Host`).

    def reserve(self, handler: type[Handler]) -> int:
        if self._stopping or self._draining:
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
        return self._stopping or self._draining or self._others_wait or crowded

    def drained(self, lane: Lane) -> None:
        self._lingering.add(lane)
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

    async def release(self, lease: Lease) -> None:
        try:
            await self.coordinator.release([lease])
        except StorageUnavailable as error:
            log.warning("%s could not be released and will expire: %s", lease, error)
