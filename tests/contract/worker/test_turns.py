"""While others wait, a thread gives its worker back when its turn is over: across handlers, shards and workers."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from sharded_queue import Handler, settings
from sharded_queue.storage import Settlement
from tests.contract.backend import Backend
from tests.contract.worker.bench import Bench, Job, JobHandler, jobs, soon

NEVER = 3600.0


@pytest.fixture(autouse=True)
def short_turns() -> None:
    """Each batch of one request is a turn, a worker looks as often as it may, and nothing else makes it poll."""
    settings.worker_turn, settings.worker_batch_size, settings.worker_concurrency = 1e-6, 1, 2
    settings.worker_empty_pause = 60
    settings.coordinator_delay = 0.05


class Busy:
    """A handler that always has more requests, in as many threads as a worker has slots."""

    def __init__(self, bench: Bench, shard_count: int = 1) -> None:
        class HotHandler(JobHandler):
            shards = shard_count

            async def perform(self, *requests: Job) -> None:
                busy.handled += len(requests)
                await bench.queue.register(HotHandler, *requests)
                await asyncio.sleep(0)

        busy, self.handler, self.handled = self, HotHandler, 0

    def threads(self, number: int, count: int) -> list[str]:
        """Names of threads in the shard of this number."""
        names = (f"thread {each}" for each in range(1000))
        return [name for name in names if self.handler.shard_of(name).number == number][:count]


class Waiting:
    """Handlers whose only request waits."""

    def __init__(self) -> None:
        self.handled: set[str] = set()
        self.all_handled = asyncio.Event()

    def make(self, count: int) -> list[type[Handler]]:
        return [self._make(f"tests.waiting{number}", count) for number in range(count)]

    def _make(self, handler_name: str, count: int) -> type[Handler]:
        class WaitingHandler(JobHandler):
            name = handler_name

            async def perform(_, *requests: Job) -> None:  # noqa: N805
                self.handled.add(handler_name)
                if len(self.handled) == count:
                    self.all_handled.set()

        return WaitingHandler


async def fill(bench: Bench, busy: Busy, *threads: str) -> None:
    for thread in threads:
        await bench.queue.register(busy.handler, *jobs(range(3), thread))


async def busy_for(busy: Busy, count: int) -> None:
    """Return when *busy* has handled *count* requests more."""
    till = busy.handled + count
    async with asyncio.timeout(10):
        while busy.handled < till:  # noqa: ASYNC110 - the handler must not wait for the test
            await asyncio.sleep(0.005)


async def test_a_handler_with_a_backlog_makes_way_for_another_handler(bench: Bench) -> None:
    busy, waiting = Busy(bench), Waiting()
    (other,) = waiting.make(1)
    await fill(bench, busy, "a", "b")
    async with bench.working(busy.handler, other):
        await busy_for(busy, 4)
        await bench.queue.register(other, Job(1))
        await soon(waiting.all_handled)


async def test_all_handlers_get_their_turn_beside_a_backlog(bench: Bench) -> None:
    busy, waiting = Busy(bench), Waiting()
    others = waiting.make(5)
    await fill(bench, busy, "a", "b", "c")
    async with bench.working(busy.handler, *others):
        await busy_for(busy, 4)
        for other in others:
            await bench.queue.register(other, Job(1))
        await soon(waiting.all_handled)


async def test_a_shard_with_a_backlog_makes_way_for_another_shard(bench: Bench) -> None:
    class TwoShardsHandler(JobHandler):
        shards = 2

        async def perform(self, *requests: Job) -> None:
            if self.shard_of(requests[0].thread).number == 1:
                served.set()
                return
            turns[requests[0].thread] += 1
            await bench.queue.register(TwoShardsHandler, *requests)

    served, turns = asyncio.Event(), Counter[str]()
    names = [f"thread {number}" for number in range(100)]
    hot = [name for name in names if TwoShardsHandler.shard_of(name).number == 0][:2]
    cold = next(name for name in names if TwoShardsHandler.shard_of(name).number == 1)
    for name in hot:
        await bench.queue.register(TwoShardsHandler, *jobs(range(3), name))
    async with bench.working(TwoShardsHandler):
        async with asyncio.timeout(10):
            while len(turns) < 2:  # noqa: ASYNC110 - the handler must not wait for the test
                await asyncio.sleep(0.005)
        await bench.queue.register(TwoShardsHandler, Job(1, cold))
        await soon(served)


async def test_workers_that_are_all_busy_make_way(bench: Bench) -> None:
    busy, waiting = Busy(bench), Waiting()
    (other,) = waiting.make(1)
    await fill(bench, busy, "a", "b", "c", "d")
    async with bench.working(busy.handler, other, workers=2):
        await busy_for(busy, 12)
        await bench.queue.register(other, Job(1))
        await soon(waiting.all_handled)


async def test_as_many_threads_yield_as_wait_and_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their turns are over at the same time. One thread of another handler waits, and one look serves all."""
    looks: list[int] = []
    yields: list[bool] = []

    class PausedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            called.append(requests[0].thread)
            if len(called) == 4:
                all_called.set()
            await go_on.wait()

    async def noting(settlements: Any) -> Any:
        yields.extend(settlement.yields for settlement in settlements if settlement.is_over)
        if len(yields) >= 4:
            all_settled.set()
        return await settle(settlements)

    called: list[str] = []
    all_called, go_on, all_settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
    settle: Any = bench.queue.storage.settle
    monkeypatch.setattr(bench.queue.storage, "settle", noting)
    settings.worker_concurrency, settings.coordinator_delay = 4, NEVER
    waiting = Waiting()
    (other,) = waiting.make(1)
    for thread in "abcd":
        await bench.queue.register(PausedHandler, *jobs(range(2), thread))
    async with bench.working(PausedHandler, other) as worker:
        look = worker.coordinator.look

        async def counted(shards: Any, seconds: float) -> Any:
            looks.append(len(shards))
            return await look(shards, seconds)

        await soon(all_called)
        worker.coordinator.look = counted  # type: ignore[method-assign]
        await bench.queue.register(other, Job(1))
        go_on.set()
        await soon(all_settled)
        await soon(waiting.all_handled)

    assert sum(yields[:4]) == 1
    assert looks[:1] == [2]


