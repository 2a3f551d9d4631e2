"""This project: batches of 128 and 128 threads at a time at its best, and registered in bulk."""

import asyncio
from typing import NamedTuple

from redis.asyncio import Redis
from timing import HOW, IS_TOLD, NUMBER, PORT, THREADS, run, text, told

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, Route, Worker, settings

SETTINGS = {"single": {"worker_batch_size": 1, "worker_concurrency": 1}, "best": {"worker_concurrency": 128}}
BULK = 1_000


class Small(NamedTuple):
    number: int
    text: str


class Work(Handler):
    name = "bench.work"

    @classmethod
    async def route(cls, *requests: Small) -> list[Route]:
        return [Route(request.number % THREADS) for request in requests]

    async def perform(self, *requests: Small) -> None: ...


class Told(Work):
    name = "bench.told"

    async def perform(self, *requests: Small) -> None:
        for request in requests:
            told("begin", request.number)
            await asyncio.sleep(NUMBER / 1000)
            told("end", request.number)


HANDLER = Told if IS_TOLD else Work


class Ours:
    def __init__(self) -> None:
        for name, value in SETTINGS.get(HOW, {}).items():
            setattr(settings, name, value)
        self.redis = Redis(port=PORT)
        self.queue = Queue(RedisStorage(self.redis))

    def open(self) -> None: ...

    async def register(self, numbers) -> None:
        requests = [Small(number, text(number)) for number in numbers]
        bulk = BULK if HOW == "best" else 1
        for at in range(0, len(requests), bulk):
            await self.queue.register(HANDLER, *requests[at : at + bulk])

    async def serve(self, count) -> None:
        await Worker(RedisCoordinator(self.redis), self.queue, handlers=[HANDLER]).loop(count)

    async def close(self) -> None:
        await self.redis.aclose()


run(Ours())
