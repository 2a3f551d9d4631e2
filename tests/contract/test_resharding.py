"""Another number of threads for the keys of a handler: nothing of a key passes what was registered before it."""

import asyncio
import random
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import pytest

from sharded_queue import Handler, KeyRoute, Queue, ReshardError, Retry, Worker, settings
from sharded_queue.backends.redis.check import faults, repair
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.route import key_hash
from sharded_queue.serializer import unpack
from sharded_queue.storage import Batch, Entry, Registration, Settlement, Storage
from sharded_queue.tube import Layout, Tube
from tests.contract.backend import SHARD, Backend, RedisBackend

FEW, MANY = 2, 6
"""Threads of the layouts of most tests: 0, 2, 4 of the new one share keys with 0 of the old one, the others with 1."""


class Job(NamedTuple):
    key: int
    number: int


class Keyed(Handler):
    """Routes jobs by their keys."""

    name = SHARD.handler
    threads = FEW
    retry = Retry(limit=100, base_seconds=0.001, cap_seconds=0.001)

    @classmethod
    async def route(cls, *requests: Job) -> Sequence[KeyRoute]:
        return [KeyRoute(request.key) for request in requests]

    async def perform(self, *requests: Job) -> None:
        raise NotImplementedError


class Producer:
    """Registers jobs, numbered by key."""

    def __init__(self, backend: Backend) -> None:
        self.queue = Queue(backend.storage)
        self.numbers: dict[int, int] = {}

    async def register(self, *keys: int, delay_seconds: float = 0.0) -> list[Tube]:
        jobs = []
        for key in keys:
            self.numbers[key] = self.numbers.get(key, 0) + 1
            jobs.append(Job(key, self.numbers[key]))
        return [receipt.tube for receipt in await self.queue.register(Keyed, *jobs, delay_seconds=delay_seconds)]


@pytest.fixture
def producer(backend: Backend) -> Producer:
    return Producer(backend)


def key_of(thread: int, threads: int = MANY) -> int:
    """A key that a layout of so many threads places on this one."""
    return next(key for key in range(10_000) if key_hash(key) % threads == thread)


def jobs(batch: Batch | None) -> list[Job]:
    assert batch is not None
    return Keyed.serializer().read(batch.messages)[0]


async def bound(backend: Backend, owner: str = "w/1") -> list[str]:
    return [batch.tube.thread for batch in await backend.bind(owner, threads=100)]


async def test_keys_are_spread_over_the_threads_that_the_handler_declares(backend: Backend, producer: Producer) -> None:
    tubes = await producer.register(*range(50))

    assert {tube.thread for tube in tubes} == {"1:0", "1:1"} == set(await bound(backend))


async def test_a_key_has_one_thread(producer: Producer) -> None:
    assert len({tube.thread for tube in await producer.register(*[7] * 5)}) == 1


async def test_a_change_counts_for_all_producers_at_once(backend: Backend, producer: Producer) -> None:
    """One that did not hear of it places by the new layout all the same, and its receipts say so."""
    key = key_of(3)
    await producer.register(key)
    await backend.storage.reshard(SHARD, MANY)
    (tube,) = await producer.register(key)

    assert tube.thread == "2:3"
    assert [unpack(message).body for _, message in await backend.storage.peek(tube)] == [b"[%d,2]" % key]


async def test_the_layout_that_was_declared_first_stays_in_force(backend: Backend, producer: Producer) -> None:
    await producer.register(1)

    class Changed(Keyed):
        name = SHARD.handler
        threads = MANY

    await Queue(backend.storage).register(Changed, *[Job(key, 1) for key in range(50)])

    assert set(await bound(backend)) == {"1:0", "1:1"}
    assert (await backend.observe()).depth == 51


async def test_a_new_thread_waits_until_the_old_one_is_drained(backend: Backend, producer: Producer) -> None:
    key = key_of(3)
    await producer.register(key)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(key)
    old = await backend.bind_one()

    assert jobs(old) == [Job(key, 1)]
    assert await bound(backend) == []
    await backend.settle(old, release=True)
    assert jobs(await backend.bind_one()) == [Job(key, 2)]


