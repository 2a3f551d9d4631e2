"""Binds: one worker a thread, a fence that only grows, and leases that end by the backend's own clock."""

import asyncio
import time
from typing import Any

import pytest

from sharded_queue import settings
from sharded_queue.backends.redis.coordinator import LEASES_AT_ONCE
from sharded_queue.coordinator import Arrival, BindRequest
from sharded_queue.lease import Lease
from sharded_queue.storage import Entry, Failure, Registration, Settled, Settlement
from sharded_queue.tube import Shard
from sharded_queue.worker.wakeup import WakeupListener
from tests.contract.backend import (
    LEASE_SECONDS,
    SHARD,
    STALL_SECONDS,
    Backend,
    MemoryBackend,
    RedisBackend,
    assert_went_by,
    handed,
)

CRASH_LIMIT = 5


async def test_second_worker_waits_for_a_bound_thread(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.bind_one("w/1")

    assert await backend.bind("w/2") == []


async def test_a_bound_thread_is_bound_with_all_its_priorities(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one("w/1")
    await backend.register("a", "2", priority=-1)
    await backend.register("a", "3", priority=1)

    assert await backend.bind("w/2") == []


async def test_coordinators_over_one_storage_exclude_each_other(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one("w/1")

    assert (await backend.another_coordinator().bind(SHARD, BindRequest("w/2", 1, 128, LEASE_SECONDS))).batches == []


async def test_even_its_own_owner_cannot_bind_a_bound_thread_again(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one("w/1")

    assert await backend.bind("w/1") == []


async def test_the_thread_with_the_oldest_request_is_bound_first(backend: Backend) -> None:
    for thread in ("second", "first"):
        await backend.register(thread, "1")
        await backend.advance(1)
    await backend.register("third", "1")

    assert [batch.lease.thread for batch in await backend.bind(threads=3)] == ["second", "first", "third"]


async def test_a_ready_thread_is_as_old_as_a_delayed_request_that_comes_to_it_later(backend: Backend) -> None:
    await backend.storage.register(SHARD, Registration([Entry("b", 5, [b"delayed"])], delay_seconds=10))
    await backend.advance(11)
    await backend.register("a", "1")
    await backend.register("b", "1")

    assert [batch.lease.thread for batch in await backend.bind(threads=2)] == ["b", "a"]


async def test_a_ready_thread_is_as_old_as_a_dead_letter_that_comes_back_to_it(backend: Backend) -> None:
    await backend.register("a", "dead", priority=5)
    batch = await backend.bind_one()
    await backend.fail(batch, delay=None)
    await backend.release(batch.lease)
    await pass_a_moment(backend)
    await backend.register("b", "1")
    await pass_a_moment(backend)
    await backend.register("a", "1")
    (dead,) = await backend.storage.dead(SHARD)
    await backend.storage.settle_dead(SHARD, [dead.number], "head")

    assert [batch.lease.thread for batch in await backend.bind(threads=2)] == ["a", "b"]


async def test_no_more_threads_are_bound_than_asked_for(backend: Backend) -> None:
    for thread in "abc":
        await backend.register(thread, "1")

    assert len(await backend.bind(threads=2)) == 2


async def test_no_more_requests_are_handed_out_than_wanted(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")

    assert handed(await backend.bind_one(wanted=2)) == ["1", "2"]


async def test_who_wants_no_request_binds_no_thread(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")

    assert await backend.bind(wanted=0) == []
    assert (await backend.observe()).ready == 1


async def test_a_drained_thread_is_not_ready(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.settle(await backend.bind_one(), release=True)

    assert await backend.bind() == []


async def test_a_released_thread_is_free_at_once(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.release((await backend.bind_one("w/1")).lease)

    assert handed(await backend.bind_one("w/2")) == ["1", "2"]


async def test_a_release_counts_as_no_attempt(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.release((await backend.bind_one("w/1")).lease)

    assert (await backend.bind_one("w/2")).attempt == 1


async def test_the_fence_grows_with_every_bind_of_a_thread(backend: Backend) -> None:
    await backend.register("a", "1")
    fences = []
    for _ in range(5):
        batch = await backend.bind_one()
        fences.append(batch.lease.fence)
        await backend.release(batch.lease)

    assert fences == sorted(set(fences))


async def test_threads_bound_in_one_call_have_fences_of_their_own(backend: Backend) -> None:
    for thread in "abc":
        await backend.register(thread, "1")

    assert len({batch.lease.fence for batch in await backend.bind(threads=3)}) == 3


async def test_the_fence_is_no_smaller_than_the_time_in_microseconds(backend: Backend) -> None:
    await backend.register("a", "1")

    assert (await backend.bind_one()).lease.fence == pytest.approx(time.time() * 1_000_000, abs=5_000_000)


async def test_the_fence_grows_though_the_clock_was_set_back() -> None:
    backend = MemoryBackend()
    await backend.register("a", "1")
    before = await backend.bind_one()
    await backend.release(before.lease)
    await backend.advance(-3600)

    assert (await backend.bind_one()).lease.fence > before.lease.fence


@pytest.mark.redis
async def test_the_fence_grows_over_a_wiped_redis(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    before = await on_redis.bind_one()
    await on_redis.redis.flushall()
    await on_redis.register("a", "1")

    assert (await on_redis.bind_one()).lease.fence > before.lease.fence


@pytest.mark.redis
async def test_the_fence_grows_over_counters_from_the_past(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    before = await on_redis.bind_one()
    await on_redis.release(before.lease)
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "fence", before.lease.fence - 10)

    assert (await on_redis.bind_one()).lease.fence > before.lease.fence


@pytest.mark.redis
async def test_the_fence_grows_though_the_clock_of_redis_is_behind_it(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    ahead = int(time.time() * 1_000_000) + 3_600_000_000
    await on_redis.redis.hset(f"{on_redis.redis_storage.keys.base(SHARD)}:counters", "fence", ahead)

    assert (await on_redis.bind_one()).lease.fence == ahead + 1


async def test_an_expired_thread_is_free(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one("w/1")
    await backend.advance(LEASE_SECONDS + 1)

    assert (await backend.bind_one("w/2")).lease.thread == "a"


async def test_a_thread_is_bound_for_all_of_its_lease(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one("w/1")
    await backend.advance(LEASE_SECONDS - STALL_SECONDS)

    assert await backend.bind("w/2") == []


async def test_a_renewed_lease_lasts_from_its_renewal(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one("w/1")
    await backend.advance(LEASE_SECONDS - STALL_SECONDS)
    lost = await backend.coordinator.renew([batch.lease], LEASE_SECONDS)
    await backend.advance(LEASE_SECONDS - STALL_SECONDS)

    assert (lost, await backend.bind("w/2")) == ([], [])


async def test_a_renewal_names_the_leases_that_were_lost(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", "1")
    a, b = await backend.bind("w/1", threads=2)
    await backend.release(a.lease)
    await backend.bind_one("w/2")

    assert await backend.coordinator.renew([a.lease, b.lease], LEASE_SECONDS) == [a.lease]


async def test_a_lost_lease_cannot_be_renewed_into_life(backend: Backend) -> None:
    await backend.register("a", "1")
    stale = await backend.crash_with()
    await backend.bind_one("w/2")
    await backend.advance(LEASE_SECONDS - STALL_SECONDS)
    await backend.coordinator.renew([stale.lease], LEASE_SECONDS)
    await backend.advance(STALL_SECONDS + 1)

    assert (await backend.bind_one("w/3")).lease.thread == "a"


async def test_expired_lease_cannot_settle(backend: Backend) -> None:
    """Both hold the same request, so that nothing but the fence tells them apart."""
    await backend.register("a", "1")
    stale = await backend.crash_with()
    await backend.bind_one("w/2")

    assert (await backend.settle(stale, wanted=5)).is_lost
    assert await backend.waiting("a") == ["1"]


@pytest.mark.parametrize("release", [False, True])
async def test_a_lease_that_was_given_back_cannot_settle(backend: Backend, release: bool) -> None:
    await backend.register("a", "1")
    stale = await backend.bind_one()
    await backend.release(stale.lease)
    await backend.bind_one("w/2")

    assert (await backend.settle(stale, release=release)).is_lost
    assert await backend.waiting("a") == ["1"]


async def test_expired_lease_cannot_fail(backend: Backend) -> None:
    await backend.register("a", "1")
    stale = await backend.crash_with()
    current = await backend.bind_one("w/2")

    assert not await backend.fail(stale, delay=None)
    assert not await backend.fail(stale, delay=10)
    assert await backend.waiting("a") == ["1"]
    assert await backend.coordinator.renew([current.lease], LEASE_SECONDS) == []


async def test_expired_lease_cannot_release(backend: Backend) -> None:
    await backend.register("a", "1")
    stale = await backend.crash_with()
    await backend.bind_one("w/2")
    await backend.release(stale.lease)

    assert await backend.bind("w/3") == []


async def test_a_stale_write_counts_nothing(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    stale = await backend.crash_with()
    await backend.bind_one("w/2")
    before = await backend.observe()
    await backend.settle(stale, busy=1.0)
    await backend.fail(stale, delay=None)
    after = await backend.observe()

    assert (after.depth, after.settled, after.dead, after.busy_seconds) == (
        before.depth,
        before.settled,
        before.dead,
        before.busy_seconds,
    )


async def test_no_lease_ends_later_than_a_lease_from_now(backend: Backend) -> None:
    """A clock that was set back must not freeze a thread."""
    await backend.register("a", "1")
    await backend.bind_one("w/1")
    await backend.advance(-3600)
    while_frozen = await backend.bind("w/2")
    await backend.advance(LEASE_SECONDS + 1)

    assert while_frozen == []
    assert (await backend.bind_one("w/2")).lease.thread == "a"


@pytest.mark.parametrize(("waiting", "threads", "bound"), [(7, 1, 4), (2, 1, 1), (3, 0, 1), (1, 0, 0), (20, 1, 6)])
async def test_as_many_threads_are_left_to_others_as_are_bound_ahead(
    waiting: int, threads: int, bound: int, backend: Backend
) -> None:
    for thread in range(waiting):
        await backend.register(f"{thread:02}", "1")
    answer = await backend.coordinator.bind(SHARD, BindRequest("w/1", threads, 1, LEASE_SECONDS, ahead=5))

    assert [batch.lease.thread for batch in answer.batches] == [f"{thread:02}" for thread in range(bound)]


async def test_a_cordoned_worker_binds_nothing_ahead(backend: Backend) -> None:
    for thread in "abcd":
        await backend.register(thread, "1")
    await backend.coordinator.cordon(SHARD, ["w"], 60)
    answer = await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS, ahead=5))

    assert (answer.batches, answer.is_cordoned) == ([], True)


async def test_a_bind_says_when_the_next_lease_expires(backend: Backend) -> None:
    await backend.register("a", "1")
    began = time.monotonic()
    await backend.bind_one("w/1")
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, LEASE_SECONDS))

    assert bound.next_seconds is not None
    assert_went_by(began, LEASE_SECONDS - bound.next_seconds)


@pytest.mark.parametrize("age", [0, 5])
async def test_a_bind_counts_the_leases_that_it_gives(age: int, backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", "1")
    began = time.monotonic()
    if age:
        await backend.bind_one("w/1")
        await backend.advance(age)
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, LEASE_SECONDS))

    assert bound.next_seconds is not None
    assert_went_by(began, LEASE_SECONDS - age - bound.next_seconds)


async def test_a_bind_counts_no_lease_that_it_ended(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.crash_with()
    began = time.monotonic()
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, LEASE_SECONDS))

    assert bound.next_seconds is not None
    assert_went_by(began, LEASE_SECONDS - bound.next_seconds)


@pytest.mark.parametrize(("waiting", "threads"), [(0, 1), (1, 1), (2, 1), (3, 2), (3, 3), (3, 4), (3, 0)])
async def test_a_bind_says_whether_threads_are_left_behind(waiting: int, threads: int, backend: Backend) -> None:
    for thread in range(waiting):
        await backend.register(str(thread), "1")
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/1", threads, 1, LEASE_SECONDS))

    assert len(bound.batches) == min(waiting, threads)
    assert bound.others_wait == (0 < threads < waiting)


async def test_a_bind_says_when_the_next_back_off_ends(backend: Backend) -> None:
    await backend.register("a", "1")
    began = time.monotonic()
    await backend.fail(await backend.bind_one("w/1"), delay=5)
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/2", 1, 1, LEASE_SECONDS))

    assert bound.next_seconds is not None
    assert_went_by(began, 5 - bound.next_seconds)


async def test_a_bind_expects_nothing_where_nothing_is_bound_or_blocked(backend: Backend) -> None:
    assert (await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS))).next_seconds is None


async def test_a_crash_counts_as_an_attempt_of_the_first_request(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.crash_with()

    assert (await backend.bind_one()).attempt == 2


async def test_requests_of_a_crashed_batch_are_handed_out_one_by_one(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3", "4")
    await backend.crash_with(wanted=3)
    batch = await backend.bind_one()
    handouts = [handed(batch)]
    while batch := (await backend.settle(batch, wanted=128)).batch:
        handouts.append(handed(batch))

    assert handouts == [["1"], ["2"], ["3"], ["4"]]


async def test_batches_are_whole_again_behind_a_crashed_one(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    await backend.crash_with(wanted=1)
    batch = await backend.bind_one()

    assert handed((await backend.settle(batch, wanted=128)).batch) == ["2", "3"]


async def test_a_request_that_keeps_killing_its_workers_is_buried_by_a_death_in_a_try_alone(backend: Backend) -> None:
    await backend.register("a", "killer", "next")
    for _ in range(CRASH_LIMIT - 1):
        await backend.crash_with(wanted=1)
    last_try = await backend.crash_with(wanted=1, is_alone=True)
    next_one = await backend.bind_one()
    (dead,) = await backend.storage.dead(SHARD)

    assert (last_try.crashes, handed(next_one)) == (CRASH_LIMIT - 1, ["next"])
    assert (dead.message[13:], dead.attempts) == (b"killer", 5)
    assert dead.error == "5 workers died with this request in hand, the last one while it handled nothing else"


async def test_deaths_of_workers_that_handled_something_else_too_bury_nobody(backend: Backend) -> None:
    await backend.register("a", "innocent")
    for _ in range(3 * CRASH_LIMIT):
        await backend.crash_with()
    batch = await backend.bind_one()
    await backend.settle(batch)

    assert (handed(batch), batch.crashes) == (["innocent"], 3 * CRASH_LIMIT)
    assert await backend.storage.dead(SHARD) == []


async def test_a_death_before_the_limit_buries_nobody_even_alone(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.crash_with()
    await backend.crash_with(is_alone=True)

    assert handed(await backend.bind_one()) == ["1"]


async def test_a_worker_that_says_that_it_is_alone_no_longer_buries_nobody(backend: Backend) -> None:
    settings.crash_limit = 1
    await backend.register("a", "1")
    batch = await backend.bind_one()
    said = [
        await backend.coordinator.isolate(batch.lease, is_alone, call) for call, is_alone in ((1, True), (2, False))
    ]
    await backend.advance(LEASE_SECONDS + 1)

    assert said == [True, True]
    assert handed(await backend.bind_one()) == ["1"]


async def test_what_a_worker_said_of_a_request_does_not_hold_for_the_next_one(backend: Backend) -> None:
    settings.crash_limit = 1
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await backend.coordinator.isolate(batch.lease, True, 1)
    await backend.settle(batch, wanted=1)
    await backend.advance(LEASE_SECONDS + 1)

    assert handed(await backend.bind_one()) == ["2"]


async def test_a_worker_is_not_alone_without_its_lease_or_with_several_requests(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    stale = await backend.crash_with()
    await backend.register("b", "3", "4")
    both = next(batch for batch in await backend.bind("w/1", threads=2) if batch.lease.thread == "b")

    assert not await backend.coordinator.isolate(stale.lease, True, 1)
    assert not await backend.coordinator.isolate(both.lease, True, 1)


async def test_each_request_of_a_crashed_batch_is_a_suspect_until_it_is_settled(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    await backend.crash_with(wanted=2)
    await backend.crash_with()
    batch = await backend.bind_one()
    suspects = [(handed(batch), batch.crashes)]
    while batch := (await backend.settle(batch, wanted=128)).batch:
        suspects.append((handed(batch), batch.crashes))

    assert suspects == [(["1"], 2), (["2"], 1), (["3"], 0)]


async def test_a_released_thread_can_be_kept_back_for_a_while(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.coordinator.release([batch.lease], 5)
    early = await backend.bind("w/2")
    await backend.advance(6)

    assert early == []
    assert (await backend.bind_one("w/2")).attempt == 1


async def test_crashes_of_an_innocent_neighbour_are_not_counted_against_it(backend: Backend) -> None:
    await backend.register("a", "innocent", "killer", "last")
    for _ in range(CRASH_LIMIT + 1):
        await backend.crash_with(wanted=2)
        batch = await backend.bind_one()
        if handed(batch) == ["innocent"]:
            batch = (await backend.settle(batch, wanted=1)).batch or batch
        await backend.coordinator.isolate(batch.lease, True, 2)
        await backend.advance(LEASE_SECONDS + 1)
        if await backend.storage.dead(SHARD):
            break
    await backend.bind_one()
    dead = await backend.storage.dead(SHARD)

    assert [letter.message[13:] for letter in dead] == [b"killer"]
    assert await backend.waiting("a") == ["last"]


async def test_a_holder_that_died_without_requests_in_its_hands_counts_as_no_crash(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.settle(batch)
    await backend.register("a", "2")
    await backend.advance(LEASE_SECONDS + 1)

    assert (await backend.bind_one("w/2")).attempt == 1


async def test_attempts_of_back_offs_and_crashes_add_up(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.fail(await backend.bind_one(), delay=1)
    await backend.advance(2)
    await backend.crash_with()
    batch = await backend.bind_one()
    await backend.fail(batch, delay=1)
    await backend.advance(2)

    assert (batch.attempt, (await backend.bind_one()).attempt) == (3, 4)


async def test_waiting_ends_at_once_when_a_thread_is_ready(backend: Backend) -> None:
    await backend.register("a", "1")

    async with asyncio.timeout(2):
        await backend.coordinator.wait([SHARD], "w/1", 30)


async def test_waiting_ends_when_a_request_arrives(backend: Backend) -> None:
    waiting = asyncio.create_task(backend.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0)
    await backend.register("a", "1")

    async with asyncio.timeout(2):
        await waiting


async def test_waiting_ends_when_a_thread_is_released(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one("w/1")
    await drain_wakes(backend)
    waiting = asyncio.create_task(backend.coordinator.wait([SHARD], "w/2", 30))
    await asyncio.sleep(0)
    await backend.release(batch.lease)

    async with asyncio.timeout(2):
        await waiting


async def test_waiting_ends_when_a_thread_was_put_off(backend: Backend) -> None:
    """Somebody must look when the back-off ends, and nobody knows of it yet but the worker that failed."""
    await backend.register("a", "1")
    batch = await backend.bind_one("w/1")
    await drain_wakes(backend)
    waiting = asyncio.create_task(backend.coordinator.wait([SHARD], "w/2", 30))
    await asyncio.sleep(0)
    await backend.fail(batch, delay=1)

    async with asyncio.timeout(2):
        await waiting


async def test_the_holder_of_a_drained_thread_is_called_for_its_next_request(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.settle(await backend.bind_one("w/1"))
    await drain_wakes(backend)
    waiting = asyncio.create_task(backend.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0)
    await backend.register("a", "2")

    async with asyncio.timeout(2):
        await waiting


async def test_a_request_that_comes_alone_is_handed_to_the_holder_that_waits_for_it(backend: Backend) -> None:
    lease = await drained_by(backend, "w/1")
    await backend.register("a", "2", priority=3)
    arrival = await arrived(backend, "w/1")
    assert arrival.batch
    (settled,) = await backend.storage.settle([Settlement(lease, 3, arrival.batch.last, wanted=128, call=2)])

    assert (arrival.lease, arrival.call, handed(arrival.batch), arrival.batch.attempt) == (lease, 1, ["2"], 1)
    assert (settled.is_lost, settled.batch, (await backend.observe()).depth) == (False, None, 0)


async def test_a_hand_over_that_got_lost_is_the_answer_when_the_holder_asks(backend: Backend) -> None:
    lease = await drained_by(backend, "w/1")
    await backend.register("a", "2")
    await backend.register("a", "3", priority=-1)
    await backend.register("a", "4")
    (urgent,) = await backend.storage.settle([Settlement(lease, wanted=128, call=2)])
    (rest,) = await backend.storage.settle([Settlement(lease, -1, urgent.batch.last, wanted=128, call=3)])

    assert (handed(urgent.batch), handed(rest.batch)) == (["3"], ["2", "4"])


async def test_requests_that_come_together_are_fetched(backend: Backend) -> None:
    """The holder has to choose between priorities, and to bound its batch."""
    lease = await drained_by(backend, "w/1")
    await backend.register("a", "2", "3")

    assert await arrived(backend, "w/1") == Arrival(lease, 1)


async def test_requests_of_two_priorities_that_come_together_are_fetched(backend: Backend) -> None:
    lease = await drained_by(backend, "w/1")
    await backend.storage.register(SHARD, Registration([Entry("a", 5, [b"late"]), Entry("a", 0, [b"early"])]))

    assert await arrived(backend, "w/1") == Arrival(lease, 1)
    assert handed((await backend.storage.settle([Settlement(lease, wanted=1, call=2)]))[0].batch) == ["early"]


@pytest.mark.parametrize("thread", ["a", None])
async def test_nothing_is_handed_over_while_it_is_paused(backend: Backend, thread: str | None) -> None:
    lease = await drained_by(backend, "w/1")
    await backend.storage.pause(SHARD, thread, True)
    await drain_wakes(backend)
    await backend.register("a", "2")

    assert await arrived(backend, "w/1") == Arrival(lease, 1)


async def test_a_holder_that_answered_a_hand_over_and_died_with_the_next_request_has_crashed(backend: Backend) -> None:
    """Only of the request that was handed over is it unknown whether it reached its holder."""
    lease = await drained_by(backend, "w/1")
    await backend.register("a", "2")
    await backend.register("a", "3")
    await backend.storage.settle([Settlement(lease, 0, (await arrived(backend, "w/1")).batch.last, wanted=128, call=2)])
    await backend.advance(LEASE_SECONDS + 1)

    assert (await backend.bind_one("w/2")).attempt == 2


async def test_a_call_from_before_a_hand_over_that_comes_again_has_its_first_answer(backend: Backend) -> None:
    """Its holder has not had the answer, and would handle the request once for it, and once for the wake-up."""
    await backend.register("a", "1")
    batch = await backend.bind_one("w/1")
    drain = Settlement(batch.lease, 0, batch.last, wanted=128, call=1)
    await backend.storage.settle([drain])
    await drain_wakes(backend)
    await backend.register("a", "2")
    (again,) = await backend.storage.settle([drain])

    assert again == Settled()
    assert handed((await arrived(backend, "w/1")).batch) == ["2"]


async def test_several_arrivals_are_heard_one_by_one(backend: Backend) -> None:
    leases = [await drained_by(backend, "w/1", thread) for thread in ("a b", "ü", "1 2 3")]
    for lease in leases:
        await backend.register(lease.thread, f"[ {lease.thread}\n]")
    heard = [await arrived(backend, "w/1") for _ in leases]

    assert [arrival.lease for arrival in heard] == leases
    assert [handed(arrival.batch) for arrival in heard] == [[f"[ {lease.thread}\n]"] for lease in leases]


async def test_what_comes_in_several_shards_at_once_is_all_heard(backend: Backend) -> None:
    """The nodes of a Cluster may answer at the same time."""
    shards = [Shard("tests.Handler", number, 6) for number in range(6)]
    leases = [await drained_by(backend, "w/1", shard=shard) for shard in shards]
    for shard in shards:
        await backend.storage.register(shard, Registration([Entry("a", 0, [b"2"])]))
    async with asyncio.timeout(5):
        heard = [await backend.coordinator.wait(shards, "w/1", 30) for _ in shards]

    assert {arrival.lease for arrival in heard if isinstance(arrival, Arrival)} == set(leases)


async def drained_by(backend: Backend, owner: str, thread: str = "a", shard: Shard = SHARD) -> Lease:
    """*owner* holds *thread*, and was told by the answer to its first call that nothing is left in it."""
    await backend.storage.register(shard, Registration([Entry(thread, 0, [b"1"])]))
    (batch,) = (await backend.coordinator.bind(shard, BindRequest(owner, 1, 128, LEASE_SECONDS))).batches
    await backend.storage.settle([Settlement(batch.lease, 0, batch.last, wanted=128, call=1)])
    await drain_wakes(backend, shard)
    return batch.lease


async def arrived(backend: Backend, owner: str) -> Arrival:
    async with asyncio.timeout(5):
        arrival = await backend.coordinator.wait([SHARD], owner, 30)
    assert isinstance(arrival, Arrival)
    return arrival


async def test_others_are_not_called_for_a_held_thread(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.settle(await backend.bind_one("w/1"))
    await drain_wakes(backend)
    await backend.register("a", "2")
    started = time.monotonic()
    await backend.coordinator.wait([SHARD], "w/2", 0.2)

    assert time.monotonic() - started >= 0.19


async def test_waiting_without_a_call_ends_in_time(backend: Backend) -> None:
    started = time.monotonic()
    await backend.coordinator.wait([SHARD], "w/1", 0.2)

    assert 0.19 <= time.monotonic() - started < 2


async def test_a_worker_that_leaves_work_behind_calls_the_next(backend: Backend) -> None:
    for thread in "abc":
        await backend.register(thread, "1")
    await drain_wakes(backend)
    await backend.bind_one("w/1")

    async with asyncio.timeout(2):
        await backend.coordinator.wait([SHARD], "w/2", 30)


async def test_a_call_is_had_by_one_worker(backend: Backend) -> None:
    waiting = [asyncio.create_task(backend.coordinator.wait([SHARD], f"w/{n}", 0.5)) for n in range(2)]
    await asyncio.sleep(0)
    await backend.coordinator.notify(SHARD)

    assert sorted(await asyncio.gather(*waiting), key=bool) == [None, SHARD]


async def test_a_call_that_nobody_waits_for_is_kept(backend: Backend) -> None:
    await backend.coordinator.notify(SHARD)

    async with asyncio.timeout(2):
        assert await backend.coordinator.wait([SHARD], "w/1", 30) == SHARD


async def test_a_wait_that_ends_by_itself_answers_no_call(backend: Backend) -> None:
    assert await backend.coordinator.wait([SHARD], "w/1", 0.05) is None


async def test_a_wait_is_ended_without_losing_a_call(backend: Backend) -> None:
    """Whether it was waited for or not, a call that comes at that moment is had by somebody."""
    waiting = asyncio.create_task(backend.coordinator.wait([SHARD], "w/1", 30))
    await asyncio.sleep(0.05)
    if await backend.coordinator.cancel_wait([SHARD], "w/1"):
        async with asyncio.timeout(2):
            assert await waiting is None
    waiting.cancel()
    await backend.coordinator.notify(SHARD)

    async with asyncio.timeout(2):
        assert await backend.coordinator.wait([SHARD], "w/2", 30) == SHARD


async def test_who_waits_no_longer_passes_on_the_call_that_came_meanwhile(backend: Backend) -> None:
    """A worker that has no room any more was called, and has not looked yet."""
    answered = asyncio.Event()

    async def wait(*arguments: Any) -> Shard | None:
        try:
            return await type(backend.coordinator).wait(backend.coordinator, *arguments)
        finally:
            answered.set()

    called = backend.another_coordinator()
    called.wait = wait  # type: ignore[method-assign]
    wakeups, nothing_else = WakeupListener(called, "w/1"), asyncio.Event()
    nothing_else.set()
    assert not await wakeups.wait([SHARD], nothing_else, 30)
    await backend.coordinator.notify(SHARD)
    async with asyncio.timeout(2):
        await answered.wait()
    await wakeups.close()

    async with asyncio.timeout(2):
        assert await backend.coordinator.wait([SHARD], "w/2", 30) == SHARD


async def test_a_failure_without_a_lease_holds_nobody_up(backend: Backend) -> None:
    await backend.register("a", "1")
    stale = await backend.bind_one("w/1")
    await backend.release(stale.lease)
    current = await backend.bind_one("w/2")
    await backend.storage.fail(Failure(stale.lease, 0, stale.first, 1, "E", 60))
    (settled,) = await backend.storage.settle([Settlement(current.lease, 0, current.last)])

    assert not settled.is_lost


async def drain_wakes(backend: Backend, shard: Shard = SHARD) -> None:
    """Tokens of what happened before do not count."""
    if isinstance(backend, RedisBackend):
        await backend.redis.delete(f"{backend.redis_storage.keys.base(shard)}:wake")
    if isinstance(backend, MemoryBackend):
        backend.storage.shards[shard].is_rung = False


async def pass_a_moment(backend: Backend) -> None:
    """So long that what is registered before and after it have other stamps, which `advance` does not change."""
    await asyncio.sleep(0.002)
    if isinstance(backend, MemoryBackend):
        await backend.advance(0.002)


async def test_workers_with_many_threads_are_evicted_and_served_whole(backend: Backend) -> None:
    """In steps, as each thread may have many tubes."""
    threads = {f"t{number}" for number in range(2 * LEASES_AT_ONCE)}
    for thread in threads:
        await backend.register(thread, "1")
    leases = [batch.lease for batch in await backend.bind(threads=len(threads))]
    assert await backend.coordinator.renew(leases, LEASE_SECONDS) == []

    freed = await backend.coordinator.evict(SHARD, ["w"])

    assert set(freed) == threads
    assert await backend.coordinator.renew(leases, LEASE_SECONDS) == leases
    await backend.release(*[batch.lease for batch in await backend.bind("v/1", threads=len(threads))])
    assert (await backend.observe()).ready == len(threads)
