"""A cordoned worker hands its threads over, each after its batch, and takes threads again when the cordon ends."""

import asyncio

import pytest

from sharded_queue import settings
from tests.contract.worker.bench import Bench, Job, JobHandler, jobs, soon


@pytest.fixture(autouse=True)
def one_request_a_batch() -> None:
    """A thread stays with its worker for as long as it has requests, whoever waits."""
    settings.worker_batch_size, settings.worker_turn = 1, 3600
    settings.coordinator_delay = 0.05


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_busy_thread_is_handed_over_after_its_batch(bench: Bench, concurrency: int) -> None:
    """A worker without room never asked for its cordon, and one with room went on with what it had."""

    class EndlessHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            begun.set()
            await bench.queue.register(EndlessHandler, *requests)
            await asyncio.sleep(0.001)

    settings.worker_concurrency, begun = concurrency, asyncio.Event()
    await bench.queue.register(EndlessHandler, *jobs(range(3)))
    async with bench.working(EndlessHandler) as worker:
        await soon(begun)
        await bench.backend.coordinator.cordon(EndlessHandler.all_shards()[0], [worker.owner.partition("/")[0]], 3600)
        async with asyncio.timeout(5):
            while await bench.bound(EndlessHandler):  # noqa: ASYNC110 - the step that releases tells nobody
                await asyncio.sleep(0.01)
        assert await bench.depth(EndlessHandler) == 3


async def test_a_drained_thread_does_not_linger_with_a_cordoned_worker(bench: Bench) -> None:
    """A request that came to it would have begun on a worker that is about to be stopped."""

    class OnceHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            begun.set()

    settings.worker_concurrency, settings.worker_empty_pause, begun = 2, 3600, asyncio.Event()
    await bench.queue.register(OnceHandler, Job(1))
    async with bench.working(OnceHandler) as worker:
        await soon(begun)
        await bench.backend.coordinator.cordon(OnceHandler.all_shards()[0], [worker.owner.partition("/")[0]], 3600)
        async with asyncio.timeout(5):
            while await bench.bound(OnceHandler):  # noqa: ASYNC110 - the step that releases tells nobody
                await asyncio.sleep(0.01)


async def test_a_worker_whose_cordon_is_lifted_serves_again(bench: Bench) -> None:
    class SeenHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            (begun if not begun.is_set() else again).set()

    begun, again = asyncio.Event(), asyncio.Event()
    shard = SeenHandler.all_shards()[0]
    async with bench.working(SeenHandler) as worker:
        name = worker.owner.partition("/")[0]
        await bench.queue.register(SeenHandler, Job(1))
        await soon(begun)
        await bench.backend.coordinator.cordon(shard, [name], 3600)
        async with asyncio.timeout(5):
            while not worker._binder.is_cordoned:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await bench.queue.register(SeenHandler, Job(2))
        await bench.backend.coordinator.cordon(shard, [name], 0)
        await soon(again)