async def test_a_new_thread_goes_on_while_the_holder_of_the_old_one_lingers(
    backend: Backend, producer: Producer
) -> None:
    """Drained is drained: nothing can come to a thread of the old layout any more."""
    key = key_of(3)
    await producer.register(key)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(key)
    await backend.settle(await backend.bind_one())

    assert await bound(backend) == ["2:3"]


async def test_a_new_thread_waits_for_all_old_ones_that_it_may_share_keys_with(
    backend: Backend, producer: Producer
) -> None:
    """From many threads to few, several old ones end in a new one."""
    await producer.register(0)
    await backend.storage.reshard(SHARD, MANY)
    await backend.settle(await backend.bind_one(), release=True)
    await producer.register(key_of(1), key_of(3))
    await backend.storage.reshard(SHARD, FEW)
    await producer.register(key_of(1), key_of(3))
    first, second = await backend.bind(threads=100)

    await backend.settle(first, release=True)
    assert await bound(backend) == []
    await backend.settle(second, release=True)
    assert await bound(backend) == ["3:1"]


async def test_threads_without_common_keys_do_not_wait(backend: Backend, producer: Producer) -> None:
    await producer.register(key_of(0))
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(*map(key_of, range(MANY)))

    assert await bound(backend) == ["1:0", "2:1", "2:3", "2:5"]


async def test_a_drained_old_thread_frees_only_those_that_share_its_keys(backend: Backend, producer: Producer) -> None:
    await producer.register(key_of(0), key_of(1))
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(*map(key_of, range(MANY)))
    even, odd = await backend.bind(threads=100)
    await backend.settle(odd, release=True)

    assert even.tube.thread == "1:0"
    assert await bound(backend) == ["2:1", "2:3", "2:5"]


async def test_an_old_thread_that_backs_off_is_not_drained(backend: Backend, producer: Producer) -> None:
    await producer.register(7)
    await backend.fail(await backend.bind_one(), delay=30)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(7)

    assert await bound(backend) == []
    await backend.advance(31)
    assert jobs(await backend.bind_one()) == [Job(7, 1)]


async def test_an_old_thread_that_is_paused_is_not_drained(backend: Backend, producer: Producer) -> None:
    (tube,) = await producer.register(7)
    await backend.storage.pause(SHARD, tube.thread, True)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(7)

    assert await bound(backend) == []
    await backend.storage.pause(SHARD, tube.thread, False)
    assert await bound(backend) == [tube.thread]


async def test_an_old_thread_whose_worker_died_is_not_drained(backend: Backend, producer: Producer) -> None:
    await producer.register(7)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(7)
    await backend.crash_with()

    assert jobs(await backend.bind_one()) == [Job(7, 1)]


async def test_an_old_thread_whose_last_request_died_is_drained(backend: Backend, producer: Producer) -> None:
    await producer.register(7)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(7)
    await backend.fail(await backend.bind_one(), delay=None)

    assert jobs(await backend.bind_one("w/2")) == [Job(7, 2)]


async def test_a_parked_thread_can_be_paused_and_resumed(backend: Backend, producer: Producer) -> None:
    key = key_of(3)
    await producer.register(key)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(key)
    await backend.storage.pause(SHARD, "2:3", True)
    await backend.storage.pause(SHARD, "2:3", False)
    assert (await backend.observe()).parked == 1
    await backend.storage.pause(SHARD, "2:3", True)
    await backend.settle(await backend.bind_one(), release=True)

    assert await bound(backend) == []
    await backend.storage.pause(SHARD, "2:3", False)
    assert await bound(backend) == ["2:3"]


async def test_a_thread_paused_when_it_was_about_to_become_ready_leaves_nothing_to_repair(
    on_redis: RedisBackend,
) -> None:
    """Its old threads are drained, and the bind that would notice has yet to come."""
    producer, key = Producer(on_redis), key_of(3)
    await producer.register(key)
    await on_redis.storage.reshard(SHARD, MANY)
    await producer.register(key)
    await on_redis.settle(await on_redis.bind_one(), release=True)
    await on_redis.storage.pause(SHARD, "2:3", True)

    assert faults(await snapshot(on_redis.redis_storage, SHARD)) == []
    assert await repair(on_redis.redis_storage, SHARD) == []
    await on_redis.storage.pause(SHARD, "2:3", False)
    assert await bound(on_redis) == ["2:3"]


