"""A command that arrives late, after its resent twin was answered and after newer commands, is only answered."""

import pytest

from sharded_queue import StorageUnavailable
from sharded_queue.storage import Failure, Settled, Settlement
from tests.contract.backend import Backend, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, GIVEN_UP, HELD_UP, make_lossy


async def settle(backend: Backend, settlement: Settlement) -> Settled:
    (settled,) = await backend.storage.settle([settlement])
    return settled


async def test_a_late_settlement_does_not_end_the_turn_of_the_next_batch(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one("w/1", wanted=1)
    over = Settlement(batch.lease, 0, batch.last, 0.1, 1, is_over=True)
    next_batch = (await settle(backend, over)).batch
    await backend.register("b", "others wait")
    late = await settle(backend, over)

    assert late.batch == next_batch
    assert [other.lease.thread for other in await backend.bind("w/2", threads=2)] == ["b"]
    assert next_batch
    assert handed((await backend.settle(next_batch, wanted=1)).batch) == ["3"]


async def test_a_late_settlement_leaves_the_next_batch_in_hand_though_an_urgent_request_came(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=1)
    next_batch = (await backend.settle(batch, wanted=1)).batch
    await backend.register("a", "urgent", priority=-1)
    await backend.settle(batch, wanted=1)

    assert next_batch
    assert handed((await backend.settle(next_batch, wanted=1)).batch) == ["urgent"]


async def test_a_late_burial_leaves_the_next_batch_in_hand(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3", "4")
    batch = await backend.bind_one(wanted=1)
    await backend.fail(batch, delay=None)
    next_batch = (await settle(backend, Settlement(batch.lease, wanted=2))).batch
    assert await backend.fail(batch, delay=None)

    assert next_batch
    assert handed((await backend.settle(next_batch, wanted=1)).batch) == ["4"]
    assert (await backend.observe()).dead == 1


async def test_a_late_call_for_more_releases_nothing_and_hands_out_nothing(backend: Backend) -> None:
    """It names no requests; its number alone tells that it was answered."""
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await settle(backend, Settlement(batch.lease, 0, batch.last, call=1))
    ask = Settlement(batch.lease, wanted=1, release=True, call=2)
    await backend.register("a", "2")
    second = (await settle(backend, ask)).batch
    assert second
    await settle(backend, Settlement(batch.lease, 0, second.last, call=3))
    late = await settle(backend, ask)

    assert late == Settled()
    assert (await backend.observe()).bound == 1
    await backend.register("a", "3")
    assert await settle(backend, ask) == Settled()
    assert handed((await settle(backend, Settlement(batch.lease, wanted=1, call=4))).batch) == ["3"]


async def test_a_call_that_is_sent_again_gets_the_same_batch_though_an_urgent_request_came(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await settle(backend, Settlement(batch.lease, 0, batch.last, call=1))
    ask = Settlement(batch.lease, wanted=1, call=2)
    answer = await settle(backend, ask)
    await backend.register("a", "urgent", priority=-1)

    assert handed(answer.batch) == ["2"]
    assert await settle(backend, ask) == answer


async def test_a_failure_with_the_number_of_an_answered_call_is_only_answered(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    await settle(backend, Settlement(batch.lease, 0, batch.first, wanted=1, call=1))
    failure = Failure(batch.lease, 0, batch.last, 1, "E", 60, call=1)

    assert await backend.storage.fail(failure)
    assert (await backend.observe()).bound == 1
    assert await backend.storage.fail(failure._replace(call=2))
    assert (await backend.observe()).blocked == 1


async def test_a_late_put_off_leaves_the_next_holder_alone(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one("w/1")
    failure = Failure(batch.lease, 0, batch.first, 1, "E", 1, call=1)
    await backend.storage.fail(failure)
    await backend.advance(2)
    await backend.bind_one("w/2")

    assert not await backend.storage.fail(failure)
    assert ((await backend.observe()).bound, (await backend.observe()).blocked) == (1, 0)


async def test_a_release_whose_answer_was_lost_is_no_loss_though_another_worker_has_the_thread(
    on_redis: RedisBackend,
) -> None:
    """The thread is bound anew before its last holder has an answer."""
    await on_redis.register("a", "1", "2")
    batch = await on_redis.bind_one("w/1", wanted=1)
    link = make_lossy(on_redis.redis_storage)
    link.fates.append(ANSWER_LOST)
    link.between = lambda: on_redis.bind("w/2")
    settled = await on_redis.settle(batch, release=True)

    assert (settled.is_released, settled.is_lost) == (True, False)
    assert [hold.owner for hold in (await on_redis.observe()).held] == ["w/2"]


async def test_a_put_off_whose_answer_was_lost_is_no_loss_though_another_worker_has_the_thread(
    on_redis: RedisBackend,
) -> None:
    await on_redis.register("a", "1")
    batch = await on_redis.bind_one("w/1")
    link = make_lossy(on_redis.redis_storage)
    link.fates.append(ANSWER_LOST)
    link.between = lambda: on_redis.bind("w/2")

    assert await on_redis.fail(batch, delay=0)
    assert [hold.owner for hold in (await on_redis.observe()).held] == ["w/2"]


async def test_a_late_bind_takes_no_thread_from_its_own_worker(on_redis: RedisBackend) -> None:
    """Its twin was answered with nothing, and the next call bound a thread."""
    link = make_lossy(on_redis.coordinator)
    link.fates.append(HELD_UP)
    assert await on_redis.bind("w/1") == []
    await on_redis.register("a", "1", "2")
    batch = await on_redis.bind_one("w/1", wanted=1)
    await link.arrive()

    assert handed((await on_redis.settle(batch, wanted=1)).batch) == ["2"]


async def test_a_late_bind_takes_no_thread_from_its_own_worker_before_the_next_call(on_redis: RedisBackend) -> None:
    await on_redis.bind("w/1")
    await on_redis.register("a", "1", "2")
    link = make_lossy(on_redis.coordinator)
    link.fates.append(HELD_UP)
    batch = await on_redis.bind_one("w/1", wanted=1)
    await on_redis.register("b", "3")
    await link.arrive()

    assert (await on_redis.observe()).bound == 1
    assert handed((await on_redis.settle(batch, wanted=1)).batch) == ["2"]


async def test_a_late_bind_binds_nothing(on_redis: RedisBackend) -> None:
    link = make_lossy(on_redis.coordinator)
    link.fates.append(HELD_UP)
    await on_redis.bind("w/1")
    await on_redis.bind("w/1")
    await on_redis.register("a", "1")
    await link.arrive()

    assert (await on_redis.observe()).bound == 0


async def test_a_bind_after_one_without_an_answer_has_the_threads_of_that(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    await on_redis.bind("w/2", threads=0)
    link = make_lossy(on_redis.coordinator)
    link.fates.extend([ANSWER_LOST, GIVEN_UP])
    with pytest.raises(StorageUnavailable):
        await on_redis.bind("w/1")

    assert (await on_redis.bind_one("w/1")).lease.thread == "a"


async def test_a_late_bind_of_before_the_one_without_an_answer_takes_no_thread(on_redis: RedisBackend) -> None:
    """Two calls have no answer; the second was carried out, and the thread is bound anew before the first arrives."""
    link = make_lossy(on_redis.coordinator)
    await on_redis.register("a", "1", "2")
    await on_redis.bind("w/2", threads=0)
    for fate in (HELD_UP, ANSWER_LOST):
        link.fates.extend([fate, GIVEN_UP])
        with pytest.raises(StorageUnavailable):
            await on_redis.bind("w/1", wanted=1)
    batch = await on_redis.bind_one("w/1", wanted=1)
    await link.arrive()

    assert handed((await on_redis.settle(batch, wanted=1)).batch) == ["2"]
