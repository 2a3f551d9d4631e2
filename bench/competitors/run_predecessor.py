"""sharded-queue 0.2.10, with its wait on drained threads switched off."""

import asyncio
from typing import NamedTuple

from redis.asyncio import Redis
from sharded_queue.drivers import RedisLock, RedisStorage
from timing import TEXT, Clock, arguments, report

from sharded_queue import Handler, Queue, Route, Worker
from sharded_queue.settings import WorkerSettings


class Small(NamedTuple):
    number: int
    text: str


class Counted(Handler):
    spread = 1

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route(request.number % cls.spread) for request in requests]

    async def handle(self, *requests: Small) -> None: ...


async def main() -> None:
    port, count, Counted.spread = arguments()
    redis = Redis(port=port, decode_responses=True)
    queue = Queue(RedisStorage(redis))
    requests = [Small(number, TEXT) for number in range(count)]
    clock = Clock(count)
    await queue.register(Counted, *requests)
    registered = clock.lap()
    await Worker(RedisLock(redis), queue, settings=WorkerSettings(empty_limit=0)).loop(count)
    report(registered, clock.lap())
    await redis.aclose()


asyncio.run(main())
