"""A loop with a limit handles exactly that many requests, or ends when nothing is left."""

import asyncio

import pytest

from sharded_queue import (
    Handler,
    Route,
    settings,
)
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, jobs


@pytest.mark.parametrize(("limit", "batch"), [(1, 128), (7, 3), (20, 128), (20, 7)])
async def test_a_limit_is_met_exactly(bench: Bench, limit: int, batch: int) -> None:
    class LimitHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.extend(requests)

    handled: list[Job] = []
    settings.worker_batch_size = batch
    settings.worker_concurrency = 3
    await bench.queue.register(LimitHandler, *jobs(range(15), "a"), *jobs(range(15), "b"), *jobs(range(15), "c"))

    assert await bench.worker(LimitHandler).loop(limit) == limit
    assert len(handled) == limit
    assert await bench.depth(LimitHandler) == 45 - limit


async def test_a_limit_is_met_with_several_threads_at_a_time(bench: Bench) -> None:
    """Threads that the limit left no room for are looked at again once another thread had fewer than it reserved."""

    class ManyHandler(Handler):
        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(request % 7, request % 2) for request in requests]

        async def perform(self, *requests: int) -> None:
            await asyncio.sleep(0)

    settings.worker_batch_size, settings.worker_concurrency = 3, 4
    await bench.queue.register(ManyHandler, *range(1000))

    assert await bench.worker(ManyHandler).loop(1000) == 1000


async def test_a_limit_that_was_met_ends_the_loop_at_once(bench: Bench) -> None:
    """Not only once the threads that this worker drained before have lingered to their end."""

    class LimitHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    settings.worker_empty_limit, settings.worker_empty_pause = 1, 60
    await bench.queue.register(LimitHandler, *jobs(range(2), "a"), *jobs(range(2), "b"))

    async with asyncio.timeout(SOON):
        assert await bench.worker(LimitHandler).loop(3) == 3


async def test_a_loop_with_a_limit_ends_when_nothing_is_left(bench: Bench) -> None:
    class LimitHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    await bench.queue.register(LimitHandler, *jobs(range(5)))
    async with asyncio.timeout(SOON):
        assert await bench.worker(LimitHandler).loop(100) == 5