async def test_a_delayed_request_is_placed_by_the_layout_of_its_time(backend: Backend, producer: Producer) -> None:
    """It holds nobody up until then, and takes its place behind what waits, as any delayed request does."""
    key = key_of(3)
    await producer.register(key, delay_seconds=10)
    await producer.register(key)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(key)
    await backend.settle(await backend.bind_one(), release=True)
    await backend.advance(11)
    batch = await backend.bind_one()

    assert batch.tube.thread == "2:3"
    assert jobs(batch) == [Job(key, 3), Job(key, 1)]


async def test_a_schedule_is_placed_by_the_layout_of_its_time(backend: Backend, producer: Producer) -> None:
    key = key_of(3)
    await producer.queue.schedule(Keyed, Job(key, 1), name="beat", every_seconds=60)
    await backend.storage.reshard(SHARD, MANY)
    await backend.advance(61)
    await backend.storage.register_due(SHARD)

    assert await bound(backend) == ["2:3"]


@pytest.mark.parametrize(("target", "order"), [("tail", [2, 1]), ("head", [1, 2])])
async def test_a_dead_letter_of_the_old_layout_is_placed_by_the_new_one(
    backend: Backend, producer: Producer, target: str, order: list[int]
) -> None:
    key = key_of(3)
    await producer.register(key)
    batch = await backend.bind_one()
    await backend.fail(batch, delay=None)
    await backend.release(batch.lease)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(key)
    assert await backend.storage.settle_dead(SHARD, [1], target) == [1]  # type: ignore[arg-type]
    batch = await backend.bind_one()

    assert batch.tube.thread == "2:3"
    assert jobs(batch) == [Job(key, number) for number in order]


async def test_a_second_change_is_refused_until_the_first_is_finished(backend: Backend, producer: Producer) -> None:
    await producer.register(7)
    await backend.storage.reshard(SHARD, MANY)

    with pytest.raises(ReshardError, match=r"to 3 threads yet: its last change, to 6, is not finished: 1 thread of"):
        await backend.storage.reshard(SHARD, 3)
    assert (await backend.observe()).layout == Layout(2, MANY)

    await backend.settle(await backend.bind_one(), release=True)
    assert (await backend.storage.reshard(SHARD, 3)).layout == Layout(3, 3)


async def test_a_second_change_is_refused_while_parked_threads_wait_for_a_look(
    backend: Backend, producer: Producer
) -> None:
    await producer.register(7)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(7)
    await backend.settle(await backend.bind_one(), release=True)

    with pytest.raises(ReshardError):
        await backend.storage.reshard(SHARD, 3)


async def test_changing_to_what_it_is_changes_nothing(backend: Backend, producer: Producer) -> None:
    await producer.register(7)
    first, again = [await backend.storage.reshard(SHARD, MANY) for _ in range(2)]

    assert (first.is_changed, again.is_changed) == (True, False)
    assert first.layout == again.layout == Layout(2, MANY)
    assert first.undrained == again.undrained == 1


async def test_a_change_before_the_first_request_counts(backend: Backend, producer: Producer) -> None:
    await backend.storage.reshard(SHARD, MANY)
    (tube,) = await producer.register(key_of(5))

    assert tube.thread == "1:5"


async def test_parked_threads_are_no_ready_work_but_they_wait(backend: Backend, producer: Producer) -> None:
    key = key_of(3)
    await producer.register(key, key)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(key, key, key)
    state = await backend.observe()

    assert (state.threads, state.ready, state.parked, state.undrained) == (2, 1, 1, 1)
    assert (state.depth, state.parked_depth, state.deepest) == (5, 3, [("1:1", 2)])
    assert {tube.thread: tube.state for tube in state.oldest} == {"1:1": "ready", "2:3": "parked"}


