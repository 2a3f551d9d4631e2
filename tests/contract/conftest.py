"""The media that the contract holds on: a new backend is one more line here."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.contract.medium import Medium, MemoryMedium, RedisMedium
from tests.redis_server import RedisServer


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = Redis(host="127.0.0.1", port=redis_server.port, retry=Retry(NoBackoff(), 0))
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def medium(request: pytest.FixtureRequest) -> Medium:
    if request.param == "memory":
        return MemoryMedium()
    return RedisMedium(request.getfixturevalue("redis"))


@pytest.fixture
def on_redis(redis: Redis) -> RedisMedium:
    return RedisMedium(redis)
