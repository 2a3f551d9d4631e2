"""A registration that is long on its way, and clocks that do not agree: what a registration's own time is for."""

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from sharded_queue import StorageUnavailable, settings
from sharded_queue.backends.redis.client import Client
from sharded_queue.backends.redis.clock import Clock
from sharded_queue.backends.redis.link import Link
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.storage import Entry, Registration
from tests.contract.backend import SHARD, RedisBackend

pytestmark = pytest.mark.redis
TOLERANCE_MS = 50


class SlowLink(Link):
    """Takes so long to carry a script, and loses some of them; *given*: the seconds that each had."""

    def __init__(self, redis: Client, seconds: float, lost: int = 0) -> None:
        super().__init__(redis)
        self.seconds, self.lost, self.given = seconds, lost, list[float]()

    async def send(self, key: str, *command: Any, seconds: float) -> Any:
        if command[0] != "EVALSHA":
            return await super().send(key, *command, seconds=seconds)
        self.given.append(seconds)
        await asyncio.sleep(self.seconds)
        if self.lost:
            self.lost -= 1
            raise RedisConnectionError("lost")
        return await super().send(key, *command, seconds=seconds)


def slow(storage: RedisStorage, seconds: float, lost: int = 0) -> SlowLink:
    link = SlowLink(storage.link.redis, seconds, lost)
    storage.link = storage.scripts.link = link
    return link


@pytest.fixture
def clock() -> Clock:
    """A tenth of a second stands for what takes longer than a second."""
    return Clock(TOLERANCE_MS)


@pytest.fixture
def on_redis(redis: Redis, clock: Clock) -> RedisBackend:
    return RedisBackend(redis, clock)


async def test_a_registration_that_is_long_on_its_way_is_carried_out_once(on_redis: RedisBackend) -> None:
    """Its time is as old as its way was long, which is no wrong clock."""
    link = slow(on_redis.redis_storage, seconds=0.3)
    await on_redis.register("a", "1", "2")
    link.given.clear()
    await on_redis.register("a", "3")

    assert len(link.given) == 1, "what is known to take long is not sent twice"
    assert await on_redis.waiting("a") == ["1", "2", "3"]


async def test_a_registration_has_the_time_of_the_try_that_arrives(on_redis: RedisBackend) -> None:
    """Two are lost, each after longer than clocks may differ."""
    link = slow(on_redis.redis_storage, seconds=0.2, lost=2)
    await on_redis.register("warm", "0")
    link.seconds, link.lost = 0.0, 2
    await on_redis.register("a", "1")

    assert await on_redis.waiting("a") == ["1"]


@pytest.mark.parametrize("ahead_seconds", [3600, -3600])
async def test_a_wrong_clock_is_corrected(on_redis: RedisBackend, clock: Clock, ahead_seconds: int) -> None:
    clock.now = lambda: time.time() + ahead_seconds
    await on_redis.register("a", "1")
    clock.now = time.time
    await on_redis.register("b", "2")
    state = await on_redis.observe()

    assert [lag.thread for lag in state.oldest] == ["a", "b"]
    assert all(lag.lag_seconds < 600 for lag in state.oldest)


async def test_a_large_registration_is_given_the_time_that_it_needs(on_redis: RedisBackend) -> None:
    link = slow(on_redis.redis_storage, seconds=0)
    settings.redis_timeout, settings.redis_retry = 2.0, 20.0
    given = []
    for size in (1, 1_000_000, 10_000_000):
        link.given.clear()
        await on_redis.storage.register(SHARD, Registration([Entry("a", 0, [b"x" * size])]))
        given.append(link.given[0])

    assert given[:2] == [pytest.approx(2.0, abs=0.1), pytest.approx(10.0, abs=0.1)]
    assert 10.0 < given[2] <= 20.0


async def test_a_registration_that_stays_unanswered_may_have_been_carried_out(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    slow(on_redis.redis_storage, seconds=0, lost=1000)
    settings.redis_retry = 0.1

    with pytest.raises(StorageUnavailable, match="the requests may have been registered") as raised:
        await on_redis.register("a", "2")
    assert raised.value.is_uncertain


async def test_a_registration_that_was_refused_was_not_carried_out(on_redis: RedisBackend) -> None:
    await on_redis.redis.set("tube_{tests.Handler}:counters", "a text")

    with pytest.raises(StorageUnavailable, match="counters holds no hash") as raised:
        await on_redis.register("a", "1")
    assert not raised.value.is_uncertain
