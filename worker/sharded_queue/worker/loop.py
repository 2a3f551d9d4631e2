"""The process that binds threads and runs handlers: bind → handle → settle → release."""

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
from sharded_queue.coordinator import Bound, Coordinator
from sharded_queue.errors import SettingsError, StorageUnavailable
from sharded_queue.handler import Handler, find, known, shards
from sharded_queue.lease import Lease, clock
from sharded_queue.printable import counted
from sharded_queue.queue.queue import Queue
from sharded_queue.settings import WORKER_NAME, settings
from sharded_queue.signals import heeded
from sharded_queue.storage import Batch, Failure, Settled, Settlement
from sharded_queue.tube import Shard
from sharded_queue.worker.lane import Lane
from sharded_queue.worker.latency import Latency
from sharded_queue.worker.lease_renewer import Renewer
from sharded_queue.worker.scheduler import Scheduler
from sharded_queue.worker.settlement_batcher import Exchange
from sharded_queue.worker.task_pool import Crew

log = logging.getLogger("sharded_queue")
DISMISSED_SECONDS = 1.0
"""How long a worker that is about to be stopped waits before it asks whether it still is."""
BOUND_AT_ONCE = 32
"""Threads of one bind at most: few enough that handlers need not wait for long, many enough to share its round trip."""
HANG_UP_SECONDS = 1.0
"""How long a worker that has no room waits for Redis to end its wait for calls, before it closes the connection."""
CHECKS_PER_LEASE = 1.5
"""
How often an idle worker asks when something becomes free: another worker may have bound a thread since it looked, and
crash. A lease that began since is then known before it ends.
"""
LONGEST_LOOK = 4
"""An idle worker's looks grow to so many times `coordinator_delay` apart: two commands each, below one a second."""


@dataclass(slots=True)
class Stats:
    """What a worker has done since it was made; counters only grow."""

    handled: int = 0
    batches: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    bound: int = 0
    lost: int = 0
    looked_at: float = 0.0
    """Monotonic time of the last finished step of the loop: how `/livez` knows that it moves."""
    latencies: dict[str, Latency] = field(default_factory=dict)
    """By names of handlers; one that has had no thread yet is not in it."""


