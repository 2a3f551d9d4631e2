"""The media that the contract holds on: a new backend is one more line here."""

from collections.abc import AsyncIterator, Callable

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


@pytest.fixture
async def own_medium(
    own_redis: Callable[..., RedisServer],
) -> AsyncIterator[Callable[..., tuple[RedisServer, RedisMedium]]]:
    """Makes a redis-server that the test may stop, pause and configure, and the medium on it."""
    clients: list[Redis] = []

    def make(**options: str) -> tuple[RedisServer, RedisMedium]:
        server = own_redis(**options)
        clients.append(Redis(host="127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0)))
        return server, RedisMedium(clients[-1])

    yield make
    for client in clients:
        await client.aclose()
