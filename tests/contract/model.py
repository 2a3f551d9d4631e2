"""One machine of steps over a queue in memory and a queue on Redis, which must answer the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from redis.asyncio import Redis

from sharded_queue import QueueFull, ReshardError
from sharded_queue.backends.memory.coordinator import RuntimeCoordinator
from sharded_queue.backends.memory.shard import STOPPED
from sharded_queue.backends.memory.storage import RuntimeStorage
from sharded_queue.backends.redis.check import faults, repair
from sharded_queue.backends.redis.clock import Clock
from sharded_queue.backends.redis.coordinator import RedisCoordinator, read_arrival
from sharded_queue.backends.redis.scripts import digest
from sharded_queue.backends.redis.snapshot import (
    HoldRecord,
    LayoutRecord,
    PoisonSuspects,
    Snapshot,
    TubeRecord,
    snapshot,
)
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.coordinator import BindRequest, PartDone
from sharded_queue.lease import Lease
from sharded_queue.serializer import STAMP_DIGITS, key_hash_in, with_key_hash
from sharded_queue.state import About, Report, ShardState
from sharded_queue.storage import (
    Batch,
    Cause,
    Entry,
    Failure,
    LayoutChanged,
    Part,
    Registered,
    Registration,
    Resharded,
    Schedule,
    Settlement,
    Storage,
    Waiting,
    digest_of,
)
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard, thread_and_priority
from tests.contract.backend import SHARD
from tests.contract.lossy import ANSWER_LOST, COMMAND_LOST, HELD_UP, make_lossy

LEASE_SECONDS, DELAY_SECONDS, WINDOW_SECONDS = 3600.0, 3600.0, 3600.0
WHY = Cause("ann", "why")
OTHER = Shard("tests.Other")
PAST = 1_700_000_000_000
T = TypeVar("T")
threads = st.sampled_from(["a", "b", "c/1"])
priorities = st.sampled_from([-1, 0, 10])
owners = st.sampled_from(["w/1", "w/2"])
counts = st.integers(1, 5)
places = st.integers(0, 20)
key_hashes = st.integers(0, 11)
layouts = st.builds(Layout, st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 6]))
ageings = st.sampled_from([0.0, 3600.0])
names = st.sampled_from(["n", "o p", "q"])
identities = st.sampled_from(["i", "j", "k l", "m"])
causes = st.sampled_from([None, Cause("ann", "wrong"), Cause("ann", "é")])
losses = st.sampled_from([[], [], [], [ANSWER_LOST], [COMMAND_LOST], [ANSWER_LOST, ANSWER_LOST], [HELD_UP], [HELD_UP]])


class Pair(NamedTuple):
    """The same batch, as memory and as Redis handed it out: only the fences differ."""

    memory: Batch
    redis: Batch


class OneClock(Clock):
    """The real milliseconds, each once; both backends write them into requests, and Redis must not be behind them."""

    def __init__(self) -> None:
        super().__init__(tolerance_ms=3_600_000, now=lambda: (self.ms + 0.5) / 1000)
        self.ms = 0

    def tick(self) -> None:
        while (now := int(time.time() * 1000)) <= self.ms:
            time.sleep(0.0001)
        self.ms = now

    def learn(self, stamp: int, took_seconds: float, redis_ms: int) -> None:
        """Redis is asked a moment after the tick, on a busy machine a second: no stamp is corrected for that."""


class Machine(RuleBasedStateMachine):
    def __init__(self, port: int, clock: OneClock) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = clock
        self.redis = Redis(host="127.0.0.1", port=port)
        self.run(self.redis.flushall())
        self.memory_storage, self.redis_storage = (
            RuntimeStorage(lambda: self.clock.ms),
            RedisStorage(self.redis, clock=clock),
        )
        self.memory_coordinator, self.redis_coordinator = RuntimeCoordinator(), RedisCoordinator(self.redis)
        self.memory_coordinator.attach(self.memory_storage)
        self.redis_coordinator.attach(self.redis_storage)
        self.run(self.redis_storage.verify())
        self.links = [make_lossy(self.redis_storage), make_lossy(self.redis_coordinator)]
        self.batches: list[Pair] = []
        self.calls: dict[int, int] = {}
        self.registered = self.overdue = 0

    def run(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(awaitable)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.loop.close()

    def lose(self, fates: list[str]) -> None:
        for link in self.links:
            link.fates.clear()
            link.fates.extend(fates)

    def pair_at(self, place: int) -> Pair:
        """One of the newest batches, or a stale one."""
        return self.batches[-1 - place % min(len(self.batches), 6)]

    def thread_at(self, place: int) -> str:
        """One of the threads that have requests, or a thread that may have none."""
        shard = self.memory_storage.shards[SHARD]
        known = sorted({"a", "b", *shard.threads, *(thread for thread, _ in shard.blocked.lowest(100))})
        return known[place % len(known)]

    def call_of(self, pair: Pair) -> int:
        """The number of the next call of a lease."""
        fence = pair.memory.lease.fence
        self.calls[fence] = self.calls.get(fence, 0) + 1
        return self.calls[fence]

    def is_held(self, pair: Pair) -> bool:
        held = self.memory_storage.shards[SHARD].held.get(pair.memory.lease.thread)
        return held is not None and held.fence == pair.memory.lease.fence

    @initialize(before=st.sampled_from([None, 2, 4, 6]), after=st.sampled_from([1, 2, 3, 4]))
    def begin(self, before: int | None, after: int) -> None:
        """With nothing, or in the middle of a change of the layout: few runs come that far by themselves."""
        for number in (before, after) if before else ():
            self.reshard(number, [])
            self.register_by_key(list(range(12)), Layout(1, before or 1), 0.0, [])

    # What producers, workers, time and people do.

    @rule(entries=st.lists(st.tuples(threads, priorities, counts), min_size=1, max_size=3), fates=losses)
    def register(self, entries: list[tuple[str, int, int]], fates: list[str]) -> None:
        written = {}
        for thread, priority, count in entries:
            written[thread, priority] = Entry(thread, priority, [b"%d" % (self.registered + n) for n in range(count)])
            self.registered += count
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_storage.register(SHARD, Registration(list(written.values()))),
            self.redis_storage.register(SHARD, Registration(list(written.values()))),
        )

    @rule(thread=threads, priority=priorities, count=counts, fates=losses)
    def register_bounded(self, thread: str, priority: int, count: int, fates: list[str]) -> None:
        entries = [Entry(thread, priority, [b"bounded"] * count)]
        self.clock.tick()
        self.lose(fates)
        registration = Registration(entries, capacity=4)
        self.same_answer(
            unless_full(self.memory_storage.register(SHARD, registration)),
            unless_full(self.redis_storage.register(SHARD, registration)),
        )

    @rule(
        entries=st.lists(st.tuples(threads, priorities, st.lists(identities, max_size=4)), min_size=1, max_size=3),
        capacity=st.sampled_from([None, 4]),
        delay=st.sampled_from([0.0, DELAY_SECONDS]),
        fates=losses,
    )
    def register_once(
        self, entries: list[tuple[str, int, list[str]]], capacity: int | None, delay: float, fates: list[str]
    ) -> None:
        written = {}
        for thread, priority, named in entries:
            written[thread, priority] = Entry(thread, priority, [name.encode() for name in named], named)
        self.clock.tick()
        self.lose(fates)
        registration = Registration(list(written.values()), capacity, delay, window_seconds=WINDOW_SECONDS)
        self.same_answer(
            unless_full(self.memory_storage.register(SHARD, registration)),
            unless_full(self.redis_storage.register(SHARD, registration)),
        )

    @rule(
        name=names,
        seconds=st.sampled_from([600, 900]),
        thread=threads,
        priority=priorities,
        skips=st.booleans(),
        fates=losses,
    )
    def schedule(self, name: str, seconds: int, thread: str, priority: int, skips: bool, fates: list[str]) -> None:
        plan = Schedule(name, every(seconds), thread, priority, b"again", skips)
        self.clock.tick()
        self.lose(fates)
        self.both(self.memory_storage.schedule(SHARD, plan), self.redis_storage.schedule(SHARD, plan))

    @rule(name=names, fates=losses)
    def unschedule(self, name: str, fates: list[str]) -> None:
        self.clock.tick()
        self.lose(fates)
        self.same_answer(self.memory_storage.unschedule(SHARD, name), self.redis_storage.unschedule(SHARD, name))

    @precondition(lambda self: self.memory_storage.shards[SHARD].schedules)
    @rule(overdue=st.sets(names, min_size=1), fates=losses)
    def register_due(self, overdue: set[str], fates: list[str]) -> None:
        """The time of some schedules has come."""
        shard = self.memory_storage.shards[SHARD]
        moments = {}
        for name in sorted(overdue & shard.schedules.keys()):
            self.overdue += 1  # no occurrence has its time twice
            moments[name] = PAST + self.overdue
        for name, moment in moments.items():
            shard.occurrences.put(name, moment)
        if moments:
            self.run(self.redis.zadd(f"{self.redis_storage.keys.base(SHARD)}:occurrences", moments, xx=True))
        self.clock.tick()
        self.lose(fates)
        memory, redis = self.both(self.memory_storage.register_due(SHARD), self.redis_storage.register_due(SHARD))
        assert (memory is None) == (redis is None)

    @precondition(lambda self: self.memory_storage.shards[SHARD].due)
    @rule(place=places)
    def end_delay(self, place: int) -> None:
        """The time of a delayed request has come; the next bind or settlement will see it."""
        due = self.memory_storage.shards[SHARD].due
        _, number, entry = due.pop(place % len(due))
        due.add((PAST, number, entry))
        self.run(self.redis.zadd(f"{self.redis_storage.keys.base(SHARD)}:due", {f"{number:016}": PAST}, xx=True))

    @precondition(lambda self: self.memory_storage.shards[SHARD].due)
    @rule(place=places, fates=losses)
    def cancel(self, place: int, fates: list[str]) -> None:
        """A delayed request, or one that was cancelled before, and a number that none has."""
        shard = self.memory_storage.shards[SHARD]
        known = sorted([number for _, number, _ in shard.due] + list(shard.cancelled))
        numbers = [known[place % len(known)], 10**9]
        self.clock.tick()
        self.lose(fates)
        self.same_answer(self.memory_storage.cancel(SHARD, numbers), self.redis_storage.cancel(SHARD, numbers))

    @precondition(lambda self: self.memory_storage.shards[SHARD].due)
    @rule(picked=st.lists(places, min_size=1, max_size=3), seconds=st.sampled_from([1800, 7200]), fates=losses)
    def move_delayed(self, picked: list[int], seconds: int, fates: list[str]) -> None:
        """Before what waits an hour, or behind it."""
        known = [number for _, number, _ in self.memory_storage.shards[SHARD].due]
        numbers = [*(known[place % len(known)] for place in picked), 10**9]
        self.clock.tick()
        self.lose(fates)
        due_ms = self.clock.ms + seconds * 1000
        self.same_answer(
            self.memory_storage.move_delayed(SHARD, numbers, due_ms),
            self.redis_storage.move_delayed(SHARD, numbers, due_ms),
        )

    @rule(name=names, seconds=st.sampled_from([600, 900]), fates=losses)
    def edit_schedule(self, name: str, seconds: int, fates: list[str]) -> None:
        self.clock.tick()
        self.lose(fates)
        memory, redis = self.both(
            self.memory_storage.edit_schedule(SHARD, name, every(seconds)),
            self.redis_storage.edit_schedule(SHARD, name, every(seconds)),
        )
        assert (memory is None) == (redis is None)

    @precondition(lambda self: self.memory_storage.shards[SHARD].due)
    @rule(picked=st.lists(places, min_size=1, max_size=3), fates=losses)
    def run_delayed(self, picked: list[int], fates: list[str]) -> None:
        """Some delayed requests, perhaps one of them twice, and a number that none has."""
        known = [number for _, number, _ in self.memory_storage.shards[SHARD].due]
        numbers = [*(known[place % len(known)] for place in picked), 10**9]
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_storage.run_delayed(SHARD, numbers), self.redis_storage.run_delayed(SHARD, numbers)
        )

    @rule(name=names, fates=losses)
    def run_schedule(self, name: str, fates: list[str]) -> None:
        self.clock.tick()
        self.lose(fates)
        self.same_answer(self.memory_storage.run_schedule(SHARD, name), self.redis_storage.run_schedule(SHARD, name))

    @rule(identity=identities)
    def end_window(self, identity: str) -> None:
        """The window of a request is over; the next registration that looks for duplicates will see it."""
        shard = self.memory_storage.shards[SHARD]
        if identity in shard.identities:
            shard.identities.put(identity, 1)
        self.run(self.redis.zadd(f"{self.redis_storage.keys.base(SHARD)}:identities", {identity: 1}, xx=True))

    @rule(
        keys=st.lists(key_hashes, min_size=1, max_size=4),
        guess=layouts,
        delay=st.sampled_from([0.0, 0.0, DELAY_SECONDS]),
        fates=losses,
    )
    def register_by_key(self, keys: list[int], guess: Layout, delay: float, fates: list[str]) -> None:
        """By any producer: one that has never heard of the layout in force learns it from the storage."""
        bodies = [with_key_hash(key_hash, b"%d" % (self.registered + place)) for place, key_hash in enumerate(keys)]
        self.registered += len(keys)
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            placed(self.memory_storage, bodies, guess, delay), placed(self.redis_storage, bodies, guess, delay)
        )

    @rule(number=st.sampled_from([1, 2, 3, 4, 6]), fates=losses)
    def reshard(self, number: int, fates: list[str]) -> None:
        self.lose([])
        (in_memory,) = self.run(self.memory_storage.observe([SHARD]))
        self.lose(fates)
        memory, redis = self.both(
            unless_unfinished(self.memory_storage.reshard(SHARD, number)),
            unless_unfinished(self.redis_storage.reshard(SHARD, number)),
        )
        assert memory == redis
        assert in_memory.undrained == 0 or not isinstance(memory, Resharded) or memory.layout == in_memory.layout

    @rule()
    def come_due(self) -> None:
        """The time of all delayed requests; the next look of a worker will see it."""
        shard = self.memory_storage.shards[SHARD]
        late = [(self.clock.ms, number, entry) for _, number, entry in shard.due]
        shard.due.clear()
        shard.due.update(late)
        if late:
            due = {b"%016d" % number: self.clock.ms for _, number, _ in late}
            self.run(self.redis.zadd(f"{self.redis_storage.keys.base(SHARD)}:due", due, xx=True))

    @rule(
        owner=owners,
        wanted_threads=st.integers(0, 2),
        wanted=st.integers(0, 4),
        ageing=ageings,
        ahead=st.sampled_from([0, 1, 4]),
        stops=st.booleans(),
        fates=losses,
    )
    def bind(
        self,
        owner: str,
        wanted_threads: int,
        wanted: int,
        ageing: float,
        ahead: int,
        stops: bool,
        fates: list[str],
    ) -> None:
        self.clock.tick()
        self.lose(fates)
        about = About("1.0", wanted, 0)
        request = BindRequest(owner, wanted_threads, wanted, LEASE_SECONDS, ageing, about, ahead, stops)
        shard = self.memory_storage.shards[SHARD]
        alone, letters = {thread for thread, held in shard.held.items() if held.is_alone}, set(shard.letters)
        stopped = set(shard.exhausted)
        memory, redis = self.both(
            self.memory_coordinator.bind(SHARD, request),
            self.redis_coordinator.bind(SHARD, request),
        )
        pairs = [Pair(*batches) for batches in zip(memory.batches, redis.batches, strict=True)]
        for pair in pairs:
            assert unfenced(pair.memory) == unfenced(pair.redis)
        self.batches += pairs
        buried = {shard.letters[number].thread for number in shard.letters.keys() - letters}
        assert buried | (shard.exhausted.keys() - stopped) <= alone
        assert not (buried if stops else shard.exhausted.keys() - stopped)
        assert memory.others_wait == redis.others_wait
        assert memory.is_cordoned == redis.is_cordoned
        if not memory.is_cordoned:  # Redis does not tell a cordoned worker when a thread may become free
            assert (memory.next_seconds is None) == (redis.next_seconds is None)

    @precondition(lambda self: self.batches)
    @rule(place=places, done=st.integers(0, 6), wanted=st.integers(0, 4), release=st.booleans(), fates=losses)
    def settle(self, place: int, done: int, wanted: int, release: bool, fates: list[str]) -> None:
        pair = self.pair_at(place)
        through = pair.memory.first + done - 1 if done else None
        call = self.call_of(pair)
        self.clock.tick()
        # Sent again with a lease that was over before, a settlement or failure takes another's release for its own.
        self.lose(fates if self.is_held(pair) else [])
        ((memory,), (redis,)) = self.both(
            *[
                storage.settle([Settlement(batch.lease, batch.tube.priority, through, 0.5, wanted, release, call=call)])
                for storage, batch in ((self.memory_storage, pair.memory), (self.redis_storage, pair.redis))
            ]
        )
        assert (memory.is_lost, memory.is_released) == (redis.is_lost, redis.is_released)
        assert (memory.batch is None) == (redis.batch is None)
        if memory.batch and redis.batch:
            assert unfenced(memory.batch) == unfenced(redis.batch)
            self.batches.append(Pair(memory.batch, redis.batch))

    @rule(owner=owners)
    def hear(self, owner: str) -> None:
        """A worker that waits hears of a request for a thread that it holds, however much later."""
        waits = self.memory_storage.shards[SHARD].arrivals
        if owner not in waits:
            return
        memory = waits[owner].popleft()
        if not waits[owner]:
            del waits[owner]
        told = self.run(self.redis.lpop(f"{self.redis_storage.keys.base(SHARD)}:{owner}:news"))
        redis = read_arrival(SHARD, owner, told)
        assert redis is not None
        assert (memory.lease.thread, memory.call) == (redis.lease.thread, redis.call)
        assert (memory.batch is None) == (redis.batch is None)
        if memory.batch and redis.batch:
            assert unfenced(memory.batch) == unfenced(redis.batch)
            self.batches.append(Pair(memory.batch, redis.batch))

    @rule(owner=owners, threads=st.integers(1, 3))
    def handle(self, owner: str, threads: int) -> None:
        """A worker binds what comes first, and is done with all of it: else threads are hardly ever drained."""
        newest = len(self.batches)
        self.bind(owner, threads, 4, 0.0, 0, stops=False, fates=[])
        pairs = self.batches[newest:]
        del self.batches[newest:]
        self.clock.tick()
        if pairs:
            self.same_answer(
                self.memory_storage.settle([done(pair.memory) for pair in pairs]),
                self.redis_storage.settle([done(pair.redis) for pair in pairs]),
            )

    @rule(owner=owners, count=counts, wanted=st.integers(1, 4), fates=losses)
    def handle_another(self, owner: str, count: int, wanted: int, fates: list[str]) -> None:
        """The worker serves another handler too, whose thread has the same name, and settles both."""
        registration = Registration([Entry("a", 0, [b"another"] * count)])
        request = BindRequest(owner, 1, wanted, LEASE_SECONDS)
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_storage.register(OTHER, registration), self.redis_storage.register(OTHER, registration)
        )
        memory, redis = self.both(
            self.memory_coordinator.bind(OTHER, request), self.redis_coordinator.bind(OTHER, request)
        )
        others = [Pair(*batches) for batches in zip(memory.batches, redis.batches, strict=True)]
        assert [unfenced(pair.memory) for pair in others] == [unfenced(pair.redis) for pair in others]
        self.lose([])
        for pair in [*others, *self.batches[-1:]]:
            self.same_answer(
                self.memory_storage.settle([done(pair.memory)]), self.redis_storage.settle([done(pair.redis)])
            )

    @precondition(lambda self: self.batches)
    @rule(
        place=places,
        done=st.integers(0, 2),
        delay=st.sampled_from([None, DELAY_SECONDS]),
        stops=st.booleans(),
        fates=losses,
    )
    def fail(self, place: int, done: int, delay: float | None, stops: bool, fates: list[str]) -> None:
        def failure(batch: Batch, call: int | None) -> Failure:
            first = batch.first + done
            request = batch.lease, batch.tube.priority, first, batch.attempt
            return Failure(*request, "an error", delay, call, stops=stops and delay is None)

        self.fail_both(place, failure, fates)

    @precondition(lambda self: self.batches)
    @rule(place=places, count=st.integers(1, 4), fates=losses)
    def fail_together(self, place: int, count: int, fates: list[str]) -> None:
        """A call of several requests failed: the holder has the first one in hand."""

        def failure(batch: Batch, call: int | None) -> Failure:
            last = batch.first + count - 1
            return Failure(batch.lease, batch.tube.priority, batch.first, 0, "", call=call, last=last)

        self.fail_both(place, failure, fates)

    @precondition(lambda self: self.batches)
    @rule(
        place=places,
        count=st.integers(1, 4),
        most=st.sampled_from([1, 2, inf]),
        stops=st.booleans(),
        fates=losses,
    )
    def snooze(self, place: int, count: int, most: float, stops: bool, fates: list[str]) -> None:
        def failure(batch: Batch, call: int | None) -> Failure:
            request = batch.lease, batch.tube.priority, batch.first, batch.attempt - 1
            last = batch.first + count - 1
            return Failure(*request, "429", DELAY_SECONDS, call, last=last, most_snoozes=most, stops=stops)

        self.fail_both(place, failure, fates)

    def fail_both(self, place: int, failure: Callable[[Batch, int | None], Failure], fates: list[str]) -> None:
        pair = self.pair_at(place)
        call = self.call_of(pair)
        self.clock.tick()
        self.lose(fates if self.is_held(pair) else [])
        self.same_answer(
            self.memory_storage.fail(failure(pair.memory, call)), self.redis_storage.fail(failure(pair.redis, call))
        )

    @precondition(lambda self: self.batches)
    @rule(place=places, count=st.integers(0, 4), fates=losses)
    def renew(self, place: int, count: int, fates: list[str]) -> None:
        """*count*: of how many requests of the batch the handler has reported that they are done."""

        def done(batch: Batch) -> dict[Lease, PartDone]:
            part = PartDone(batch.tube.priority, batch.first, batch.first + count - 1)
            return {batch.lease: part} if count else {}

        pair = self.pair_at(place)
        self.clock.tick()
        self.lose(fates)
        memory, redis = self.both(
            *[
                coordinator.renew(
                    [batch.lease],
                    LEASE_SECONDS,
                    About("1.1", 1, 0),
                    {batch.lease: Report(batch.first, place)},
                    done(batch),
                )
                for coordinator, batch in (
                    (self.memory_coordinator, pair.memory),
                    (self.redis_coordinator, pair.redis),
                )
            ]
        )
        assert len(memory) == len(redis)

    @precondition(lambda self: self.batches)
    @rule(place=places, delay=st.sampled_from([0.0, DELAY_SECONDS]), fates=losses)
    def release(self, place: int, delay: float, fates: list[str]) -> None:
        pair = self.pair_at(place)
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_coordinator.release([pair.memory.lease], delay),
            self.redis_coordinator.release([pair.redis.lease], delay),
        )

    @precondition(lambda self: self.batches)
    @rule(place=places, is_alone=st.sampled_from([True, True, False]), fates=losses)
    def isolate(self, place: int, is_alone: bool, fates: list[str]) -> None:
        """A worker says that it handles nothing but this request, or no longer."""
        pair = self.pair_at(place)
        call = self.call_of(pair)
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_coordinator.isolate(pair.memory.lease, is_alone, call),
            self.redis_coordinator.isolate(pair.redis.lease, is_alone, call),
        )

    @rule(place=places)
    def die(self, place: int) -> None:
        """The worker of a thread dies, and another one hears of it."""
        self.expire(place)
        self.bind("w/1", 1, 1, 0.0, 0, stops=False, fates=[])

    @rule(deaths=st.integers(1, 4), is_alone=st.booleans())
    def poison(self, deaths: int, is_alone: bool) -> None:
        """Workers die one after another with the request in hand that comes first."""
        for _ in range(deaths):
            newest = len(self.batches)
            self.bind("w/3", 1, 1, 0.0, 0, stops=False, fates=[])
            if len(self.batches) == newest:
                return
            if is_alone:
                self.isolate(0, True, [])
            self.end_lease(self.batches[-1].memory.lease.thread)

    @rule(place=places)
    def expire(self, place: int) -> None:
        """The lease of a thread is over; the next bind will see it."""
        self.end_lease(self.thread_at(place))

    def end_lease(self, thread: str) -> None:
        shard = self.memory_storage.shards[SHARD]
        if thread in shard.leases:
            shard.leases.put(thread, 1)
        self.run(self.redis.zadd(f"{self.redis_storage.keys.lock(SHARD)}:leases", {thread: 1}, xx=True))

    @rule(place=places)
    def end_back_off(self, place: int) -> None:
        shard, thread = self.memory_storage.shards[SHARD], self.thread_at(place)
        if (shard.blocked.score(thread) or STOPPED) < STOPPED:
            shard.blocked.put(thread, 1)
            self.run(self.redis.zadd(f"{self.redis_storage.keys.base(SHARD)}:blocked", {thread: 1}, xx=True))

    @rule(place=places, is_paused=st.booleans(), by=causes, has_end=st.booleans(), fates=losses)
    def pause(self, place: int, is_paused: bool, by: Cause | None, has_end: bool, fates: list[str]) -> None:
        self.pause_both(self.thread_at(place), is_paused, by, has_end, fates)

    @rule(is_paused=st.booleans(), by=causes, has_end=st.booleans(), fates=losses)
    def pause_all(self, is_paused: bool, by: Cause | None, has_end: bool, fates: list[str]) -> None:
        self.pause_both(None, is_paused, by, has_end, fates)

    def pause_both(
        self, thread: str | None, is_paused: bool, by: Cause | None, has_end: bool, fates: list[str]
    ) -> None:
        seconds = 3600 if has_end and by and is_paused else None
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_storage.pause(SHARD, thread, is_paused, by, seconds),
            self.redis_storage.pause(SHARD, thread, is_paused, by, seconds),
        )

    @rule(place=places, is_whole=st.booleans())
    def end_pause(self, place: int, is_whole: bool) -> None:
        """The end of a pause that ends by itself has come."""
        shard, name = self.memory_storage.shards[SHARD], "" if is_whole else self.thread_at(place)
        if name in shard.resumes:
            shard.resumes.put(name, 1)
            self.run(self.redis.zadd(f"{self.redis_storage.keys.base(SHARD)}:resumes", {name: 1}, xx=True))

    @invariant()
    def both_know_who_paused_what(self) -> None:
        self.lose([])
        known, seen = (self.run(each.pauses(SHARD)) for each in (self.memory_storage, self.redis_storage))
        assert {thread: (*each[1:3], each.until_ms is None) for thread, each in known.items()} == {
            thread: (*each[1:3], each.until_ms is None) for thread, each in seen.items()
        }
        ends = self.run(self.redis.zrange(f"{self.redis_storage.keys.base(SHARD)}:resumes", 0, -1))
        assert {end.decode() for end in ends} == {thread for thread, each in known.items() if each.until_ms is not None}
        paused = {*self.run(self.redis_storage.paused(SHARD)), *[""] * self.memory_storage.shards[SHARD].is_paused}
        assert known.keys() <= paused

    @precondition(lambda self: self.memory_storage.shards[SHARD].exhausted)
    @rule(picked=st.lists(places, min_size=1, max_size=3), is_late=st.booleans(), fates=losses)
    def try_anew(self, picked: list[int], is_late: bool, fates: list[str]) -> None:
        """Some threads that stand still. *is_late*: they were listed before they stood still for this failure."""
        known = sorted(self.memory_storage.shards[SHARD].exhausted)
        threads = dict.fromkeys(known[place % len(known)] for place in picked)
        self.lose([])
        listed = [
            {each.thread: each._replace(since_ms=each.since_ms - is_late) for each in found}
            for found, _ in self.both(self.memory_storage.exhausted(SHARD), self.redis_storage.exhausted(SHARD))
        ]
        assert [each.keys() == set(known) for each in listed] == [True, True]
        memory, redis = ([found[thread] for thread in threads] for found in listed)
        assert [each._replace(since_ms=0) for each in memory] == [each._replace(since_ms=0) for each in redis]
        self.clock.tick()
        self.lose(fates)
        self.same_answer(self.memory_storage.try_anew(SHARD, memory), self.redis_storage.try_anew(SHARD, redis))

    @precondition(lambda self: self.memory_storage.shards[SHARD].letters)
    @rule(
        picked=st.lists(places, min_size=1, max_size=3),
        goal=st.sampled_from(["head", "head", "tail", "drop"]),
        part=st.builds(Part, st.booleans(), st.booleans()),
        why=causes,
        fates=losses,
    )
    def settle_dead(self, picked: list[int], goal: Any, part: Part, why: Cause | None, fates: list[str]) -> None:
        """Some letters, perhaps one of them twice, and one that is not there; all of an act, or a part of one."""
        known = sorted(self.memory_storage.shards[SHARD].letters)
        numbers = [*(known[place % len(known)] for place in picked), 10**9]
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_storage.settle_dead(SHARD, numbers, goal, part, why),
            self.redis_storage.settle_dead(SHARD, numbers, goal, part, why),
        )

    @invariant()
    def both_pause_for_the_same_acts(self) -> None:
        self.lose([])
        self.same_answer(self.memory_storage.acts(SHARD), self.redis_storage.acts(SHARD))
        assert self.run(self.memory_storage.acts(SHARD)).keys() <= set(self.run(self.redis_storage.paused(SHARD)))

    @rule(place=places, picked=st.sets(st.integers(0, 6), max_size=4), is_all=st.booleans(), fates=losses)
    def drop(self, place: int, picked: set[int], is_all: bool, fates: list[str]) -> None:
        """Some requests of a thread, or all of it; and one that is not there."""
        thread = self.thread_at(place)
        wanted = [Waiting(0, 7, digest_of(b"nowhere"))]
        for priority, tube in self.memory_storage.shards[SHARD].threads.get(thread, {}).items():
            for at in sorted(picked):
                wanted += [
                    Waiting(priority, tube.head + at, digest_of(each)) for each in list(tube.messages)[at : at + 1]
                ]
        requests = None if is_all and len(picked) == 1 else wanted
        self.clock.tick()
        self.lose(fates)
        self.same_answer(
            self.memory_storage.drop(SHARD, thread, WHY, requests),
            self.redis_storage.drop(SHARD, thread, WHY, requests),
        )

    @invariant()
    def both_remember_the_same_drops(self) -> None:
        self.lose([])
        memory, redis = self.both(self.memory_storage.drops(SHARD, 5), self.redis_storage.drops(SHARD, 5))
        assert [each._replace(at_ms=0) for each in memory] == [each._replace(at_ms=0) for each in redis]

    @rule(fates=losses)
    def evict(self, fates: list[str]) -> None:
        """The worker is known to be gone, or thought to be."""
        self.clock.tick()
        self.lose(fates)
        memory, redis = self.both(
            self.memory_coordinator.evict(SHARD, ["w"]), self.redis_coordinator.evict(SHARD, ["w"])
        )
        assert sorted(memory) == sorted(redis)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.0, LEASE_SECONDS]), fates=losses)
    def cordon(self, seconds: float, fates: list[str]) -> None:
        self.clock.tick()
        self.lose(fates)
        self.both(
            self.memory_coordinator.cordon(SHARD, ["w"], seconds),
            self.redis_coordinator.cordon(SHARD, ["w"], seconds),
        )

    @precondition(lambda self: any(link.held_up for link in self.links))
    @rule(place=places, keep=st.booleans())
    def arrive(self, place: int, keep: bool) -> None:
        """A first sending arrives, after its twin was answered and perhaps after newer commands: nothing happens."""
        self.clock.tick()
        self.lose([])
        link = next(link for link in self.links if link.held_up)
        link.held_up.rotate(-(place % len(link.held_up)))
        _, command = link.held_up[0]
        self.run(link.arrive(keep=keep))
        if command[1] in (digest("settle"), digest("register_due")):  # whoever calls, these look first at what is due
            self.memory_storage.shards[SHARD].promote(self.clock.ms)

    # What must hold after every step.

    @invariant()
    def everything_adds_up_and_is_the_same(self) -> None:
        self.lose([])
        redis = self.run(snapshot(self.redis_storage, SHARD))
        memory = memory_snapshot(self.memory_storage)

        assert faults(redis) == []
        assert self.run(repair(self.redis_storage, SHARD)) == []
        assert faults(memory) == []
        assert timeless(redis) == timeless(memory)

    @invariant()
    def no_key_can_be_handled_in_two_threads(self) -> None:
        """Requests of a key are in one thread at most that is neither parked nor, in the new layout, paused."""
        shard = self.memory_storage.shards[SHARD]
        seen: dict[int, str] = {}
        for thread, tubes in shard.threads.items():
            is_new = shard.layout is not None and thread.startswith(f"{shard.layout.number}:")
            if thread in shard.parked or (is_new and thread in shard.blocked):
                continue
            messages = [message for tube in tubes.values() for message in tube.messages]
            for key_hash in {key_hash_in(message[STAMP_DIGITS:]) for message in messages} - {None}:
                assert key_hash not in seen, f"{key_hash} is in {seen[key_hash]} and in {thread}"
                seen[key_hash] = thread

    @invariant()
    def both_say_the_same_of_themselves(self) -> None:
        ((memory,), (redis,)) = self.both(
            self.memory_storage.observe([SHARD], 3), self.redis_storage.observe([SHARD], 3)
        )
        assert spoken(memory) == spoken(redis)

    @invariant()
    def both_know_the_same_workers(self) -> None:
        memory, redis = self.both(self.memory_storage.workers(SHARD), self.redis_storage.workers(SHARD))
        assert {each.owner for each in memory} == {each.owner for each in redis}

    @invariant()
    def both_tell_the_same_of_a_thread(self) -> None:
        for thread in ("a", "1:0"):
            memory, redis = self.both(
                self.memory_storage.explain(SHARD, thread), self.redis_storage.explain(SHARD, thread)
            )
            assert (memory.progress and memory.progress[:3]) == (redis.progress and redis.progress[:3])
            assert [past._replace(failed_ms=0) for past in memory.failures] == [
                past._replace(failed_ms=0) for past in redis.failures
            ]

    def both(self, memory: Awaitable[Any], redis: Awaitable[Any]) -> tuple[Any, Any]:
        return self.run(memory), self.run(redis)

    def same_answer(self, memory: Awaitable[Any], redis: Awaitable[Any]) -> None:
        in_memory, on_redis = self.both(memory, redis)
        assert in_memory == on_redis


async def placed(storage: Storage, bodies: list[bytes], layout: Layout, delay: float) -> tuple[Layout, Registered]:
    while True:
        entries: dict[str, Entry] = {}
        for body in bodies:
            thread = layout.thread(key_hash_in(body) or 0)
            entries.setdefault(thread, Entry(thread, 0, [])).bodies.append(body)
        try:
            return layout, await storage.register(
                SHARD, Registration(list(entries.values()), delay_seconds=delay, layout=layout)
            )
        except LayoutChanged as changed:
            layout = changed.layout


async def unless_unfinished(resharding: Awaitable[Resharded]) -> Any:
    try:
        return await resharding
    except ReshardError as error:
        return str(error)


async def unless_full(registering: Awaitable[T]) -> T | str:
    try:
        return await registering
    except QueueFull as error:
        return str(error)


def done(batch: Batch) -> Settlement:
    return Settlement(batch.lease, batch.tube.priority, batch.last, 0.5, release=True)


def unfenced(batch: Batch) -> Batch:
    return batch._replace(lease=batch.lease._replace(fence=0))


def memory_snapshot(storage: RuntimeStorage) -> Snapshot:
    shard = storage.shards[SHARD]
    return Snapshot(
        tubes={
            (thread, priority): TubeRecord(
                tube.head, tube.tail, len(tube.messages), tube.oldest_ms if tube.messages else None
            )
            for thread, tubes in shard.threads.items()
            for priority, tube in tubes.items()
        },
        held={
            thread: HoldRecord(
                held.owner, held.fence, held.since_ms != 0, held.priority, held.first, held.last, held.is_alone
            )
            for thread, held in shard.held.items()
        },
        failures={place: PoisonSuspects(*failure[:4]) for place, failure in shard.failures.items()},
        ready=dict(shard.ready.lowest(10_000)),
        blocked=dict(shard.blocked.lowest(10_000)),
        oldest={thread_and_priority(name): score for name, score in shard.oldest.lowest(10_000)},
        deep=dict(shard.deep.lowest(10_000)),
        leases=dict(shard.leases.lowest(10_000)),
        due={number for _, number, _ in shard.due},
        later={number for _, number, _ in shard.due},
        dead=set(shard.letters),
        letters=set(shard.letters),
        identities=dict(shard.identities.lowest(10_000)),
        firsts=shard.firsts,
        occurrences=dict(shard.occurrences.lowest(10_000)),
        schedules=set(shard.schedules),
        counters={
            "depth": shard.depth,
            "sequence": shard.sequence,
            "fence": shard.fence,
            "dead": shard.dead,
            "born": shard.born or 0,
        },
        layout=LayoutRecord(*shard.layout, shard.before) if shard.layout else None,
        old=dict(shard.old.lowest(10_000)),
        parked=dict(shard.parked.lowest(10_000)),
        unparking=set(shard.unparking),
        exhausted={thread: priority for thread, (priority, _) in shard.exhausted.items()},
    )


def timeless(seen: Snapshot) -> dict[str, Any]:
    """What must be the same though the clocks of the backends are not: order in place of times, and no fences."""
    return {
        "tubes": seen.tubes,
        "held": {thread: hold._replace(fence=0) for thread, hold in seen.held.items()},
        "failures": seen.failures,
        "ready": sorted(seen.ready, key=lambda thread: (seen.ready[thread], thread)),
        "blocked": {(thread, till if till >= STOPPED else 0) for thread, till in seen.blocked.items()},
        "exhausted": seen.exhausted,
        "oldest": seen.oldest,
        "deep": seen.deep,
        "letters": seen.letters,
        "due": seen.due,
        "firsts": seen.firsts,
        "schedules": seen.schedules,
        "layout": (seen.layout, seen.old, seen.parked, seen.unparking),
        "counters": {name: seen.counters.get(name, 0) for name in ("depth", "sequence")},
    }


def spoken(state: ShardState) -> dict[str, Any]:
    return {
        "counts": (state.depth, state.threads, state.ready, state.bound, state.blocked, state.is_paused),
        "totals": (state.registered, state.settled, state.dead, state.busy_seconds, state.duplicates, state.delayed),
        "schedules": state.schedules,
        "letters": (state.letters, state.paused, state.exhausted),
        "deepest": state.deepest,
        "concurrencies": state.concurrencies,
        "blocked": {(blocked.thread, blocked.depth) for blocked in state.blocked_threads},
        "oldest": [(tube.thread, tube.priority, tube.depth, tube.state) for tube in state.oldest],
        "held": {(hold.thread, hold.owner, hold.in_hand) for hold in state.held},
        "born": state.born is not None,
        "layout": (state.layout, state.undrained, state.parked, state.parked_depth),
    }