async def test_a_parked_thread_is_explained_by_those_it_waits_for(backend: Backend, producer: Producer) -> None:
    await producer.register(0)
    await backend.storage.reshard(SHARD, MANY)
    await backend.settle(await backend.bind_one(), release=True)
    await producer.register(key_of(1), key_of(3), key_of(2))
    await backend.storage.reshard(SHARD, FEW)
    await producer.register(key_of(1))

    assert (await backend.storage.explain(SHARD, "3:1")).waits_for == ["2:1", "2:3"]
    assert (await backend.storage.explain(SHARD, "2:1")).waits_for is None


async def test_who_waits_is_called_when_a_parked_thread_is_free(backend: Backend, producer: Producer) -> None:
    await producer.register(7)
    await backend.storage.reshard(SHARD, MANY)
    await producer.register(7)
    old = await backend.bind_one()
    await backend.coordinator.wait([SHARD], "w/2", 0.05)
    waiting = asyncio.create_task(backend.another_coordinator().wait([SHARD], "w/2", 60))
    await asyncio.sleep(0)
    await backend.settle(old)

    async with asyncio.timeout(5):
        await waiting


async def test_many_parked_threads_become_ready_step_by_step(backend: Backend) -> None:
    """No call of a worker takes longer for what others wait for."""
    await backend.storage.reshard(SHARD, 1)
    await backend.storage.register(SHARD, Registration([Entry("1:0", 0, [b"old"])], layout=Layout(1, 1)))
    await backend.storage.reshard(SHARD, 110)
    entries = [Entry(f"2:{number}", 0, [b"new"]) for number in range(110)]
    await backend.storage.register(SHARD, Registration(entries, layout=Layout(2, 110)))
    await backend.settle(await backend.bind_one(), release=True)
    await backend.bind(threads=0)
    after_a_look = await backend.observe()
    await backend.bind(threads=0)
    after_another = await backend.observe()

    assert (after_a_look.ready, after_a_look.parked) == (30, 80)
    assert (after_another.ready, after_another.parked) == (60, 50)


class Workers:
    """Workers that never wait: what each has in hand, and what was done of each key."""

    def __init__(self, backend: Backend, choices: random.Random) -> None:
        self.backend, self.choices = backend, choices
        self.batches: list[Batch] = []
        self.done: dict[int, list[int]] = {}

    async def bind(self) -> None:
        owner = f"w/{self.choices.randrange(3)}"
        self.batches += await self.backend.bind(owner, threads=self.choices.randrange(1, 4), wanted=3)
        in_hand = [{job.key for job in jobs(batch)} for batch in self.batches]
        assert sum(map(len, in_hand)) == len(set().union(*in_hand)), f"a key is in two hands: {in_hand}"

    async def work(self) -> None:
        """Settle a part of a batch, or all of it; put it off; lose it."""
        batch = self.batches.pop(self.choices.randrange(len(self.batches)))
        fate = self.choices.random()
        if fate < 0.1:
            await self.backend.fail(batch, delay=0)
        elif fate < 0.2:
            await self.backend.release(batch.lease)
        else:
            await self.settle(batch, self.choices.randrange(1, len(batch.messages) + 1))

    async def settle(self, batch: Batch, count: int) -> None:
        for job in jobs(batch)[:count]:
            self.done.setdefault(job.key, []).append(job.number)
        settlement = Settlement(batch.lease, 0, batch.first + count - 1, 0, wanted=3, release=True)
        (settled,) = await self.backend.storage.settle([settlement])
        self.batches += [settled.batch] if settled.batch else []


@pytest.mark.parametrize(("before", "after"), [(8, 32), (32, 8), (8, 12), (1, 7), (7, 1)])
async def test_the_order_of_each_key_survives_changes(backend: Backend, before: int, after: int) -> None:
    """Producers register, with what they know, while workers work, fail and let go, and the layout changes twice."""
    choices = random.Random(f"{before}-{after}")
    producers = [Queue(backend.storage), Queue(another_storage(backend))]
    workers, numbers, wishes = Workers(backend, choices), dict.fromkeys(range(40), 0), [after, before]
    await backend.storage.reshard(SHARD, before)
    for step in range(300):
        if step > 50 and wishes and await is_changed(backend, wishes[0]):
            wishes.pop(0)
        await register_some(choices.choice(producers), choices, numbers)
        for _ in range(choices.randrange(5)):
            await (workers.work() if workers.batches and choices.random() < 0.6 else workers.bind())
    while (await backend.observe()).depth:
        await (workers.work() if workers.batches else workers.bind())

    assert workers.done == {key: list(range(1, count + 1)) for key, count in numbers.items() if count}
    assert (await backend.observe()).layout == Layout(3, before)


