"""The cost of an idle worker for Redis."""

import asyncio
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from bench import server
from bench.figure import Figure
from bench.load import Counted
from bench.scale import Scale
from sharded_queue import Queue, RedisCoordinator, RedisStorage, Worker

SETTLE_SECONDS = 8.0
"""Until the polls of an idle worker are as far apart as they get."""


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    await redis.flushall()
    worker = Worker(RedisCoordinator(redis), Queue(RedisStorage(redis)), handlers=[Counted])
    serving = asyncio.create_task(worker.loop())
    await asyncio.sleep(SETTLE_SECONDS)
    await server.reset(redis)
    await asyncio.sleep(scale.idle_seconds)
    sent = await server.sent(redis)
    worker.stop()
    await serving
    yield Figure(
        "commands a second of an idle worker",
        sent / scale.idle_seconds,
        "/s",
        f"{sent} in {scale.idle_seconds:.0f} s",
        1,
        "<",
    )
