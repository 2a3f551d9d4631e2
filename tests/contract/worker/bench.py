"""A queue with workers of its handlers, and what tests of workers share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from sharded_queue import (
    Handler,
    Queue,
    Route,
    Worker,
)
from tests.contract.backend import Backend

SOON = 5.0


class Job(NamedTuple):
    number: int
    thread: str = "a"


class JobHandler(Handler):
    """Routes jobs by their thread."""

    @classmethod
    async def route(cls, *requests: Job) -> list[Route]:
        return [Route(request.thread) for request in requests]


def jobs(numbers: range, thread: str = "a") -> list[Job]:
    return [Job(number, thread) for number in numbers]


def hang(*_: Any) -> Awaitable[None]:
    return asyncio.Event().wait()  # type: ignore[return-value]


class Bench:
    """A queue on a backend, and workers of its handlers."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.queue = backend, Queue(backend.storage)

    def worker(self, *handlers: type[Handler]) -> Worker:
        return Worker(self.backend.another_coordinator(), self.queue, handlers=handlers)

    @asynccontextmanager
    async def working(self, *handlers: type[Handler], workers: int = 1) -> AsyncIterator[Worker]:
        """Workers that serve until the block ends."""
        started = [self.worker(*handlers) for _ in range(workers)]
        looping = [asyncio.create_task(worker.loop()) for worker in started]
        try:
            yield started[0]
        finally:
            for worker in started:
                worker.stop()
            async with asyncio.timeout(SOON):
                await asyncio.gather(*looping)

    async def depth(self, handler: type[Handler]) -> int:
        return sum(state.depth for state in await self.backend.storage.observe(handler.all_shards()))

    async def bound(self, handler: type[Handler]) -> int:
        return sum(state.bound for state in await self.backend.storage.observe(handler.all_shards()))

    async def dead(self, handler: type[Handler]) -> list[str]:
        return [dead.error for shard in handler.all_shards() for dead in await self.backend.storage.dead(shard)]


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(SOON):
        await event.wait()
