"""sharded-queue 0.2.10, in batches of 128 and with its wait on drained threads switched off."""

from typing import NamedTuple

from redis.asyncio import Redis
from sharded_queue.drivers import RedisLock, RedisStorage
from timing import PORT, THREADS, run, text

from sharded_queue import Handler, Queue, Route, Worker
from sharded_queue.settings import WorkerSettings


class Small(NamedTuple):
    number: int
    text: str


class Work(Handler):
    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route(request.number % THREADS) for request in requests]

    async def handle(self, *requests: Small) -> None: ...


class Predecessor:
    def __init__(self) -> None:
        self.redis = Redis(port=PORT, decode_responses=True)
        self.queue = Queue(RedisStorage(self.redis))

    def open(self) -> None: ...

    async def register(self, numbers) -> None:
        await self.queue.register(Work, *[Small(number, text(number)) for number in numbers])

    async def serve(self, count) -> None:
        await Worker(RedisLock(self.redis), self.queue, settings=WorkerSettings(empty_limit=0)).loop(count)

    async def close(self) -> None:
        await self.redis.aclose()


run(Predecessor())
