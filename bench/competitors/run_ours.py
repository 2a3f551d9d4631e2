"""This project, run as the others are."""

import asyncio
from typing import NamedTuple

from redis.asyncio import Redis
from timing import TEXT, Clock, arguments, report

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, Worker, settings


class Small(NamedTuple):
    number: int
    text: str


class Counted(Handler):
    spread = 1

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route(request.number % cls.spread) for request in requests]

    async def perform(self, *requests: Small) -> None: ...


async def main() -> None:
    port, count, Counted.spread = arguments()
    settings.worker_concurrency = 128
    redis = Redis(port=port)
    queue = Queue(RedisStorage(redis))
    requests = [Small(number, TEXT) for number in range(count)]
    clock = Clock(count)
    await queue.register(Counted, *requests)
    registered = clock.lap()
    await Worker(RedisCoordinator(redis), queue, handlers=[Counted]).loop(count)
    report(registered, clock.lap())
    await redis.aclose()


asyncio.run(main())
