"""Binding a ready thread while few, many and very many others wait."""

import time
from collections.abc import AsyncIterator
from statistics import median

from redis.asyncio import Redis

from bench import load, server
from bench.arithmetic import spread
from bench.figure import Figure, number
from bench.load import BATCH
from bench.scale import Scale
from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, settings
from sharded_queue.coordinator import BindRequest
from sharded_queue.tube import Shard

LEASE_SECONDS = 60.0


class Waiting(Handler):
    """A thread for each request."""

    name = "bench.waiting"

    @classmethod
    async def route(cls, *requests: load.Small) -> list[Route]:
        return [Route(request.number) for request in requests]

    async def perform(self, *requests: load.Small) -> None: ...


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    await redis.flushall()
    before = await server.settled_bytes(redis)
    handlers = [type("Waiting", (Waiting,), {"name": f"bench.waiting{count}"}) for count in scale.waiting]
    for handler, count in zip(handlers, scale.waiting, strict=True):
        await fill(redis, handler, count)
    threads_bytes = (await server.settled_bytes(redis) - before) / sum(scale.waiting)
    medians = [median(times) for times in await in_turns(redis, handlers, scale.binds)]
    shown = " / ".join(f"{number(seconds * 1000)} ms" for seconds in medians)
    counts = " / ".join(f"{count:,}" for count in scale.waiting)
    yield Figure(f"bind, {counts} threads waiting: slowest to fastest", spread(medians), "×", shown, 1.25, "≤")
    yield Figure("Redis memory of a waiting thread of one request", threads_bytes, "bytes")


async def fill(redis: Redis, handler: type[Handler], count: int) -> None:
    queue, waiting = Queue(RedisStorage(redis)), load.requests(count)
    for at in range(0, count, settings.register_limit):
        await queue.register(handler, *waiting[at : at + settings.register_limit])


async def in_turns(redis: Redis, handlers: list[type[Handler]], binds: int) -> list[list[float]]:
    """Seconds of each bind, a list per handler; after each the thread is free again."""
    coordinator = RedisCoordinator(redis)
    coordinator.attach(RedisStorage(redis))
    times: list[list[float]] = [[] for _ in handlers]
    for _ in range(binds):
        for taken, handler in zip(times, handlers, strict=True):
            started = time.perf_counter()
            bound = await coordinator.bind(Shard(handler.name), BindRequest("bench/bind", 1, BATCH, LEASE_SECONDS))
            taken.append(time.perf_counter() - started)
            await coordinator.release([batch.lease for batch in bound.batches])
    return times
