"""
Who may bind how many threads, and when: the one page that says it for a worker.

A wake-up names its shard, and only that one is polled. In all other cases the worker looks at all of its shards by one
command, and polls those that have something. They take turns: a poll begins after the shard that got the last thread,
so that a shard with a backlog cannot keep the room that another one needs. Now and then all shards are polled, whatever
the look says: so they learn of this worker, and it learns of its cordon.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from sharded_queue.coordinator import BindRequest, Bound, Coordinator, Outlook
from sharded_queue.errors import StorageUnavailable
from sharded_queue.settings import settings
from sharded_queue.state import About
from sharded_queue.tube import Shard
from sharded_queue.worker.lookout import Lookout
from sharded_queue.worker.quota import Quota
from sharded_queue.worker.slots import Slots
from sharded_queue.worker.wakeup import POLL_BACKOFF

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


class Host(Protocol):
    """What a binder needs of its worker."""

    owner: str
    slots: Slots
    clock: Callable[[], float]

    @property
    def quota(self) -> Quota: ...

    def shards(self) -> Sequence[Shard]:
        """The shards of its handlers."""

    def busy(self) -> int:
        """How many lanes have something to handle."""

    def ageing_seconds(self, shard: Shard) -> float:
        """How priorities age in threads of *shard*."""

    def stops_exhausted(self, shard: Shard) -> bool:
        """Whether a request of *shard* that used up its tries stops its thread."""

    def batch_size(self, shard: Shard) -> int:
        """How many requests of a thread of *shard* to ask for."""

    def introduce(self, shard: Shard) -> About | None:
        """What *shard* is to be told of the worker now."""

    def serve(self, shard: Shard, bound: Bound, asked_at: float) -> None:
        """Start a lane for each thread of an answer to a bind, which was asked for at *asked_at*."""

    def make_room(self) -> None:
        """Have lanes that linger leave, where new threads were bound in their place, or the worker is cordoned."""


class Binder:
    """Binds threads for one worker, in one `Worker.loop`. *is_stopping*: whether it takes nothing new."""

    def __init__(self, host: Host, coordinator: Coordinator, lookout: Lookout, is_stopping: Callable[[], bool]) -> None:
        self._host, self._coordinator, self._lookout, self._is_stopping = host, coordinator, lookout, is_stopping
        self._first = 0
        """Index of the shard at which the next poll begins."""
        self._behind: set[Shard] = set()
        """Shards that have more threads than the last poll had room for."""
        self._deep: set[Shard] = set()
        """Those that filled a bind, and have more."""
        self._moments: dict[Shard, float] = {}
        """Monotonic time at which the next thread of a shard becomes free by itself, if that is known."""
        self._was_full = False
        self._quiet = 0
        self._poll_at = self._poll_all_at = self._cordoned_until = 0.0
        self.is_cordoned = False
        """Whether the last bind was told so: the worker then hands its threads over, each after its batch."""
        self._asked = 0
        """How often a full or cordoned worker has asked for its cordon: its shards take turns."""
        self._asked_at = -inf

    @property
    def others_wait(self) -> bool:
        """Whether threads were left behind for lack of room."""
        return bool(self._behind)

    def room(self) -> int:
        """How many threads to bind now; under a limit, no more than the requests that are left."""
        room = 0 if self._is_leaving_shards() else settings.worker_concurrency - self._host.busy()
        return self._host.quota.threads(room)

    def is_full(self) -> bool:
        """Whether there is no room for another thread. Wake-ups that come meanwhile are for other workers."""
        is_full = self.room() <= 0
        self._was_full |= is_full
        return is_full

    def is_serving(self) -> bool:
        """Whether the worker would bind more threads, if it had room."""
        return not self._is_leaving_shards()

    def may_bind(self) -> bool:
        """Whether to bind some of the threads that polls left behind: at best, many by one command."""
        if self._behind and self.room() > 0:
            return True
        return bool(self._deep) and 0 < self._host.slots.ahead() <= 2 * self._room_ahead()

    def must_look(self) -> bool:
        """Whether there is room now, after a time without, in which other shards may have got requests."""
        return not self.is_full() and self._was_full and len(self._host.shards()) > 1

    def in_turn(self) -> list[Shard]:
        """The shards, those first that did not get the last thread."""
        shards = self._host.shards()
        first = self._first % max(1, len(shards))
        return [*shards[first:], *shards[:first]]

    def patience(self) -> float:
        """Monotonic time until which to wait for a wake-up: something is due, or it is time to ask what is."""
        due = [self._poll_at]
        if self.room() > 0:
            free_at = min(self._moments.values(), default=inf)
            due += [free_at + 0.001, self._asked_at + settings.coordinator_lease / CHECKS_PER_LEASE]
        if time.monotonic() < self._cordoned_until:
            due.append(self._cordoned_until)
        return min(due)

    async def poll(self, called: Sequence[Shard]) -> None:
        """Fill the room with threads of the only shard that *called*, or of any where none or several have."""
        is_due, bound = time.monotonic() >= self._poll_at, 0
        await self._ask_for_cordon(is_due)
        is_call = len(called) == 1 and not self._host.quota.is_limited
        for shard in called if is_call else await self._promising(is_due):
            if self._room_in_all() > 0:
                bound += await self._fill(shard)
            elif is_call:  # its wake-up is for a worker that has room
                await self._coordinator.notify(shard)
            else:
                self._behind.add(shard)
        self._host.make_room()
        if bound or is_due:
            self._quiet = 0 if bound else self._quiet + 1
            self._poll_at = time.monotonic() + self._longest_pause()

    async def _ask_for_cordon(self, is_due: bool) -> None:
        """A full worker binds nothing, and would not hear of its cordon; a cordoned one would not hear of its end."""
        must_ask = self.is_cordoned or (is_due and self._room_in_all() <= 0)
        shards = [] if self._host.quota.is_limited else self._host.shards()
        if shards and must_ask and time.monotonic() >= self._cordoned_until:
            self._asked += 1
            await self._bind(shards[self._asked % len(shards)], 0)

    async def _promising(self, is_due: bool) -> Sequence[Shard]:
        """Which shards to poll. Under a limit all of them: the worker ends when there is nothing left."""
        shards = self.in_turn()
        if self._room_in_all() > 0:
            self._was_full, self._asked_at = False, time.monotonic()
        elif not self._host.quota.is_limited:
            return ()
        if self._host.quota.is_limited or (len(shards) == 1 and (is_due or self._behind)):
            return shards
        found = await self._lookout.look(shards)
        if not found:  # polls tell what is wrong
            return shards
        self._note(found)
        if is_due and self._is_time_for_all():
            silent = [shard for shard in shards if shard not in found]
            return [shard for shard in shards if shard in found or shard in silent[:1]]  # that one tells what is wrong
        return [shard for shard in shards if shard in found and found[shard].is_promising]

    def _is_time_for_all(self) -> bool:
        now, shards = time.monotonic(), len(self._host.shards())
        is_time = now >= self._poll_all_at
        if is_time:
            self._poll_all_at = now + settings.coordinator_delay * POLL_BACKOFF * shards
        return is_time

    def _note(self, found: Mapping[Shard, Outlook]) -> None:
        """Forget what was known before, also of shards that did not answer: a poll of all tells of them."""
        waiting = {shard for shard, outlook in found.items() if outlook.waiting}
        self._behind &= waiting
        self._deep &= waiting
        self._moments.clear()
        for shard, outlook in found.items():
            self._note_moment(shard, outlook.next_seconds)

    def _note_moment(self, shard: Shard, seconds: float | None) -> None:
        self._moments[shard] = inf if seconds is None else time.monotonic() + seconds

    async def _fill(self, shard: Shard) -> int:
        """
        Bind threads in parts: while Redis binds one part, the threads of the part before are handled. Returns how many
        were bound.

        Room that is freed meanwhile is left to the next poll, so that no shard keeps out the others.
        """
        room = left = self._room_in_all()
        self._deep.discard(shard)
        while (part := min(left, max(0, self.room()) + self._room_ahead(), BOUND_AT_ONCE)) > 0:
            bound = await self._bind(shard, part)
            self._note_moment(shard, bound.next_seconds)
            (self._behind.add if bound.others_wait else self._behind.discard)(shard)
            left -= len(bound.batches)
            if len(bound.batches) < part:
                break
            if bound.others_wait:
                self._deep.add(shard)
        if left < room:
            self._first = self._host.shards().index(shard) + 1
        self.is_full()
        return room - left

    async def _bind(self, shard: Shard, threads: int) -> Bound:
        """Bind *threads* threads, those beyond the room ahead."""
        quota, room = self._host.quota, min(threads, max(0, self.room()))
        wanted, asked_at = quota.reserve_each(self._host.batch_size(shard), threads), self._host.clock()
        lease_seconds, ageing_seconds = settings.coordinator_lease, self._host.ageing_seconds(shard)
        about, bound = self._host.introduce(shard), Bound([])
        terms, stops = (lease_seconds, ageing_seconds, about), self._host.stops_exhausted(shard)
        request = BindRequest(self._host.owner, room, wanted, *terms, threads - room, stops)
        try:
            bound = await self._coordinator.bind(shard, request)
        except StorageUnavailable as error:
            log.warning("cannot poll for threads of %s: %s", shard.tag, error)
            await asyncio.sleep(settings.coordinator_delay)
        else:
            self._host.serve(shard, bound, asked_at)
            self.is_cordoned = bound.is_cordoned
        quota.give_back(wanted * threads - sum(len(batch.messages) for batch in bound.batches))
        if bound.is_cordoned:  # no listening either: wake-ups are for workers that may bind
            self._cordoned_until = time.monotonic() + CORDONED_SECONDS
        return bound

    def _room_in_all(self) -> int:
        return max(0, self.room()) + max(0, self._room_ahead())

    def _room_ahead(self) -> int:
        """How many threads to bind beyond the room; none under a limit, as each takes a part of what is left."""
        if self._host.quota.is_limited or self._is_leaving_shards():
            return 0
        return self._host.slots.ahead() - max(0, self._host.busy() - settings.worker_concurrency)

    def _is_leaving_shards(self) -> bool:
        return self._is_stopping() or time.monotonic() < self._cordoned_until

    def _longest_pause(self) -> float:
        """Seconds until an idle worker polls without a wake-up, after `_quiet` polls in a row found nothing."""
        shards = max(1, len(self._host.shards()))
        return settings.coordinator_delay * min(1 << min(self._quiet, 10), POLL_BACKOFF * shards)