def another_storage(backend: Backend) -> Storage:
    """What a process has that heard of no change."""
    return RedisStorage(backend.redis) if isinstance(backend, RedisBackend) else copy(backend.storage)


async def register_some(queue: Queue, choices: random.Random, numbers: dict[int, int]) -> None:
    batch = []
    for key in choices.choices(list(numbers), k=choices.randrange(6)):
        numbers[key] += 1
        batch.append(Job(key, numbers[key]))
    await queue.register(Keyed, *batch)


async def is_changed(backend: Backend, threads: int) -> bool:
    try:
        return (await backend.storage.reshard(SHARD, threads)).is_changed
    except ReshardError:
        return False


async def test_workers_keep_the_order_of_each_key_while_the_layout_changes(backend: Backend) -> None:
    """From 8 to 32 threads and on to 12, under a producer that goes on, and a thread that is held all the while."""
    handled: dict[int, list[int]] = {}
    at_work: set[int] = set()
    gate = asyncio.Event()

    class Slow(Keyed):
        name = SHARD.handler
        threads = 8

        async def perform(self, *requests: Job) -> None:
            keys = {request.key for request in requests}
            assert not keys & at_work, "a key is in two hands"
            at_work.update(keys)
            await (gate.wait() if 7 in keys else asyncio.sleep(0))
            for request in requests:
                handled.setdefault(request.key, []).append(request.number)
            at_work.difference_update(keys)

    async def produce(numbers: range) -> None:
        for number in numbers:
            await queue.register(Slow, *[Job(key, number) for key in range(60)])

    def working() -> "asyncio.Future[list[int]]":
        """Until nothing is left."""
        return asyncio.gather(
            *[Worker(backend.another_coordinator(), queue, handlers=[Slow]).loop(10_000) for _ in range(3)]
        )

    settings.worker_batch_size, settings.worker_concurrency = 3, 4
    settings.worker_empty_limit, settings.worker_empty_pause = 1, 0.2
    queue = Queue(backend.storage)
    async with asyncio.timeout(30):
        await produce(range(1, 6))
        workers = working()
        await queue.reshard(Slow, 32)
        await produce(range(6, 11))
        with pytest.raises(ReshardError):
            await queue.reshard(Slow, 12)
        gate.set()
        await workers
        await queue.reshard(Slow, 12)
        await asyncio.gather(working(), produce(range(11, 16)))

    assert handled == {key: list(range(1, 16)) for key in range(60)}


@pytest.mark.redis
async def test_a_wiped_redis_takes_the_layout_of_the_first_producer_that_comes(on_redis: RedisBackend) -> None:
    producer = Producer(on_redis)
    await producer.register(1)
    await on_redis.storage.reshard(SHARD, MANY)
    await producer.register(1)
    await on_redis.redis.flushall()
    (tube,) = await producer.register(key_of(5))

    assert tube.thread == "2:5"
    assert (await on_redis.observe()).layout == Layout(2, MANY)


OLD_LAYOUT, NEW_LAYOUT = Layout(1, 2500), Layout(2, 1250)
"""One step does not look at all old threads. n of the new layout shares keys with n and n + 1,250 of the old one."""
LATE = 1999
"""An old thread that the first step does not look at."""


async def register_by_hash(backend: RedisBackend, layout: Layout, *hashes: int) -> None:
    entries = [Entry(layout.thread(number % layout.threads), 0, [b"#%08x" % number]) for number in hashes]
    for at in range(0, len(entries), 500):
        await backend.storage.register(SHARD, Registration(entries[at : at + 500], layout=layout))


