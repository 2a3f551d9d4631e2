"""What occurs again and again: each occurrence is registered once, at its time, by whoever comes first."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sharded_queue import Handler, Queue, QueueFull, Route, RuntimeCoordinator, RuntimeStorage, Worker, settings
from sharded_queue.backends.redis.check import faults
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.context import current
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Entry, Registration, Schedule, Settlement
from sharded_queue.timing import Timing, by_cron, every
from tests.contract.backend import SHARD, STALL_SECONDS, STAMP, Backend, RedisBackend, assert_went_by, handed
from tests.contract.lossy import ANSWER_LOST, COMMAND_LOST, make_lossy
from tests.contract.test_dropping import drop
from tools.redis_proxy import CUTS, Cut, CuttingProxy
from tools.redis_server import RedisServer

TEN = every(10)
HOUR = 3_600_000


def plan(
    name: str = "n",
    timing: Timing = TEN,
    body: str = "x",
    thread: str = "a",
    priority: int = 0,
    *,
    skip_if_waiting: bool = False,
) -> Schedule:
    return Schedule(name, timing, thread, priority, body.encode(), skip_if_waiting)


async def occur(backend: Backend) -> None:
    await backend.advance(11)
    await backend.storage.register_due(SHARD)


async def seconds_left(backend: Backend) -> list[float | None]:
    """Until the next occurrence, as told by those who register and by those who bind."""
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/1", 0, 0, 15.0))
    return [await backend.storage.register_due(SHARD), bound.occurs_seconds]


async def test_a_request_is_registered_when_its_time_has_come(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan(timing=every(60)))
    await backend.advance(60 - STALL_SECONDS)
    await backend.storage.register_due(SHARD)
    before = await backend.waiting("a")
    await backend.advance(STALL_SECONDS + 1)
    await backend.storage.register_due(SHARD)

    assert (before, await backend.waiting("a")) == ([], ["x"])


async def test_an_occurrence_counts_as_registered_at_its_time(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(15)
    ((schedule,)) = await backend.storage.schedules(SHARD)
    await backend.storage.register_due(SHARD)
    batch = await backend.bind_one()

    assert [int(message[:STAMP]) for message in batch.messages] == [schedule.next_ms]


async def test_an_occurrence_is_registered_once_among_all_who_come(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(11)
    await asyncio.gather(*[backend.storage.register_due(SHARD) for _ in range(20)])

    assert await backend.waiting("a") == ["x"]


async def test_a_schedule_occurs_again_and_again(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    for _ in range(3):
        await backend.advance(10)
        await backend.storage.register_due(SHARD)

    assert await backend.waiting("a") == ["x", "x", "x"]


async def test_an_occurrence_is_left_out_while_the_one_before_waits(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan(skip_if_waiting=True))
    await occur(backend)
    await occur(backend)
    waiting = await backend.waiting("a")
    batch = await backend.bind_one()
    await occur(backend)
    in_hand = await backend.waiting("a")
    await backend.fail(batch, 3600)
    await occur(backend)
    failed = await backend.waiting("a")

    assert (waiting, in_hand, failed) == (["x"], ["x"], ["x"])
    assert [schedule.skip_if_waiting for schedule in await backend.storage.schedules(SHARD)] == [True]


@pytest.mark.parametrize("is_dead", [False, True])
async def test_an_occurrence_follows_one_that_was_handled_or_is_dead(backend: Backend, is_dead: bool) -> None:
    await backend.storage.schedule(SHARD, plan(skip_if_waiting=True))
    await occur(backend)
    batch = await backend.bind_one()
    await backend.storage.schedule(SHARD, plan(skip_if_waiting=True))  # as each process does when it starts
    await backend.register("a", "behind")
    await (backend.fail(batch, None) if is_dead else backend.settle(batch))
    await occur(backend)

    assert await backend.waiting("a") == ["behind", "x"]


async def test_an_occurrence_that_skips_is_known_where_requests_before_it_are_dropped(backend: Backend) -> None:
    await backend.register("a", "first", "second", "third")
    await backend.storage.schedule(SHARD, plan(skip_if_waiting=True))
    await occur(backend)
    await drop(backend, "a", "second", "third")
    await occur(backend)
    waiting = await backend.waiting("a")
    await drop(backend, "a", "x")
    await occur(backend)

    assert (waiting, await backend.waiting("a")) == (["first", "x"], ["first", "x"])
    assert len(await backend.storage.dead(SHARD)) == 3


async def test_missed_occurrences_are_caught_up_once_and_the_beat_is_kept(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(96)
    ((first,)) = await backend.storage.schedules(SHARD)
    await backend.storage.register_due(SHARD)
    ((following,)) = await backend.storage.schedules(SHARD)

    assert await backend.waiting("a") == ["x"]
    assert following.next_ms - first.next_ms == 90_000


async def test_the_next_occurrence_is_told(backend: Backend) -> None:
    none = await seconds_left(backend)
    began = time.monotonic()
    await backend.storage.schedule(SHARD, plan())
    await backend.storage.schedule(SHARD, plan("later", every(60)))
    told = await seconds_left(backend)

    assert none == [None, None]
    for seconds in told:
        assert seconds is not None
        assert_went_by(began, 10 - seconds)


async def test_what_is_due_is_told_to_those_who_bind(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(11)

    assert (await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 15.0))).occurs_seconds == 0


async def test_whoever_waits_for_work_hears_of_a_new_schedule(backend: Backend) -> None:
    waiting = asyncio.create_task(backend.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0.05)
    await backend.storage.schedule(SHARD, plan())

    async with asyncio.timeout(2):
        await waiting


async def test_a_due_schedule_asks_for_a_worker(backend: Backend) -> None:
    began = time.monotonic()
    await backend.storage.schedule(SHARD, plan())
    before = await backend.observe()
    await backend.advance(11)
    due = await backend.observe()
    await backend.storage.register_due(SHARD)
    after = await backend.observe()

    assert [(state.schedules, state.overdue, state.depth, state.registered) for state in (before, due, after)] == [
        (1, 0, 0, 0),
        (1, 1, 0, 0),
        (1, 0, 1, 1),
    ]
    assert (before.overdue_seconds, after.overdue_seconds) == (0, 0)
    assert_went_by(began, due.overdue_seconds - 1)
    assert before.born is not None


async def test_the_same_schedule_said_again_changes_nothing(backend: Backend) -> None:
    first = await backend.storage.schedule(SHARD, plan())
    await backend.advance(5)
    ((moved,)) = await backend.storage.schedules(SHARD)
    again = await backend.storage.schedule(SHARD, plan())

    assert again == moved.next_ms <= first
    assert len(await backend.storage.schedules(SHARD)) == 1


async def test_another_request_of_the_same_timing_keeps_the_next_occurrence(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(5)
    await backend.storage.schedule(SHARD, plan(body="y", thread="b c", priority=-3))
    await backend.advance(6)
    await backend.storage.register_due(SHARD)

    assert (await backend.waiting("a"), await backend.waiting("b c", -3)) == ([], ["y"])


async def test_another_timing_begins_anew(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(9)
    await backend.storage.schedule(SHARD, plan(timing=every(60)))
    await backend.advance(60 - STALL_SECONDS)
    await backend.storage.register_due(SHARD)
    early = await backend.waiting("a")
    await backend.advance(STALL_SECONDS + 1)
    await backend.storage.register_due(SHARD)

    assert (early, await backend.waiting("a")) == ([], ["x"])


async def test_a_cron_line_occurs(backend: Backend) -> None:
    """Within the next day, as it occurs once a day at the most."""
    next_ms = await backend.storage.schedule(SHARD, plan(timing=by_cron("30 2 * * *", "Europe/Berlin")))
    await backend.advance(25 * 3600)
    left = await backend.storage.register_due(SHARD)

    assert next_ms % 60_000 == 0
    assert left is not None
    assert 0 < left <= 25 * 3600
    assert await backend.waiting("a") == ["x"]


async def test_a_schedule_that_was_removed_occurs_no_more(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(11)
    answers = [await backend.storage.unschedule(SHARD, "n"), await backend.storage.unschedule(SHARD, "n")]

    assert await backend.storage.register_due(SHARD) is None
    assert (answers, await backend.waiting("a")) == ([True, False], [])
    assert (await backend.observe()).schedules == 0


async def test_more_schedules_than_are_read_in_one_step_are_listed(backend: Backend) -> None:
    for number in range(230):
        timing = Timing(every_ms=1_000_000 + 1000 * (number % 7))
        await backend.storage.schedule(SHARD, Schedule(f"n{number}", timing, "a", 0, b"1"))

    listed = await backend.storage.schedules(SHARD)

    assert {schedule.name for schedule in listed} == {f"n{number}" for number in range(230)}
    assert [schedule.next_ms for schedule in listed] == sorted(schedule.next_ms for schedule in listed)


async def test_schedules_are_listed_the_next_first(backend: Backend) -> None:
    for seconds in (30, 10, 20):
        await backend.storage.schedule(SHARD, plan(f"every {seconds}", every(seconds), f"{seconds}", "t h", -seconds))

    listed = [schedule[:5] for schedule in await backend.storage.schedules(SHARD)]
    assert listed == [(f"every {n}", f"every {n} s", "t h", -n, b"%d" % n) for n in (10, 20, 30)]


async def test_what_is_due_joins_the_tail_in_the_order_of_its_times(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.schedule(SHARD, plan("second", every(20), "3"))
    await backend.storage.schedule(SHARD, plan("first", every(15), "2"))
    await backend.advance(21)
    await backend.storage.register_due(SHARD)
    await backend.register("a", "4")

    assert handed(await backend.bind_one()) == ["1", "2", "3", "4"]


async def test_a_delayed_request_that_was_due_before_goes_before(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan(body="2"))
    await backend.storage.register(SHARD, Registration([Entry("a", 0, [b"1"])], delay_seconds=5))
    await backend.advance(11)
    await backend.storage.register_due(SHARD)

    assert handed(await backend.bind_one()) == ["1", "2"]


async def test_an_occurrence_joins_a_thread_that_is_held(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan())
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.settle(batch)
    await backend.advance(11)
    await backend.storage.register_due(SHARD)

    async with asyncio.timeout(2):
        await backend.coordinator.wait([SHARD], "w/1", 30)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, wanted=9)])
    assert handed(settled.batch) == ["x"]


async def test_one_name_is_one_schedule(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, plan("a b"))
    await backend.storage.schedule(SHARD, plan("a"))
    await backend.storage.schedule(SHARD, plan("a b", body="y"))

    assert sorted(schedule.name for schedule in await backend.storage.schedules(SHARD)) == ["a", "a b"]


# What only Redis can get wrong.


@pytest.mark.parametrize("first", [0, 1])
async def test_two_that_say_one_name_at_the_same_time_leave_one_schedule(backend: Backend, first: int) -> None:
    """Two releases route it to two shards; each once removed it elsewhere before either had put it."""

    class Spread(Handler):
        shards = 2

        @classmethod
        async def route(cls, *threads: str) -> list[Route]:
            return [Route(thread) for thread in threads]

        async def perform(self, *threads: str) -> None: ...

    threads = {Spread.shard_of(thread).number: thread for thread in "abcdefgh"}
    queue = Queue(backend.storage)
    put, both, seen = backend.storage.schedule, asyncio.Barrier(2), asyncio.Event()

    async def put_when_both_have_looked(*arguments: Any) -> int:
        if not seen.is_set():
            await both.wait()
            seen.set()
        return await put(*arguments)

    backend.storage.schedule = put_when_both_have_looked  # type: ignore[method-assign]
    await asyncio.gather(
        queue.schedule(Spread, threads[first], name="beat", every_seconds=30),
        queue.schedule(Spread, threads[1 - first], name="beat", every_seconds=30),
    )

    assert len(await queue.schedules(Spread)) == 1


@pytest.mark.redis
@pytest.mark.parametrize("losses", [[ANSWER_LOST], [COMMAND_LOST], [ANSWER_LOST] * 3, [COMMAND_LOST, ANSWER_LOST] * 2])
async def test_an_occurrence_whose_answer_was_lost_is_registered_once(
    on_redis: RedisBackend, losses: list[str]
) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.storage.schedule(SHARD, plan())
    await on_redis.advance(11)
    link.fates.extend(losses)
    await on_redis.storage.register_due(SHARD)

    assert await on_redis.waiting("a") == ["x"]
    assert (await on_redis.observe()).registered == 1


@pytest.mark.redis
async def test_a_schedule_whose_answer_was_lost_is_put_once_and_answers_the_same(on_redis: RedisBackend) -> None:
    link = make_lossy(on_redis.redis_storage)
    await on_redis.storage.schedule(SHARD, plan("loads the script"))
    link.fates.extend([ANSWER_LOST] * 3)
    next_ms = await on_redis.storage.schedule(SHARD, plan())

    assert next_ms in [schedule.next_ms for schedule in await on_redis.storage.schedules(SHARD) if schedule.name == "n"]


@pytest.mark.redis
@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_at_any_command_of_a_schedule_changes_nothing(redis_server: RedisServer, cut: Cut) -> None:
    direct = Redis(host="127.0.0.1", port=redis_server.port)
    backend, at, has_cut = RedisBackend(direct), 0, True
    while has_cut:
        await direct.flushall()
        await direct.script_flush()
        async with CuttingProxy(redis_server.port, at, cut) as proxy:
            through = Redis(host="127.0.0.1", port=proxy.port, retry=Retry(NoBackoff(), 0))
            storage = RedisStorage(through)
            await storage.schedule(SHARD, plan())
            await backend.advance(11)
            await storage.register_due(SHARD)
            await storage.unschedule(SHARD, "n")
            await through.aclose()
            assert (at, await backend.waiting("a")) == (at, ["x"])
            assert faults(await snapshot(backend.redis_storage, SHARD)) == []
            has_cut, at = proxy.has_cut, at + 1
    await direct.aclose()

    assert at > 5


async def carry_out(backend: RedisBackend, name: str, moment: int, timing: str, following: int) -> list[str]:
    """What waits after this occurrence was to be registered, by somebody who saw it due a while ago."""
    storage = backend.redis_storage
    arguments = [name, moment, timing, following]
    await storage.scripts.run("register_due", storage.keys.of(SHARD), arguments, seconds=5)
    return await backend.waiting("a")


@pytest.mark.redis
async def test_who_comes_late_to_an_occurrence_registers_nothing(on_redis: RedisBackend) -> None:
    await on_redis.storage.schedule(SHARD, plan())
    await on_redis.advance(11)
    ((due,)) = await on_redis.storage.schedules(SHARD)
    await on_redis.storage.register_due(SHARD)

    assert await carry_out(on_redis, "n", due.next_ms, due.timing, due.next_ms + HOUR) == ["x"]
    ((moved,)) = await on_redis.storage.schedules(SHARD)
    assert moved.next_ms == due.next_ms + 10_000


@pytest.mark.redis
async def test_an_occurrence_of_a_timing_that_was_replaced_is_not_registered(on_redis: RedisBackend) -> None:
    await on_redis.storage.schedule(SHARD, plan())
    await on_redis.advance(11)
    ((due,)) = await on_redis.storage.schedules(SHARD)

    assert await carry_out(on_redis, "n", due.next_ms, "every 7 s", due.next_ms + HOUR) == []


@pytest.mark.redis
async def test_an_occurrence_whose_next_is_over_is_asked_for_again(on_redis: RedisBackend) -> None:
    """Whoever saw it due was held up for so long that the next one would be due as well: one is caught up, not two."""
    await on_redis.storage.schedule(SHARD, plan())
    await on_redis.advance(95)
    ((due,)) = await on_redis.storage.schedules(SHARD)

    assert await carry_out(on_redis, "n", due.next_ms, due.timing, due.next_ms + 10_000) == []
    await on_redis.storage.register_due(SHARD)
    assert await on_redis.waiting("a") == ["x"]


@pytest.mark.redis
async def test_what_is_not_due_yet_is_not_registered(on_redis: RedisBackend) -> None:
    """By the clock of Redis, whatever that of the worker says."""
    next_ms = await on_redis.storage.schedule(SHARD, plan())

    assert await carry_out(on_redis, "n", next_ms, str(TEN), next_ms + 10_000) == []


@pytest.mark.redis
async def test_a_schedule_that_lost_its_time_gets_one_when_it_is_said_again(on_redis: RedisBackend) -> None:
    await on_redis.storage.schedule(SHARD, plan())
    await on_redis.redis.delete(f"{on_redis.redis_storage.keys.base(SHARD)}:occurrences")
    next_ms = await on_redis.storage.schedule(SHARD, plan())

    assert [schedule.next_ms for schedule in await on_redis.storage.schedules(SHARD)] == [next_ms]


@pytest.mark.redis
async def test_what_a_full_redis_refuses_occurs_when_it_has_room(
    own_backend: Callable[..., tuple[RedisServer, RedisBackend]],
) -> None:
    _, backend = own_backend()
    await backend.storage.schedule(SHARD, plan())
    await backend.advance(95)
    await backend.redis.config_set("maxmemory", "1mb")
    with pytest.raises(QueueFull, match="memory limit"):
        await backend.storage.register_due(SHARD)
    await backend.redis.config_set("maxmemory", "0")
    await backend.storage.register_due(SHARD)

    assert await backend.waiting("a") == ["x"]


@pytest.mark.redis
async def test_a_schedule_that_is_unknown_here_stops_no_other(on_redis: RedisBackend) -> None:
    began = time.monotonic()
    await on_redis.storage.schedule(SHARD, plan())
    await on_redis.storage.schedule(SHARD, plan("new", body="y"))
    schedules = f"{on_redis.redis_storage.keys.base(SHARD)}:schedules"
    await on_redis.redis.hset(schedules, "new", "11 1 0 by the moonay")
    await on_redis.advance(11)
    left = await on_redis.storage.register_due(SHARD)

    assert await on_redis.waiting("a") == ["x"]
    assert left is not None
    assert_went_by(began, 10 - (left + 1))


# Workers.

Backends = Callable[[], tuple[Any, Any]]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def real_time(request: pytest.FixtureRequest) -> Backends:
    """Makes a storage and a coordinator whose clock is the real one."""
    if request.param == "memory":
        storage = RuntimeStorage()
        return lambda: (storage, RuntimeCoordinator())
    redis = request.getfixturevalue("redis")
    return lambda: (RedisStorage(redis), RedisCoordinator(redis))


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await happened():  # noqa: ASYNC110 - a storage tells nobody
            await asyncio.sleep(0.01)


async def test_many_workers_handle_each_occurrence_once_and_in_time(real_time: Backends) -> None:
    occurred: list[int] = []

    class BeatHandler(Handler):
        async def perform(self, *requests: int) -> None:
            occurred.extend(current().registered_ms)

    workers = []
    for _ in range(3):
        storage, coordinator = real_time()
        workers.append(Worker(coordinator, Queue(storage), handlers=[BeatHandler]))
    loops = [asyncio.create_task(worker.loop()) for worker in workers]
    first = await Queue(storage).schedule(BeatHandler, 1, name="beat", every_seconds=1)

    async def thrice() -> bool:
        return len(occurred) >= 3

    await until(thrice)
    for worker in workers:
        worker.stop()
    await asyncio.gather(*loops)

    begin = round(first.timestamp() * 1000)
    assert occurred[:3] == [begin, begin + 1000, begin + 2000]


async def test_a_worker_that_may_take_nothing_more_registers_in_time(real_time: Backends) -> None:
    """It asks for no thread, and so hears of no schedule."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    class BusyHandler(Handler):
        async def perform(self, *requests: int) -> None:
            begun.set()
            await go_on.wait()

    settings.coordinator_delay = 0.02
    storage, coordinator = real_time()
    worker = Worker(coordinator, Queue(storage), handlers=[BusyHandler])
    await worker.queue.register(BusyHandler, 1)
    looping = asyncio.create_task(worker.loop(1))
    await begun.wait()
    await worker.queue.schedule(BusyHandler, 2, name="beat", every_seconds=1)

    async def occurred() -> bool:
        (state,) = await storage.observe(BusyHandler.all_shards())
        return bool(state.depth == 2)

    await until(occurred)
    go_on.set()
    worker.stop()
    await looping
