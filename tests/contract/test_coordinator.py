"""Binds: one worker a thread, a fence that only grows, and leases that end by the medium's own clock."""

import asyncio
import time
from typing import Any

import pytest

from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Entry, Failure, Registration, Settlement
from sharded_queue.tube import Shard
from sharded_queue.worker.wakeup import WakeupListener
from tests.contract.medium import LEASE_SECONDS, SHARD, Medium, MemoryMedium, RedisMedium, handed

CRASH_LIMIT = 5


async def test_second_worker_waits_for_a_bound_thread(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.bind_one("w/1")

    assert await medium.bind("w/2") == []


async def test_a_bound_thread_is_bound_with_all_its_priorities(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.bind_one("w/1")
    await medium.register("a", "2", priority=-1)
    await medium.register("a", "3", priority=1)

    assert await medium.bind("w/2") == []


async def test_coordinators_over_one_storage_exclude_each_other(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.bind_one("w/1")

    assert (await medium.another_coordinator().bind(SHARD, BindRequest("w/2", 1, 128, LEASE_SECONDS))).batches == []


async def test_even_its_own_owner_cannot_bind_a_bound_thread_again(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.bind_one("w/1")

    assert await medium.bind("w/1") == []


async def test_the_thread_with_the_oldest_request_is_bound_first(medium: Medium) -> None:
    for thread in ("second", "first"):
        await medium.register(thread, "1")
        await medium.advance(1)
    await medium.register("third", "1")

    assert [batch.lease.thread for batch in await medium.bind(threads=3)] == ["second", "first", "third"]


async def test_a_ready_thread_is_as_old_as_a_delayed_request_that_comes_to_it_later(medium: Medium) -> None:
    await medium.storage.register(SHARD, Registration([Entry("b", 5, [b"delayed"])], delay_seconds=10))
    await medium.advance(11)
    await medium.register("a", "1")
    await medium.register("b", "1")

    assert [batch.lease.thread for batch in await medium.bind(threads=2)] == ["b", "a"]


async def test_a_ready_thread_is_as_old_as_a_dead_letter_that_comes_back_to_it(medium: Medium) -> None:
    await medium.register("a", "dead", priority=5)
    batch = await medium.bind_one()
    await medium.fail(batch, delay=None)
    await medium.release(batch.lease)
    await pass_a_moment(medium)
    await medium.register("b", "1")
    await pass_a_moment(medium)
    await medium.register("a", "1")
    (dead,) = await medium.storage.dead(SHARD)
    await medium.storage.settle_dead(SHARD, [dead.number], "head")

    assert [batch.lease.thread for batch in await medium.bind(threads=2)] == ["a", "b"]


async def test_no_more_threads_are_bound_than_asked_for(medium: Medium) -> None:
    for thread in "abc":
        await medium.register(thread, "1")

    assert len(await medium.bind(threads=2)) == 2


async def test_no_more_requests_are_handed_out_than_wanted(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")

    assert handed(await medium.bind_one(wanted=2)) == ["1", "2"]


async def test_who_wants_no_request_binds_no_thread(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")

    assert await medium.bind(wanted=0) == []
    assert (await medium.observe()).ready == 1


async def test_a_drained_thread_is_not_ready(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.settle(await medium.bind_one(), release=True)

    assert await medium.bind() == []


async def test_a_released_thread_is_free_at_once(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.release((await medium.bind_one("w/1")).lease)

    assert handed(await medium.bind_one("w/2")) == ["1", "2"]


async def test_a_release_counts_as_no_attempt(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.release((await medium.bind_one("w/1")).lease)

    assert (await medium.bind_one("w/2")).attempt == 1


async def test_the_fence_grows_with_every_bind_of_a_thread(medium: Medium) -> None:
    await medium.register("a", "1")
    fences = []
    for _ in range(5):
        batch = await medium.bind_one()
        fences.append(batch.lease.fence)
        await medium.release(batch.lease)

    assert fences == sorted(set(fences))


async def test_threads_bound_in_one_call_have_fences_of_their_own(medium: Medium) -> None:
    for thread in "abc":
        await medium.register(thread, "1")

    assert len({batch.lease.fence for batch in await medium.bind(threads=3)}) == 3


async def test_the_fence_is_no_smaller_than_the_time_in_microseconds(medium: Medium) -> None:
    await medium.register("a", "1")

    assert (await medium.bind_one()).lease.fence == pytest.approx(time.time() * 1_000_000, abs=5_000_000)


async def test_the_fence_grows_though_the_clock_was_set_back() -> None:
    medium = MemoryMedium()
    await medium.register("a", "1")
    before = await medium.bind_one()
    await medium.release(before.lease)
    await medium.advance(-3600)

    assert (await medium.bind_one()).lease.fence > before.lease.fence


@pytest.mark.redis
async def test_the_fence_grows_over_a_wiped_redis(on_redis: RedisMedium) -> None:
    await on_redis.register("a", "1")
    before = await on_redis.bind_one()
    await on_redis.redis.flushall()
    await on_redis.register("a", "1")

    assert (await on_redis.bind_one()).lease.fence > before.lease.fence


@pytest.mark.redis
async def test_the_fence_grows_over_counters_from_the_past(on_redis: RedisMedium) -> None:
    await on_redis.register("a", "1")
    before = await on_redis.bind_one()
    await on_redis.release(before.lease)
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "fence", before.lease.fence - 10)

    assert (await on_redis.bind_one()).lease.fence > before.lease.fence


@pytest.mark.redis
async def test_the_fence_grows_though_the_clock_of_redis_is_behind_it(on_redis: RedisMedium) -> None:
    await on_redis.register("a", "1")
    ahead = int(time.time() * 1_000_000) + 3_600_000_000
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "fence", ahead)

    assert (await on_redis.bind_one()).lease.fence == ahead + 1


async def test_an_expired_thread_is_free(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.bind_one("w/1")
    await medium.advance(LEASE_SECONDS + 1)

    assert (await medium.bind_one("w/2")).lease.thread == "a"


async def test_a_thread_is_bound_for_all_of_its_lease(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.bind_one("w/1")
    await medium.advance(LEASE_SECONDS - 1)

    assert await medium.bind("w/2") == []


async def test_a_renewed_lease_lasts_from_its_renewal(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one("w/1")
    await medium.advance(LEASE_SECONDS - 1)
    lost = await medium.coordinator.renew([batch.lease], LEASE_SECONDS)
    await medium.advance(LEASE_SECONDS - 1)

    assert (lost, await medium.bind("w/2")) == ([], [])


async def test_a_renewal_names_the_leases_that_were_lost(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.register("b", "1")
    a, b = await medium.bind("w/1", threads=2)
    await medium.release(a.lease)
    await medium.bind_one("w/2")

    assert await medium.coordinator.renew([a.lease, b.lease], LEASE_SECONDS) == [a.lease]


async def test_a_lost_lease_cannot_be_renewed_into_life(medium: Medium) -> None:
    await medium.register("a", "1")
    stale = await medium.crash_with()
    await medium.bind_one("w/2")
    await medium.advance(LEASE_SECONDS - 1)
    await medium.coordinator.renew([stale.lease], LEASE_SECONDS)
    await medium.advance(2)

    assert (await medium.bind_one("w/3")).lease.thread == "a"


async def test_expired_lease_cannot_settle(medium: Medium) -> None:
    """Both hold the same request, so that nothing but the fence tells them apart."""
    await medium.register("a", "1")
    stale = await medium.crash_with()
    await medium.bind_one("w/2")

    assert (await medium.settle(stale, wanted=5)).is_lost
    assert await medium.waiting("a") == ["1"]


@pytest.mark.parametrize("release", [False, True])
async def test_a_lease_that_was_given_back_cannot_settle(medium: Medium, release: bool) -> None:
    await medium.register("a", "1")
    stale = await medium.bind_one()
    await medium.release(stale.lease)
    await medium.bind_one("w/2")

    assert (await medium.settle(stale, release=release)).is_lost
    assert await medium.waiting("a") == ["1"]


async def test_expired_lease_cannot_fail(medium: Medium) -> None:
    await medium.register("a", "1")
    stale = await medium.crash_with()
    current = await medium.bind_one("w/2")

    assert not await medium.fail(stale, delay=None)
    assert not await medium.fail(stale, delay=10)
    assert await medium.waiting("a") == ["1"]
    assert await medium.coordinator.renew([current.lease], LEASE_SECONDS) == []


async def test_expired_lease_cannot_release(medium: Medium) -> None:
    await medium.register("a", "1")
    stale = await medium.crash_with()
    await medium.bind_one("w/2")
    await medium.release(stale.lease)

    assert await medium.bind("w/3") == []


async def test_a_stale_write_counts_nothing(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    stale = await medium.crash_with()
    await medium.bind_one("w/2")
    before = await medium.observe()
    await medium.settle(stale, busy=1.0)
    await medium.fail(stale, delay=None)
    after = await medium.observe()

    assert (after.depth, after.settled, after.dead, after.busy_seconds) == (
        before.depth,
        before.settled,
        before.dead,
        before.busy_seconds,
    )


async def test_no_lease_ends_later_than_a_lease_from_now(medium: Medium) -> None:
    """A clock that was set back must not freeze a thread."""
    await medium.register("a", "1")
    await medium.bind_one("w/1")
    await medium.advance(-3600)
    while_frozen = await medium.bind("w/2")
    await medium.advance(LEASE_SECONDS + 1)

    assert while_frozen == []
    assert (await medium.bind_one("w/2")).lease.thread == "a"


async def test_a_bind_says_when_the_next_lease_expires(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.bind_one("w/1")
    bound = await medium.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, LEASE_SECONDS))

    assert bound.next_seconds == pytest.approx(LEASE_SECONDS, abs=1)


async def test_a_bind_says_when_the_next_back_off_ends(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.fail(await medium.bind_one("w/1"), delay=5)
    bound = await medium.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, LEASE_SECONDS))

    assert bound.next_seconds == pytest.approx(5, abs=1)


async def test_a_bind_expects_nothing_where_nothing_is_bound_or_blocked(medium: Medium) -> None:
    assert (await medium.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS))).next_seconds is None


async def test_a_crash_counts_as_an_attempt_of_the_first_request(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.crash_with()

    assert (await medium.bind_one()).attempt == 2


async def test_requests_of_a_crashed_batch_are_handed_out_one_by_one(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3", "4")
    await medium.crash_with(wanted=3)
    batch = await medium.bind_one()
    handouts = [handed(batch)]
    while batch := (await medium.settle(batch, wanted=128)).batch:
        handouts.append(handed(batch))

    assert handouts == [["1"], ["2"], ["3"], ["4"]]


async def test_batches_are_whole_again_behind_a_crashed_one(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    await medium.crash_with(wanted=1)
    batch = await medium.bind_one()

    assert handed((await medium.settle(batch, wanted=128)).batch) == ["2", "3"]


async def test_a_request_that_keeps_killing_its_workers_is_buried(medium: Medium) -> None:
    await medium.register("a", "killer", "next")
    crashes = 0
    while handed(await medium.crash_with(wanted=1)) == ["killer"]:
        crashes += 1
    (dead,) = await medium.storage.dead(SHARD)

    assert crashes == CRASH_LIMIT
    assert (dead.attempts, dead.error) == (5, "5 workers died with this request in hand")


async def test_crashes_of_an_innocent_neighbour_are_not_counted_against_it(medium: Medium) -> None:
    await medium.register("a", "innocent", "killer", "last")
    for _ in range(CRASH_LIMIT + 1):
        await medium.crash_with(wanted=2)
        batch = await medium.bind_one()
        if handed(batch) == ["innocent"]:
            await medium.settle(batch, wanted=1)
        await medium.advance(LEASE_SECONDS + 1)
        if await medium.storage.dead(SHARD):
            break
    await medium.bind_one()
    dead = await medium.storage.dead(SHARD)

    assert [letter.message[13:] for letter in dead] == [b"killer"]
    assert await medium.waiting("a") == ["last"]


async def test_a_holder_that_died_without_requests_in_its_hands_counts_as_no_crash(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()
    await medium.settle(batch)
    await medium.register("a", "2")
    await medium.advance(LEASE_SECONDS + 1)

    assert (await medium.bind_one("w/2")).attempt == 1


async def test_attempts_of_back_offs_and_crashes_add_up(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.fail(await medium.bind_one(), delay=1)
    await medium.advance(2)
    await medium.crash_with()
    batch = await medium.bind_one()
    await medium.fail(batch, delay=1)
    await medium.advance(2)

    assert (batch.attempt, (await medium.bind_one()).attempt) == (3, 4)


async def test_waiting_ends_at_once_when_a_thread_is_ready(medium: Medium) -> None:
    await medium.register("a", "1")

    async with asyncio.timeout(2):
        await medium.coordinator.wait([SHARD], "w/1", 30)


async def test_waiting_ends_when_a_request_arrives(medium: Medium) -> None:
    waiting = asyncio.create_task(medium.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0)
    await medium.register("a", "1")

    async with asyncio.timeout(2):
        await waiting


async def test_waiting_ends_when_a_thread_is_released(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one("w/1")
    await drain_wakes(medium)
    waiting = asyncio.create_task(medium.coordinator.wait([SHARD], "w/2", 30))
    await asyncio.sleep(0)
    await medium.release(batch.lease)

    async with asyncio.timeout(2):
        await waiting


async def test_waiting_ends_when_a_thread_was_put_off(medium: Medium) -> None:
    """Somebody must look when the back-off ends, and nobody knows of it yet but the worker that failed."""
    await medium.register("a", "1")
    batch = await medium.bind_one("w/1")
    await drain_wakes(medium)
    waiting = asyncio.create_task(medium.coordinator.wait([SHARD], "w/2", 30))
    await asyncio.sleep(0)
    await medium.fail(batch, delay=1)

    async with asyncio.timeout(2):
        await waiting


async def test_the_holder_of_a_drained_thread_is_called_for_its_next_request(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.settle(await medium.bind_one("w/1"))
    await drain_wakes(medium)
    waiting = asyncio.create_task(medium.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0)
    await medium.register("a", "2")

    async with asyncio.timeout(2):
        await waiting


async def test_others_are_not_called_for_a_held_thread(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.settle(await medium.bind_one("w/1"))
    await drain_wakes(medium)
    await medium.register("a", "2")
    started = time.monotonic()
    await medium.coordinator.wait([SHARD], "w/2", 0.2)

    assert time.monotonic() - started >= 0.19


async def test_waiting_without_a_call_ends_in_time(medium: Medium) -> None:
    started = time.monotonic()
    await medium.coordinator.wait([SHARD], "w/1", 0.2)

    assert 0.19 <= time.monotonic() - started < 2


async def test_a_worker_that_leaves_work_behind_calls_the_next(medium: Medium) -> None:
    for thread in "abc":
        await medium.register(thread, "1")
    await drain_wakes(medium)
    await medium.bind_one("w/1")

    async with asyncio.timeout(2):
        await medium.coordinator.wait([SHARD], "w/2", 30)


async def test_a_call_is_had_by_one_worker(medium: Medium) -> None:
    waiting = [asyncio.create_task(medium.coordinator.wait([SHARD], f"w/{n}", 0.5)) for n in range(2)]
    await asyncio.sleep(0)
    await medium.coordinator.notify(SHARD)

    assert sorted(await asyncio.gather(*waiting), key=bool) == [None, SHARD]


async def test_a_call_that_nobody_waits_for_is_kept(medium: Medium) -> None:
    await medium.coordinator.notify(SHARD)

    async with asyncio.timeout(2):
        assert await medium.coordinator.wait([SHARD], "w/1", 30) == SHARD


async def test_a_wait_that_ends_by_itself_answers_no_call(medium: Medium) -> None:
    assert await medium.coordinator.wait([SHARD], "w/1", 0.05) is None


async def test_a_wait_is_ended_without_losing_a_call(medium: Medium) -> None:
    """Whether it was waited for or not, a call that comes at that moment is had by somebody."""
    waiting = asyncio.create_task(medium.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0.05)
    if await medium.coordinator.cancel_wait([SHARD], "w/1"):
        async with asyncio.timeout(2):
            assert await waiting is None
    waiting.cancel()
    await medium.coordinator.notify(SHARD)

    async with asyncio.timeout(2):
        assert await medium.coordinator.wait([SHARD], "w/2", 30) == SHARD


async def test_who_waits_no_longer_passes_on_the_call_that_came_meanwhile(medium: Medium) -> None:
    """A worker that has no room any more was called, and has not looked yet."""
    answered = asyncio.Event()

    async def wait(*arguments: Any) -> Shard | None:
        try:
            return await type(medium.coordinator).wait(medium.coordinator, *arguments)
        finally:
            answered.set()

    called = medium.another_coordinator()
    called.wait = wait  # type: ignore[method-assign]
    wakeups, nothing_else = WakeupListener(called, "w/1"), asyncio.Event()
    nothing_else.set()
    assert not await wakeups.wait([SHARD], nothing_else, 30)
    await medium.coordinator.notify(SHARD)
    async with asyncio.timeout(2):
        await answered.wait()
    await wakeups.close()

    async with asyncio.timeout(2):
        assert await medium.coordinator.wait([SHARD], "w/2", 30) == SHARD


async def test_a_failure_without_a_lease_holds_nobody_up(medium: Medium) -> None:
    await medium.register("a", "1")
    stale = await medium.bind_one("w/1")
    await medium.release(stale.lease)
    current = await medium.bind_one("w/2")
    await medium.storage.fail(Failure(stale.lease, 0, stale.first, 1, "E", 60))
    (settled,) = await medium.storage.settle([Settlement(current.lease, 0, current.last)])

    assert not settled.is_lost


async def drain_wakes(medium: Medium) -> None:
    """Tokens of what happened before do not count."""
    if isinstance(medium, RedisMedium):
        await medium.redis.delete(f"{medium.redis_storage.keys.base(SHARD)}:wake")
    if isinstance(medium, MemoryMedium):
        medium.storage.shards[SHARD].is_rung = False


async def pass_a_moment(medium: Medium) -> None:
    """So long that what is registered before and after it have other stamps, which `advance` does not change."""
    await asyncio.sleep(0.002)
    if isinstance(medium, MemoryMedium):
        await medium.advance(0.002)
