"""The lifespan of a worker: around everything that its handlers do, whatever they and it do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from sharded_queue import HandlerError, ShardedQueueError, Worker, settings, shared
from sharded_queue.context import sharing
from sharded_queue.worker.lifespan import Lifespan
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, soon

# What is around handlers knows nothing of storages: one without and one with a wire will do.
pytestmark = pytest.mark.parametrize(
    "backend", ["memory", pytest.param("redis", marks=pytest.mark.redis)], indirect=True
)


class Pool:
    """What a lifespan opens."""


class Steps:
    """A handler and a lifespan that note what they do."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.done, self.pools = bench, list[str](), list[Pool]()
        self.performing = asyncio.Event()
        steps = self

        class Noting(JobHandler):
            pool: Pool

            @classmethod
            async def create(cls) -> Self:
                handler = cls()
                handler.pool = shared(Pool)
                return handler

            async def perform(self, *requests: Job) -> None:
                assert self.pool is shared(Pool) is await asyncio.to_thread(shared, Pool) is steps.pools[-1]
                steps.done.append("perform")
                steps.performing.set()
                if requests[0].number < 0:
                    await hang()

            async def stop(self) -> None:
                await asyncio.sleep(0)
                assert self.pool is shared(Pool)
                steps.done.append("stop")

        self.handler = Noting

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Pool]:
        self.done.append("open")
        self.pools.append(Pool())
        async with asyncio.TaskGroup():  # only its own task may leave it
            yield self.pools[-1]
        self.done.append("close")

    def worker(self, lifespan: Lifespan | None = None) -> Worker:
        coordinator = self.bench.backend.another_coordinator()
        return Worker(coordinator, self.bench.queue, handlers=[self.handler], lifespan=lifespan or self.lifespan)


@pytest.fixture
def steps(bench: Bench) -> Steps:
    return Steps(bench)


async def test_it_is_around_all_that_handlers_do_and_reaches_each_of_them(bench: Bench, steps: Steps) -> None:
    await bench.queue.register(steps.handler, Job(1), Job(2, "b"))
    await steps.worker().loop(2)

    assert steps.done[0] == "open"
    assert sorted(steps.done[1:-1]) == ["perform", "perform", "stop", "stop"]
    assert steps.done[-1] == "close"
    assert len(steps.pools) == 1


@pytest.mark.parametrize("end", [Worker.stop, Worker.abort])
async def test_it_ends_after_the_last_stop_of_a_worker_that_ends(bench: Bench, steps: Steps, end: Any) -> None:
    settings.worker_drain = 0.05
    await bench.queue.register(steps.handler, Job(-1))
    serving = steps.worker()
    looping = asyncio.create_task(serving.loop())
    await soon(steps.performing)
    end(serving)
    async with asyncio.timeout(SOON):
        await looping

    assert steps.done == ["open", "perform", "stop", "close"]
    assert await bench.depth(steps.handler) == 1


async def test_nothing_is_bound_when_it_cannot_begin(bench: Bench, steps: Steps) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Pool]:
        raise ConnectionError("no database")
        yield Pool()

    await bench.queue.register(steps.handler, Job(1))
    serving = steps.worker(broken)
    with pytest.raises(ShardedQueueError, match=r"lifespan .*broken cannot begin: ConnectionError: no database"):
        await serving.loop(1)

    assert serving.stats.bound == 0
    assert steps.done == []
    assert await bench.depth(steps.handler) == 1


async def test_a_worker_that_is_stopped_does_not_wait_for_it_to_begin(bench: Bench, steps: Steps) -> None:
    @asynccontextmanager
    async def endless() -> AsyncIterator[Pool]:
        entered.set()
        await hang()
        yield Pool()

    entered = asyncio.Event()
    await bench.queue.register(steps.handler, Job(1))
    serving = steps.worker(endless)
    looping = asyncio.create_task(serving.loop())
    await soon(entered)
    serving.stop()
    async with asyncio.timeout(SOON):
        assert await looping == 0

    assert serving.stats.bound == 0


async def test_its_failure_at_the_end_is_an_error_after_all_was_handled(bench: Bench, steps: Steps) -> None:
    @asynccontextmanager
    async def unclosable() -> AsyncIterator[Pool]:
        steps.pools.append(Pool())
        yield steps.pools[-1]
        raise OSError("cannot close")

    await bench.queue.register(steps.handler, Job(1))
    with pytest.raises(ShardedQueueError, match=r"lifespan .*unclosable failed at its end: OSError: cannot close"):
        await steps.worker(unclosable).loop(1)

    assert steps.done == ["perform", "stop"]
    assert await bench.depth(steps.handler) == 0


async def test_it_does_not_hide_the_error_of_its_worker(steps: Steps) -> None:
    @asynccontextmanager
    async def hiding() -> AsyncIterator[Pool]:
        try:
            yield Pool()
        except BaseException:
            steps.done.append("hidden")

    async def broken(_: int | None) -> None:
        raise ZeroDivisionError

    serving = steps.worker(hiding)
    serving._loop = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await serving.loop()

    assert steps.done == ["hidden"]


async def test_a_lifespan_of_another_kind_is_an_error_that_says_so(bench: Bench, steps: Steps) -> None:
    async def undecorated() -> AsyncIterator[Pool]:
        yield Pool()

    with pytest.raises(ShardedQueueError, match="lacking @asynccontextmanager"):
        await steps.worker(undecorated).loop(1)  # type: ignore[arg-type]
    with pytest.raises(HandlerError, match="uncalled"):
        steps.worker(steps.lifespan())  # type: ignore[arg-type]


async def test_nothing_is_shared_outside_of_a_worker(bench: Bench, steps: Steps) -> None:
    with pytest.raises(ShardedQueueError, match=r"nothing is shared here, so no Pool"):
        shared(Pool)
    await bench.queue.register(steps.handler, Job(1))
    await steps.worker().loop(1)
    with pytest.raises(ShardedQueueError, match=r"nothing is shared here, so no Pool"):
        shared(Pool)


async def test_what_is_shared_is_of_the_kind_that_was_asked_for(bench: Bench) -> None:
    with sharing(Pool()), pytest.raises(ShardedQueueError, match="yielded a Pool, not a int"):
        shared(int)
