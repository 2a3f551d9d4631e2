"""
The clock of the storage is set back (a step of NTP, a failover to a machine whose clock is behind): no wait becomes
longer than what was asked for, and no age is negative.
"""

from collections.abc import AsyncIterator, Callable
from math import ceil
from typing import NamedTuple

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sharded_queue import timing
from sharded_queue.backends.redis.check import faults
from sharded_queue.backends.redis.snapshot import QUARANTINED, snapshot
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Entry, Registration, Schedule
from sharded_queue.timing import Timing
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, MemoryBackend, RedisBackend, handed
from tests.contract.shifted import ShiftedServer, require_compiler
from tests.harness.requirements import require_redis

HOUR = 3600
SWEEP = 30
"""How many delayed requests a bind of the Redis backend puts into their tubes."""
MARGIN = 60.0
"""Between what must come at once and what would be an hour late: seconds that a loaded machine may need."""


class Clocked(NamedTuple):
    backend: Backend
    step: Callable[[int], None]
    """Sets the clock a number of seconds ahead or back."""


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def clocked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clocked]:
    if request.param == "memory":
        in_memory = MemoryBackend()

        def step(seconds: int) -> None:
            in_memory.now_ms += seconds * 1000

        yield Clocked(in_memory, step)
        return
    require_redis()
    require_compiler()
    server = ShiftedServer(tmp_path_factory.mktemp("shifted"))
    server.start()
    client = Redis(host="127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0))
    off = [0]

    def step_server(seconds: int) -> None:
        off[0] += seconds
        server.set_clock(off[0])

    yield Clocked(RedisBackend(client), step_server)
    await client.aclose()
    server.kill()


async def look(backend: Backend) -> float | None:
    """A worker looks for threads and finds none; seconds until something is due."""
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/look", 1, 128, LEASE_SECONDS))
    assert not bound.batches
    return bound.next_seconds


async def test_a_back_off_gets_no_longer(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await clocked.backend.fail(await clocked.backend.bind_one(), 100)

    clocked.step(-HOUR)
    await look(clocked.backend)
    state = await clocked.backend.storage.explain(SHARD, "a")

    assert state.blocked_seconds is not None
    assert 0 < state.blocked_seconds <= 101


async def test_a_pause_stays_one(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await look_at_nothing(clocked.backend)
    await clocked.backend.storage.pause(SHARD, "a", True)

    clocked.step(-HOUR)
    await look(clocked.backend)

    assert (await clocked.backend.storage.explain(SHARD, "a")).blocked_seconds == float("inf")


@pytest.mark.parametrize("clocked", [pytest.param("redis", marks=pytest.mark.redis)], indirect=True)
async def test_a_quarantine_stays_one(clocked: Clocked) -> None:
    assert isinstance(clocked.backend, RedisBackend)
    await clocked.backend.register("a", "1")
    await look_at_nothing(clocked.backend)
    await clocked.backend.redis.hset("tube_{tests.Handler}:threads", "a", "garbage")
    await look(clocked.backend)

    clocked.step(-HOUR)
    await look(clocked.backend)

    state = await clocked.backend.storage.explain(SHARD, "a")
    assert (state.flaw, state.blocked_seconds) == ("the record of its tubes cannot be read", float("inf"))
    assert await clocked.backend.redis.zscore("tube_{tests.Handler}:blocked", "a") == QUARANTINED


async def look_at_nothing(backend: Backend) -> None:
    """As a worker does now and then, so that the shard knows what time it is."""
    await backend.release((await backend.bind_one()).lease)


async def test_a_delay_gets_no_longer(clocked: Clocked) -> None:
    await clocked.backend.storage.register(SHARD, Registration([Entry("a", 0, [b"1"])], delay_seconds=100))

    clocked.step(-HOUR)
    until = await look(clocked.backend)
    await clocked.backend.advance(101)

    assert until is not None
    assert until <= 101
    assert handed(await clocked.backend.bind_one()) == ["1"]


async def test_delayed_requests_keep_their_order(clocked: Clocked) -> None:
    for body, delay in ((b"3", 300), (b"1", 100), (b"2", 200)):
        await clocked.backend.storage.register(SHARD, Registration([Entry("a", 0, [body])], delay_seconds=delay))

    clocked.step(-HOUR)
    await look(clocked.backend)
    await clocked.backend.storage.register(SHARD, Registration([Entry("a", 0, [b"4"])], delay_seconds=400))
    await clocked.backend.advance(500)

    assert handed(await clocked.backend.bind_one()) == ["1", "2", "3", "4"]


async def test_an_interval_gets_no_longer(clocked: Clocked) -> None:
    await clocked.backend.storage.schedule(SHARD, Schedule("pulse", Timing(every_ms=100_000), "a", 0, b"1"))

    clocked.step(-HOUR)
    bound = await clocked.backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS))
    coming = await clocked.backend.storage.register_due(SHARD)

    assert bound.occurs_seconds is not None
    assert coming is not None
    assert bound.occurs_seconds <= 101
    assert coming <= 101


async def test_the_scheduler_of_a_busy_worker_sees_it_too(clocked: Clocked) -> None:
    await clocked.backend.storage.schedule(SHARD, Schedule("pulse", Timing(every_ms=100_000), "a", 0, b"1"))

    clocked.step(-HOUR)
    coming = await clocked.backend.storage.register_due(SHARD)

    assert coming is not None
    assert coming <= 101


async def test_a_cron_line_goes_by_the_clock_that_is_right(clocked: Clocked) -> None:
    yearly = Schedule("yearly", timing.by_cron("0 0 1 1 *"), "a", 0, b"1")
    before = await clocked.backend.storage.schedule(SHARD, yearly)

    clocked.step(-HOUR)
    await look(clocked.backend)
    (after,) = await clocked.backend.storage.schedules(SHARD)

    assert after.next_ms == before


async def test_a_cordon_gets_no_longer(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await look_at_nothing(clocked.backend)
    await clocked.backend.coordinator.cordon(SHARD, ["w"], 1)

    clocked.step(-HOUR)
    await clocked.backend.coordinator.bind(SHARD, BindRequest("other/1", 0, 0, LEASE_SECONDS))
    clocked.step(10)

    assert not (await clocked.backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS))).is_cordoned


