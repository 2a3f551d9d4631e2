"""Commands that a request costs on a worker of 1 and of 200 handlers, of which each has work now and then."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis

from bench.figure import Figure, number
from bench.load import Small, configured
from bench.scale import Scale
from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, Worker

HANDLERS = 200
REQUESTS = 100
PAUSE_SECONDS = 0.02
WARM_SECONDS = 1.5
SENT = ("evalsha", "blpop", "rpush")
"""What producers and workers send; the commands inside scripts are not counted."""


class Handled:
    """Counts requests, and tells when all are handled."""

    def __init__(self) -> None:
        self.left, self.all = REQUESTS, asyncio.Event()

    def note(self, count: int) -> None:
        self.left -= count
        if self.left == 0:
            self.all.set()


async def measure(redis: Redis, scale: Scale) -> AsyncIterator[Figure]:
    one, many = await commands(redis, 1), await commands(redis, HANDLERS)
    note = f"{number(many)} a request; {number(one)} with 1 handler"
    yield Figure(f"commands a request, with {HANDLERS} handlers to 1", many / one, "×", note, 1.2, "≤")


async def commands(redis: Redis, count: int) -> float:
    await redis.flushall()
    handled, queue = Handled(), Queue(RedisStorage(redis))
    handlers = [make(number, handled) for number in range(count)]
    worker = Worker(RedisCoordinator(redis), queue, handlers=handlers)
    with configured(worker_concurrency=10):
        serving = asyncio.create_task(worker.loop())
        await asyncio.sleep(WARM_SECONDS)
        before = await sent(redis)
        await register(queue, handlers)
        await handled.all.wait()
        after = await sent(redis)
        worker.stop()
        await serving
    return (after - before) / REQUESTS


async def register(queue: Queue, handlers: Sequence[type[Handler]]) -> None:
    for place in range(REQUESTS):
        await queue.register(handlers[place % len(handlers)], Small(place, "now and then"))
        await asyncio.sleep(PAUSE_SECONDS)


def make(place: int, handled: Handled) -> type[Handler]:
    class OneOfMany(Handler):
        name = f"bench.one_of_many_{place}"

        @classmethod
        async def route(cls, *requests: Small) -> list[Route]:
            return [Route(request.number) for request in requests]

        async def perform(self, *requests: Small) -> None:
            handled.note(len(requests))

    return OneOfMany


async def sent(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in SENT)
