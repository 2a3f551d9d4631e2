"""What a request costs Redis does not depend on how many handlers its worker serves."""

import asyncio

import pytest

from sharded_queue import Handler, Queue, RedisCoordinator, Worker, settings
from tests.contract.backend import Backend, RedisBackend
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, soon

pytestmark = pytest.mark.redis
REQUESTS = 30
COUNTED = ("evalsha", "blpop", "rpush")


class Handlers:
    """Handlers that count what they handled."""

    def __init__(self, count: int) -> None:
        self.all = [self._make(f"tests.many{number}") for number in range(count)]
        self.handled = asyncio.Queue[int]()

    def _make(self, handler_name: str) -> type[Handler]:
        class CountedHandler(JobHandler):
            name = handler_name

            async def perform(_, *requests: Job) -> None:  # noqa: N805
                for request in requests:
                    self.handled.put_nowait(request.number)

        return CountedHandler


async def calls(backend: RedisBackend) -> int:
    stats = await backend.redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in COUNTED)


async def commands_for(backend: RedisBackend, count: int) -> float:
    """Commands a request, of which each goes to the next of *count* handlers, in a thread that is new."""
    handlers = Handlers(count)
    queue, coordinator = Queue(backend.storage), RedisCoordinator(backend.redis)
    worker = Worker(coordinator, queue, handlers=handlers.all)
    waiting, wait = asyncio.Event(), coordinator.wait

    async def noted(*arguments: object) -> object:
        waiting.set()
        return await wait(*arguments)  # type: ignore[arg-type]

    coordinator.wait = noted  # type: ignore[assignment, method-assign]
    looping = asyncio.create_task(worker.loop())
    await soon(waiting)
    before = await calls(backend)
    for number in range(REQUESTS):
        waiting.clear()
        await queue.register(handlers.all[number % count], Job(number, f"{count}/{number}"))
        async with asyncio.timeout(SOON):
            await handlers.handled.get()
        await soon(waiting)
    after = await calls(backend)
    worker.stop()
    await looping
    return (after - before) / REQUESTS


async def test_a_request_costs_the_same_commands_with_1_and_with_200_handlers(on_redis: RedisBackend) -> None:
    settings.worker_concurrency, settings.worker_empty_pause = REQUESTS + 1, 60
    settings.coordinator_delay = settings.coordinator_lease = 600
    one, many = await commands_for(on_redis, 1), await commands_for(on_redis, 200)

    assert many <= 1.2 * one


async def test_a_worker_that_gets_room_looks_at_all_handlers_by_one_command(on_redis: RedisBackend) -> None:
    """Those that have nothing are not polled."""

    class FirstHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began.set()
            await go_on.wait()

    began, go_on = asyncio.Event(), asyncio.Event()
    settings.worker_empty_pause = settings.coordinator_delay = settings.coordinator_lease = 600
    handlers = Handlers(50)
    bench = Bench(on_redis)
    async with bench.working(FirstHandler, *handlers.all):
        await bench.queue.register(FirstHandler, Job(1))
        await soon(began)
        await bench.queue.register(handlers.all[30], Job(2))
        before = await calls(on_redis)
        go_on.set()
        async with asyncio.timeout(SOON):
            assert await handlers.handled.get() == 2
        after = await calls(on_redis)

    assert after - before <= 6


async def test_a_wake_up_polls_its_shard_only(backend: Backend) -> None:
    handlers = Handlers(20)
    bench = Bench(backend)
    settings.coordinator_delay = settings.coordinator_lease = settings.worker_empty_pause = 600
    settings.worker_concurrency = 5
    asked: list[str] = []
    async with bench.working(*handlers.all) as worker:
        waits, wait, bind = asyncio.Event(), worker.coordinator.wait, worker.coordinator.bind
        look = worker.coordinator.look

        async def waiting(*arguments: object) -> object:
            waits.set()
            return await wait(*arguments)  # type: ignore[arg-type]

        async def binding(shard: object, request: object) -> object:
            asked.append(shard.handler)  # type: ignore[attr-defined]
            return await bind(shard, request)  # type: ignore[arg-type]

        async def looking(*arguments: object) -> object:
            asked.append("all")
            return await look(*arguments)  # type: ignore[arg-type]

        worker.coordinator.wait = waiting  # type: ignore[assignment, method-assign]
        await soon(waits)
        worker.coordinator.bind, worker.coordinator.look = binding, looking  # type: ignore[assignment, method-assign]
        await bench.queue.register(handlers.all[7], Job(1))
        async with asyncio.timeout(SOON):
            await handlers.handled.get()

    assert asked == ["tests.many7"]
