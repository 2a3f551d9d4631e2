"""Which tube of a thread goes first, and how waiting raises a priority."""

import pytest

from sharded_queue.errors import QueueFull
from sharded_queue.storage import MOST_PRIORITIES, Entry, Registration
from tests.contract.backend import SHARD, Backend, RedisBackend, handed


async def test_lower_priority_number_goes_first(backend: Backend) -> None:
    await backend.register("a", "late", priority=7)
    await backend.register("a", "default")
    await backend.register("a", "urgent", priority=-3)
    batch = await backend.bind_one()
    order = [handed(batch)]
    while batch := (await backend.settle(batch, wanted=9)).batch:
        order.append(handed(batch))

    assert order == [["urgent"], ["default"], ["late"]]


async def test_priorities_are_compared_as_numbers(backend: Backend) -> None:
    await backend.register("a", "ten", priority=10)
    await backend.register("a", "nine", priority=9)

    assert handed(await backend.bind_one()) == ["nine"]


async def test_priorities_are_read_anew_before_each_batch(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=1)
    await backend.register("a", "urgent", priority=-1)

    batch = (await backend.settle(batch, wanted=1)).batch

    assert handed(batch) == ["urgent"]
    assert handed((await backend.settle(batch, wanted=2)).batch) == ["2", "3"]


async def test_without_ageing_a_low_priority_waits_as_long_as_there_are_others(backend: Backend) -> None:
    await backend.register("a", "low", priority=1)
    await backend.advance(86_400)
    await backend.register("a", "high")

    assert handed(await backend.bind_one()) == ["high"]


@pytest.mark.parametrize(("waited", "first"), [(15, "high"), (25, "high"), (35, "low")])
async def test_a_priority_counts_one_step_less_for_each_time_of_ageing(
    backend: Backend, waited: float, first: str
) -> None:
    """Two steps below, after two of its own the lower number still goes first, and after three it does not."""
    await backend.register("a", "low", "low too", priority=2)
    await backend.advance(waited)
    await backend.register("a", "high")
    (batch,) = await backend.bind(wanted=1, ageing_seconds=10)

    assert handed(batch) == [first]


async def test_priorities_age_while_their_thread_is_held(backend: Backend) -> None:
    await backend.register("a", "low", "low too", priority=1)
    await backend.register("a", "1")
    (batch,) = await backend.bind(wanted=1, ageing_seconds=2)
    order = [handed(batch)]
    await backend.advance(5)
    await backend.register("a", "2", "3")
    while batch := (await backend.settle(batch, wanted=1)).batch:
        order.append(handed(batch))

    assert order[:2] == [["1"], ["low"]]
    assert order.index(["low"]) < order.index(["low too"])
    assert order.index(["2"]) < order.index(["3"])


async def register_priorities(backend: Backend, priorities: range, thread: str = "a") -> None:
    entries = [Entry(thread, priority, [b"x"]) for priority in priorities]
    await backend.storage.register(SHARD, Registration(entries))


async def test_a_thread_has_a_bounded_number_of_priorities(backend: Backend) -> None:
    """Also over many calls; a request that joins a tube needs no new one, and other threads have their own."""
    most = MOST_PRIORITIES
    await register_priorities(backend, range(most - 1))
    await register_priorities(backend, range(1, most))

    refusal = (
        rf"thread tests.Handler/a has requests of {most} priorities, and may have {most}: try again .*, or use fewer"
    )
    with pytest.raises(QueueFull, match=refusal):
        await register_priorities(backend, range(most - 1, most + 1))

    await register_priorities(backend, range(most))
    await register_priorities(backend, range(most, 2 * most), "b")
    assert (await backend.observe()).depth == 2 * (most - 1) + 2 * most


async def test_a_thread_has_room_for_a_priority_when_one_is_handled(backend: Backend) -> None:
    await register_priorities(backend, range(MOST_PRIORITIES))
    await backend.settle(await backend.bind_one())

    await register_priorities(backend, range(MOST_PRIORITIES, MOST_PRIORITIES + 1))

    assert (await backend.observe()).depth == MOST_PRIORITIES


@pytest.mark.redis
async def test_priorities_of_one_call_cost_one_write_of_their_thread(on_redis: RedisBackend) -> None:
    """Each priority had its thread's record read and written, which made one call cost the cube of its priorities."""
    await on_redis.redis.config_resetstat()
    await register_priorities(on_redis, range(MOST_PRIORITIES))

    stats = await on_redis.redis.info("commandstats")
    assert stats["cmdstat_hmget"]["calls"] <= 4
    assert stats["cmdstat_hset"]["calls"] <= 3


async def test_the_requests_of_many_priorities_keep_their_order(backend: Backend) -> None:
    """Registered from the last to the first, and the older ones of each priority first."""
    for word in ("one", "two"):
        entries = [Entry("a", priority, [b"%d %s" % (priority, word.encode())]) for priority in range(9, -10, -3)]
        await backend.storage.register(SHARD, Registration(entries))
    batch = await backend.bind_one()
    order = handed(batch)
    while batch := (await backend.settle(batch, wanted=9)).batch:
        order += handed(batch)

    assert order == [f"{priority} {word}" for priority in range(-9, 10, 3) for word in ("one", "two")]