async def begin(backend: RedisBackend) -> None:
    """The first step of a change, as if its caller ended then."""
    keys = backend.redis_storage.keys.of(SHARD)
    await backend.redis_storage.scripts.run_once("reshard", keys, [NEW_LAYOUT.threads], seconds=5)


async def test_a_change_looks_at_its_old_threads_in_steps(on_redis: RedisBackend) -> None:
    await register_by_hash(on_redis, OLD_LAYOUT, *range(OLD_LAYOUT.threads))
    before = await on_redis.redis.info("commandstats")
    assert await on_redis.storage.reshard(SHARD, NEW_LAYOUT.threads) == (NEW_LAYOUT, OLD_LAYOUT.threads, True)

    after = await on_redis.redis.info("commandstats")
    calls = [stats.get("cmdstat_evalsha", {"calls": 0})["calls"] for stats in (before, after)]
    assert calls[1] - calls[0] >= 3
    assert faults(await snapshot(on_redis.redis_storage, SHARD)) == []


async def test_a_new_thread_waits_for_an_old_one_that_is_not_looked_at_yet(on_redis: RedisBackend) -> None:
    await register_by_hash(on_redis, OLD_LAYOUT, LATE)
    await begin(on_redis)
    await register_by_hash(on_redis, NEW_LAYOUT, LATE)
    handed_out = []
    while batch := next(iter(await on_redis.bind(threads=10)), None):
        handed_out.append(batch.tube.thread)
        await on_redis.settle(batch, release=True)

    assert handed_out == [f"1:{LATE}", f"2:{LATE % NEW_LAYOUT.threads}"]


async def test_workers_finish_a_change_whose_caller_has_ended(on_redis: RedisBackend) -> None:
    """Also new threads whose classes have no old thread wait until then, and no longer."""
    await register_by_hash(on_redis, OLD_LAYOUT, LATE)
    await begin(on_redis)
    await register_by_hash(on_redis, NEW_LAYOUT, LATE - 1)
    assert (await on_redis.observe()).parked == 1
    assert faults(await snapshot(on_redis.redis_storage, SHARD)) == []

    found = [thread for _ in range(3) for thread in await bound(on_redis)]
    assert found == [f"1:{LATE}", f"2:{(LATE - 1) % NEW_LAYOUT.threads}"]
    assert (await on_redis.storage.reshard(SHARD, NEW_LAYOUT.threads)).is_changed is False
    assert faults(await snapshot(on_redis.redis_storage, SHARD)) == []


async def test_an_old_thread_that_drains_before_it_is_looked_at_holds_up_nothing(on_redis: RedisBackend) -> None:
    await register_by_hash(on_redis, OLD_LAYOUT, LATE)
    batch = await on_redis.bind_one()
    await begin(on_redis)
    await register_by_hash(on_redis, NEW_LAYOUT, LATE)
    await on_redis.settle(batch, release=True)

    assert [thread for _ in range(3) for thread in await bound(on_redis)] == [f"2:{LATE % NEW_LAYOUT.threads}"]


async def test_a_change_that_is_not_finished_is_finished_before_the_next(on_redis: RedisBackend) -> None:
    await register_by_hash(on_redis, OLD_LAYOUT, LATE)
    await begin(on_redis)
    with pytest.raises(ReshardError, match="1 thread of the previous layout"):
        await on_redis.storage.reshard(SHARD, 5)

    await on_redis.settle(await on_redis.bind_one(), release=True)
    assert await on_redis.storage.reshard(SHARD, 5) == (Layout(3, 5), 0, True)


async def test_a_repair_finishes_a_change(on_redis: RedisBackend) -> None:
    await register_by_hash(on_redis, OLD_LAYOUT, LATE)
    await begin(on_redis)
    await register_by_hash(on_redis, NEW_LAYOUT, LATE, LATE - 1)
    await repair(on_redis.redis_storage, SHARD)

    assert faults(await snapshot(on_redis.redis_storage, SHARD)) == []
    assert sorted(await bound(on_redis)) == [f"1:{LATE}", f"2:{(LATE - 1) % NEW_LAYOUT.threads}"]
    assert (await on_redis.observe()).parked == 1