async def test_a_window_for_duplicates_gets_no_longer(clocked: Clocked) -> None:
    once = Entry("a", 0, [b"1"], ["identity"])
    await clocked.backend.storage.register(SHARD, Registration([once], window_seconds=1))

    clocked.step(-HOUR)
    await clocked.backend.storage.register(SHARD, Registration([Entry("a", 0, [b"2"], ["other"])], window_seconds=1))
    clocked.step(10)
    again = await clocked.backend.storage.register(SHARD, Registration([once], window_seconds=1))

    assert not again.duplicates


async def test_a_lease_gets_no_longer(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await clocked.backend.bind_one()

    clocked.step(-HOUR)
    until = await look(clocked.backend)

    assert until is not None
    assert until <= LEASE_SECONDS


async def test_what_was_put_off_since_waits_as_long_as_it_should(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await look_at_nothing(clocked.backend)

    clocked.step(-HOUR)
    await clocked.backend.fail(await clocked.backend.bind_one(), 1000)
    await clocked.backend.storage.register(SHARD, Registration([Entry("b", 0, [b"1"])], delay_seconds=1000))
    await look(clocked.backend)
    state = await clocked.backend.storage.explain(SHARD, "a")

    assert state.blocked_seconds is not None
    assert 1000 - MARGIN < state.blocked_seconds <= 1000
    assert not await clocked.backend.bind()


async def test_no_age_is_negative_and_who_holds_a_busy_thread_is_told(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await clocked.backend.bind_one()

    clocked.step(-HOUR)
    state = await clocked.backend.observe()

    assert state.lag_seconds == 0
    assert state.polled_seconds == 0
    assert [hold.busy_seconds > 0 for hold in state.held] == [True]


async def test_fences_grow_over_every_step(clocked: Clocked) -> None:
    fences = []
    for step in (0, HOUR, -2 * HOUR, HOUR, -2 * HOUR, 5):
        clocked.step(step)
        await clocked.backend.register("a", "1")
        batch = await clocked.backend.bind_one()
        fences.append(batch.lease.fence)
        await clocked.backend.settle(batch, release=True)

    assert fences == sorted(set(fences))


async def test_everything_adds_up_after_a_step(clocked: Clocked) -> None:
    await clocked.backend.register("a", "1")
    await clocked.backend.fail(await clocked.backend.bind_one(), 100)
    await clocked.backend.storage.register(SHARD, Registration([Entry("b", 0, [b"1"])], delay_seconds=100))
    await clocked.backend.storage.schedule(SHARD, Schedule("pulse", Timing(every_ms=100_000), "c", 0, b"1"))

    clocked.step(-HOUR)
    await look(clocked.backend)

    state = await clocked.backend.observe()
    assert (state.depth, state.blocked, state.delayed, state.schedules) == (1, 1, 1, 1)
    if isinstance(clocked.backend, RedisBackend):
        assert faults(await snapshot(clocked.backend.redis_storage, SHARD)) == []


async def test_more_than_one_part_of_what_waits_is_brought_forward(clocked: Clocked) -> None:
    await clocked.backend.storage.register(SHARD, Registration([Entry("a", 0, [b"1"] * 4500)], delay_seconds=100))

    clocked.step(-HOUR)
    while await look(clocked.backend) == 0:
        pass
    await clocked.backend.advance(101)
    for _ in range(ceil(4500 / SWEEP)):
        await clocked.backend.coordinator.bind(SHARD, BindRequest("w/1", 0, 0, LEASE_SECONDS))

    assert (await clocked.backend.observe()).depth == 4500


only_on_redis = pytest.mark.parametrize("clocked", [pytest.param("redis", marks=pytest.mark.redis)], indirect=True)
SHIFTED_AT_ONCE = 2000


async def scores(backend: Backend, index: str) -> dict[str, float]:
    assert isinstance(backend, RedisBackend)
    found = await backend.redis.zrange(f"tube_{{tests.Handler}}:{index}", 0, -1, withscores=True)
    return {member.decode(): score for member, score in found}


async def put_off(backend: Backend, seconds: float, count: int = 1) -> list[str]:
    entry = Entry("a", 0, [b"1"] * count)
    (first,) = (await backend.storage.register(SHARD, Registration([entry], delay_seconds=seconds))).firsts
    return [f"{number:016}" for number in range(first, first + count)]


async def settle_down(backend: Backend) -> int:
    """Poll as a worker does that is told to poll again at once; returns how often."""
    polls = 1
    while await look(backend) == 0:
        polls += 1
    return polls


@only_on_redis
async def test_a_step_of_the_clock_brings_so_many_waits_forward_at_once(clocked: Clocked) -> None:
    numbers = await put_off(clocked.backend, 100, 2 * SHIFTED_AT_ONCE + 1)
    before = await scores(clocked.backend, "due")
    clocked.step(-HOUR)
    assert await look(clocked.backend) == 0
    after = await scores(clocked.backend, "due")

    assert sum(after[number] != before[number] for number in numbers) == SHIFTED_AT_ONCE
    assert await settle_down(clocked.backend) == 2
    after = await scores(clocked.backend, "due")
    (shift,) = {before[number] - after[number] for number in numbers}
    assert HOUR * 1000 - MARGIN * 1000 < shift <= HOUR * 1000


@only_on_redis
@pytest.mark.parametrize("seconds", [10, 100, 1000, 4000, 8000])
async def test_what_begins_to_wait_between_two_steps_waits_as_long_as_was_asked(clocked: Clocked, seconds: int) -> None:
    """Shorter than what is shifted already, and longer than what is not; within the step of the clock, and beyond."""
    await put_off(clocked.backend, 100, SHIFTED_AT_ONCE)
    await put_off(clocked.backend, 4000, 2 * SHIFTED_AT_ONCE)
    clocked.step(-HOUR)
    assert await look(clocked.backend) == 0
    now_ms = await time_ms(clocked.backend)
    once = Registration([Entry("b", 0, [b"1"], ["one"])], delay_seconds=seconds, window_seconds=seconds)
    (number,) = (await clocked.backend.storage.register(SHARD, once)).firsts
    await settle_down(clocked.backend)

    for index, member in (("due", f"{number:016}"), ("identities", "one")):
        waits_ms = (await scores(clocked.backend, index))[member] - now_ms
        assert seconds * 1000 <= waits_ms < (seconds + MARGIN) * 1000


async def time_ms(backend: Backend) -> int:
    assert isinstance(backend, RedisBackend)
    time_s, time_us = await backend.redis.time()
    return int(time_s) * 1000 + int(time_us) // 1000


@only_on_redis
async def test_schedules_that_keep_their_times_do_not_hold_up_the_others(clocked: Clocked) -> None:
    """As many cron lines as one step takes occur at the same moment, before an interval."""
    assert isinstance(clocked.backend, RedisBackend)
    moment = await time_ms(clocked.backend) + 60_000
    base = "tube_{tests.Handler}"
    names = [f"cron{number:05}" for number in range(SHIFTED_AT_ONCE + 1)]
    record = "13 1 0 0 9 * * * UTCab"
    await clocked.backend.redis.hset(f"{base}:schedules", mapping=dict.fromkeys(names, record))
    await clocked.backend.redis.zadd(f"{base}:occurrences", dict.fromkeys(names, moment))
    await clocked.backend.storage.schedule(SHARD, Schedule("pulse", timing.every(7000), "a", 0, b"1"))
    before = await scores(clocked.backend, "occurrences")
    clocked.step(-HOUR)
    polls = await settle_down(clocked.backend)
    after = await scores(clocked.backend, "occurrences")

    assert polls == 2
    assert {name for name, score in after.items() if score != before[name]} == {"pulse"}


@only_on_redis
async def test_a_bind_looks_at_one_lease_though_others_are_longer(clocked: Clocked) -> None:
    """Workers of two releases may have leases of different length, and each bind read all of the longer ones."""
    backend = clocked.backend
    assert isinstance(backend, RedisBackend)
    for number in range(50):
        await backend.register(f"t{number}", "1")
    await backend.coordinator.bind(SHARD, BindRequest("w/1", 50, 1, 60.0))
    await backend.register("b", "1")
    await backend.redis.config_resetstat()
    await backend.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, 15.0))
    stats = await backend.redis.info("commandstats")

    assert stats["cmdstat_hget"]["calls"] < 10