class Worker:
    """
    Serves threads of the handlers it knows: *handlers*, or all that this process defined.

    It binds up to `settings.worker_concurrency` threads at a time and handles each of them in order. Any number of
    workers may share a coordinator, or have one each.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        queue: Queue,
        *,
        handlers: Sequence[type[Handler] | str] | None = None,
        name: str | None = None,
    ) -> None:
        self.coordinator, self.queue = coordinator, queue
        if name is not None and not re.fullmatch(WORKER_NAME, name):
            raise SettingsError(f"worker name {name!r} must be 1 to 200 characters without spaces and slashes")
        self.owner = f"{name or settings.worker_name}/{uuid4().hex[:8]}"
        self.stats = Stats()
        self._handlers = None if handlers is None else [find(h) if isinstance(h, str) else h for h in handlers]
        self._lanes: set[Lane] = set()
        self._crew = Crew()
        self._exchange = Exchange(queue.storage, self._crew)
        self._scheduler = Scheduler(queue.storage, self._shards)
        self._stopping = self._draining = False
        self._changed = asyncio.Event()
        self._others_wait = False
        self._remaining: int | None = None
        self._dismissed_until = 0.0
        self._enough: int | None = None
        self._first_shard = 0
        self._look_at, self._free_at, self._asked_at = 0.0, inf, -inf
        self._cannot_start: dict[str, str] = {}
        """Why a handler could not start the last time; a handler that starts is not in it."""
        self.is_traced, self.clock = False, clock
        coordinator.attach(queue.storage)

    async def loop(self, limit: int | None = None) -> int:
        """
        Serve until stopped; returns the number of requests handled.

        With *limit*, returns once exactly so many requests were handled, or when nothing that this worker could serve
        was left for `worker_empty_limit × worker_empty_pause` seconds.
        """
        handled_before, self._remaining, self._draining = self.stats.handled, limit, False
        self._enough = None if limit is None else handled_before + limit
        lease, timeout = settings.coordinator_lease, settings.coordinator_timeout
        renewer = Renewer(self.coordinator, self._lanes.copy, lease, timeout, self.clock)
        bell = Bell(self.coordinator, self.owner)
        async with renewer.running(), self._scheduler.running():
            try:
                await self._serve(renewer, bell)
            finally:
                await bell.close()
                await self._drain()
        return self.stats.handled - handled_before

    async def run(self, limit: int | None = None) -> int:
        """
        As `loop`, for a program of its own: SIGTERM and SIGINT stop the worker, a second one gives its batches up.

        What the process did on these signals before, it does again afterwards.

        Raises:
            ShardedQueueError: this is not the main OS thread, which alone hears signals.
        """
        with heeded(self.heed):
            return await self.loop(limit)

    def heed(self, name: str) -> None:
        """The process was told to end by the signal *name*."""
        threads = counted(len(self._lanes), "thread")
        if self._stopping:
            log.warning("%s again: giving up %s", name, threads)
            self.give_up()
        else:
            log.info("%s: finishing what %s began", name, threads)
            self.stop()

    def stop(self) -> None:
        """Take nothing new, finish the running batches within `settings.worker_drain` seconds, release, return."""
        self._stopping = True
        self._changed.set()

    def give_up(self) -> None:
        """Stop at once: running batches are broken off, and handled again by whoever binds their threads next."""
        self.stop()
        for lane in self._lanes:
            lane.give_up()

    @property
    def lanes(self) -> Collection[Lane]:
        """The threads in the hands of this worker."""
        return self._lanes

    def known_handlers(self) -> Mapping[str, type[Handler]]:
        return known() if self._handlers is None else {handler.name: handler for handler in self._handlers}

    async def _serve(self, renewer: Renewer, bell: "Bell") -> None:
        """Look for threads, wait for a reason to look again, until told to stop or done."""
        await self._verify()
        quiet = 0
        busy_at: float | None = None
        is_time_to_look = True
        while not self._is_over():
            looks_for_all = is_time_to_look and not self._is_reserved()
            if is_time_to_look:
                lanes_before = len(self._lanes)
                await self._look(renewer)
                quiet = 0 if len(self._lanes) > lanes_before else quiet + 1
                self._look_at = time.monotonic() + self._longest_look(quiet)
            if self._busy() or busy_at is None:  # idle since the first look at the earliest, however long that took
                busy_at = time.monotonic()
            elif looks_for_all and self._enough is not None and time.monotonic() - busy_at >= settings.linger_seconds:
                return
            is_time_to_look = await self._idle(bell, self._patience(busy_at))

    async def _verify(self) -> None:
        """Begin only on a storage that keeps its promises; one that does not answer may come back."""
        while not self._stopping:
            try:
                await self.queue.storage.verify()
                return
            except StorageUnavailable as error:
                log.warning("cannot begin: %s", error)
                await asyncio.sleep(settings.coordinator_delay)

    def _is_over(self) -> bool:
        return self._stopping or self.stats.handled == self._enough

    def _is_reserved(self) -> bool:
        """Whether a lane, under a limit, has yet to hear whether its thread has what it reserved for it."""
        return self._enough is not None and self._remaining != self._enough - self.stats.handled

    def _busy(self) -> int:
        return sum(not lane.is_lingering for lane in self._lanes)

    def _room(self) -> int:
        """How many threads to bind now; under a limit no more than there are requests left to take."""
        is_leaving = self._stopping or time.monotonic() < self._dismissed_until
        room = 0 if is_leaving else settings.worker_concurrency - self._busy()
        return room if self._remaining is None else min(room, self._remaining)

    def _longest_look(self, quiet: int) -> float:
        """The safety net: until the next look of an idle worker, of which *quiet* looks found nothing."""
        return settings.coordinator_delay * min(1 << min(quiet, 10), LONGEST_LOOK * max(1, len(self._shards())))

    def _patience(self, busy_at: float) -> float:
        """How long to wait for a wake-up: until something is due, or it is to be asked what is."""
        due = [self._look_at]
        if self._room() > 0:
            due += [self._free_at + 0.001, self._asked_at + settings.coordinator_lease / CHECKS_PER_LEASE]
        if time.monotonic() < self._dismissed_until:
            due.append(self._dismissed_until)
        if self._remaining is not None:
            due.append(busy_at + settings.linger_seconds)
        return max(0.001, min(due) - time.monotonic())

    async def _idle(self, bell: "Bell", seconds: float) -> bool:
        """Wait for a reason to do something; whether it is one to look for threads."""
        self._changed.clear()
        if self._stopping:
            return False
        rung = await bell.wait(self._shards() if self._room() > 0 else [], self._changed, seconds)
        self.stats.looked_at = time.monotonic()
        if rung:
            for lane in self._lanes:
                lane.poke()
        if rung or (self._others_wait and self._room() > 0):
            return True
        return not self._changed.is_set() and await self._is_time_to_look()

    async def _is_time_to_look(self) -> bool:
        """Nothing called the worker: whether a thread is free now, or may be for all that is known."""
        if self._remaining is not None or self._room() <= 0 or time.monotonic() >= self._look_at:
            return True
        self._asked_at = time.monotonic()
        try:
            free_in = await self.coordinator.free_in(self._shards())
        except StorageUnavailable:  # the look will say what is wrong
            return True
        self._free_at = inf if free_in is None else time.monotonic() + free_in
        return free_in == 0

    async def _look(self, renewer: Renewer) -> None:
        """Fill the room with threads, and note when the next one may become free by itself, if that is known."""
        moments: list[float] = []
        shards = self._shards()
        if self._room() > 0:
            self._asked_at = time.monotonic()
        self._first_shard += 1
        self._others_wait = False
        for place in range(len(shards)):
            shard = shards[(self._first_shard + place) % len(shards)]
            # Nobody knows what waits in a shard not looked at; and what a limit left no room for may have some soon.
            self._others_wait |= self._room() <= 0 and (place > 0 or self._remaining is not None)
            moments += await self._fill(shard, renewer)
        self._make_room()
        self._free_at = time.monotonic() + min(moments, default=inf)

    async def _fill(self, shard: Shard, renewer: Renewer) -> list[float]:
        """
        Bind what there was room for, in parts: while Redis binds one part, the threads of the last one are handled.

        Threads that end meanwhile make room that is left to the next look, so that no shard keeps out the others.
        """
        moments, left = [], self._room()
        while (part := min(left, self._room(), BOUND_AT_ONCE)) > 0:
            bound = await self._bind(shard, part, renewer)
            if bound.next_seconds is not None:
                moments.append(bound.next_seconds)
            self._others_wait |= bound.others_wait
            left -= part
            if len(bound.batches) < part:
                break
        return moments

    async def _bind(self, shard: Shard, room: int, renewer: Renewer) -> Bound:
        wanted, asked_at = self._reserve_each(room), self.clock()
        bound = Bound([])
        try:
            bound = await self.coordinator.bind(
                shard, self.owner, room, wanted, settings.coordinator_lease, self._ageing_seconds(shard)
            )
            self._scheduler.hear(shard, bound.occurs_seconds)
        except StorageUnavailable as error:
            log.warning("cannot look for threads of %s: %s", shard.tag, error)
            await asyncio.sleep(settings.coordinator_delay)
        self.unreserve(wanted * room - sum(len(batch.messages) for batch in bound.batches))
        if bound.is_dismissed:  # it does not even listen, for calls are for those who may come
            self._dismissed_until = time.monotonic() + DISMISSED_SECONDS
        if bound.batches:
            self.is_traced = tracing.is_on()
            handler, deadline = self.known_handlers()[shard.handler], renewer.deadline(asked_at)
            for batch in bound.batches:
                self._start(handler, batch, deadline)
            renewer.watch(deadline)
        self.stats.looked_at = time.monotonic()
        return bound

    def _ageing_seconds(self, shard: Shard) -> float:
        handler = self.known_handlers().get(shard.handler)
        return handler.ageing_seconds if handler else 0.0

    def _reserve_each(self, threads: int) -> int:
        """Requests to take of each of so many threads, all of them reserved."""
        if self._remaining is None:
            return settings.worker_batch_size
        each = min(settings.worker_batch_size, self._remaining // threads)
        self._remaining -= each * threads
        return each

    def _start(self, handler: type[Handler], batch: Batch, deadline: float) -> None:
        lane = Lane(self, handler, batch, deadline, settings.linger_seconds)
        self._lanes.add(lane)
        self.stats.bound += 1
        lane.start(self._crew, partial(self._finished, lane))

    def _finished(self, lane: Lane, error: BaseException | None) -> None:
        self._lanes.discard(lane)
        self.stats.lost += lane.is_lost
        self._changed.set()
        if error:
            log.error("serving %s ended with an error", lane.lease, exc_info=error)

    def _make_room(self) -> None:
        """Drained threads make room for those that were just bound in their place."""
        if len(self._lanes) > settings.worker_concurrency:
            for lane in self._lanes:
                lane.poke()

    def _shards(self) -> list[Shard]:
        return list(shards(dict(self.known_handlers())))

    async def _drain(self) -> None:
        """Let running batches end within the grace, then give up those that did not."""
        self._draining = True
        for lane in self._lanes:
            lane.poke()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.worker_drain):
                await self._all_finished()
        for lane in self._lanes:
            lane.give_up()
        await self._all_finished()

    async def _all_finished(self) -> None:
        while self._lanes:
            self._changed.clear()
            await self._changed.wait()

    # What lanes ask for.

    def reserve(self) -> int:
        if self._stopping or self._draining:
            return 0
        if self._remaining is None:
            return settings.worker_batch_size
        count = min(settings.worker_batch_size, self._remaining)
        self._remaining -= count
        return count

    def unreserve(self, count: int) -> None:
        if self._remaining is not None:
            self._remaining += count

    def handled(self, count: int, seconds: float) -> None:
        self.stats.handled += count
        self.stats.batches += 1
        self.stats.busy_seconds += seconds

    def latency(self, handler: type[Handler]) -> Latency:
        return self.stats.latencies.get(handler.name) or self.stats.latencies.setdefault(handler.name, Latency())

    def failed(self, handler: type[Handler]) -> None:
        self.stats.failed += 1

    def started(self, handler: type[Handler]) -> None:
        self._cannot_start.pop(handler.name, None)

    def is_known_failure(self, handler: type[Handler], error: str) -> bool:
        before, self._cannot_start[handler.name] = self._cannot_start.get(handler.name), error
        return before == error

    def is_leaving(self) -> bool:
        crowded = len(self._lanes) > settings.worker_concurrency
        return self._stopping or self._draining or self._others_wait or crowded

    def drained(self) -> None:
        self._changed.set()

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        if len(self._lanes) == 1:  # with nobody to share a call with, two rounds of the event loop are saved
            return self._settle_alone(settlement)
        return self._exchange.settle(settlement)

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


class Bell:
    """
    One pending wait for the coordinator's call. It stays pending while the worker does other things: to give up a
    blocking command means to give up its connection, and perhaps a call.
    """

    def __init__(self, coordinator: Coordinator, owner: str) -> None:
        self._coordinator, self._owner = coordinator, owner
        self._waiting: asyncio.Task[Shard | None] | None = None
        self._shards: Sequence[Shard] = ()

    async def wait(self, shards: Sequence[Shard], changed: asyncio.Event, seconds: float) -> bool:
        """Wait until called about *shards*, until *changed* or for *seconds*; whether there was a call."""
        if not shards:
            await self.close()  # a call that nobody here has room for is meant for another worker
        elif not self._waiting:
            self._shards, longest = shards, settings.coordinator_delay * LONGEST_LOOK * len(shards)
            self._waiting = asyncio.create_task(self._coordinator.wait(shards, self._owner, longest))
        noticing = asyncio.create_task(changed.wait())
        await asyncio.wait(
            [noticing, self._waiting] if self._waiting else [noticing],
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        noticing.cancel()
        if self._waiting and self._waiting.done():
            self._waiting.result()
            self._waiting = None
            return True
        return False

    async def close(self) -> None:
        """Wait no longer; a call that came nevertheless is passed on."""
        waiting, self._waiting = self._waiting, None
        if waiting:
            await self._end(waiting)
            (called,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(called, Shard):
                await self._coordinator.call(called)

    async def _end(self, waiting: "asyncio.Task[Shard | None]") -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(HANG_UP_SECONDS):
                if not waiting.done() and await self._coordinator.hang_up(self._shards, self._owner):
                    await asyncio.wait([waiting])
        waiting.cancel()
