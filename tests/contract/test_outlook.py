"""A look at many shards: what a bind would find there, without binding it."""

import pytest

from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.coordinator import Outlook
from sharded_queue.tube import Shard
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, RedisBackend

EMPTY = Shard("tests.Empty")


async def look(backend: Backend) -> Outlook:
    found = await backend.coordinator.look([EMPTY, SHARD], 5)
    assert found[EMPTY] == Outlook(0, None)
    return found[SHARD]


async def test_it_counts_the_threads_that_are_ready(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.register("b", "3")

    assert await look(backend) == Outlook(2, None)


async def test_a_bound_thread_does_not_wait_until_its_lease_is_over(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one()
    waiting, seconds = await look(backend)
    await backend.advance(LEASE_SECONDS + 1)

    assert waiting == 0
    assert seconds is not None
    assert 0 < seconds <= LEASE_SECONDS
    assert await look(backend) == Outlook(1, 0)


async def test_a_thread_waits_from_the_end_of_its_back_off(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.fail(await backend.bind_one(), delay=5)
    waiting, _ = await look(backend)
    await backend.advance(6)

    assert waiting == 0
    assert await look(backend) == Outlook(1, 0)


async def test_nothing_of_a_paused_handler_waits(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, None, True)

    assert await look(backend) == Outlook(0, None)


@pytest.mark.redis
async def test_any_number_of_shards_is_one_command(on_redis: RedisBackend) -> None:
    shards = [Shard(f"tests.Handler{number}") for number in range(500)]
    await on_redis.coordinator.look(shards, 5)
    await on_redis.redis.config_resetstat()
    found = await on_redis.coordinator.look(shards, 5)
    calls = await on_redis.redis.info("commandstats")

    assert isinstance(on_redis.coordinator, RedisCoordinator)
    assert found.keys() == set(shards)
    assert calls["cmdstat_evalsha"]["calls"] == 1