async def test_a_worker_of_one_shard_does_not_look(bench: Bench) -> None:
    async def never(shards: Any, seconds: float) -> Any:
        looked.append(shards)
        return {}

    looked: list[Any] = []
    busy = Busy(bench)
    await fill(bench, busy, "a", "b")
    settings.coordinator_delay = 0.01
    async with bench.working(busy.handler) as worker:
        await busy_for(busy, 1)
        worker.coordinator.look = never  # type: ignore[method-assign]
        await busy_for(busy, 20)

    assert looked == []


async def test_the_threads_that_yield_for_one_that_waits_are_no_more_than_it(backend: Backend) -> None:
    """In one call. Those that yielded do not make others yield."""
    for thread in "abc":
        await backend.register(thread, "1", "2")
    batches = await backend.bind(threads=3, wanted=1)
    await backend.register("waits", "3")
    over = [Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True) for batch in batches]
    settled = await backend.storage.settle(over)

    assert [each.is_released for each in settled] == [True, False, False]


async def test_a_thread_yields_to_other_shards_where_no_other_of_its_own_waits(backend: Backend) -> None:
    await backend.register("hot", "1", "2")
    batch = await backend.bind_one(wanted=1)
    over = Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True, yields=True)
    (settled,) = await backend.storage.settle([over])

    assert settled.is_released
    assert [each.tube.thread for each in await backend.bind(threads=1)] == ["hot"]


async def test_a_handler_has_a_batch_size_and_a_turn_of_its_own(bench: Bench) -> None:
    """Beside a handler of the settings: its calls are small, and it makes way after each of them."""

    class OwnHandler(JobHandler):
        batch_size, turn_seconds = 2, 0.001

        async def perform(self, *requests: Job) -> None:
            calls.append([request.thread for request in requests])
            await asyncio.sleep(0.01)
            if sum(map(len, calls)) == 12:
                done.set()

    calls, done = list[list[str]](), asyncio.Event()
    settings.worker_concurrency = 1
    for thread in "ab":
        await bench.queue.register(OwnHandler, *jobs(range(6), thread))
    async with bench.working(OwnHandler):
        await soon(done)
    assert [len(call) for call in calls] == [2] * 6
    threads = [call[0] for call in calls]
    assert threads.index("b") < len(threads) - 1 - threads[::-1].index("a")
