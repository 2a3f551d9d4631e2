"""`/metrics`, `/livez` and `/readyz`: told by names that are documented, and only when it is known."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from sharded_queue import (
    Handler,
    Queue,
    RedisCoordinator,
    RedisStorage,
    Route,
    RuntimeCoordinator,
    RuntimeStorage,
    Worker,
    settings,
)
from sharded_queue.cli.commands import worker as worker_command
from sharded_queue.monitoring import http_server, metrics
from sharded_queue.monitoring.health import Health, Stage
from tests.chart.promtool import SUFFIXES
from tools.redis_server import RedisServer

TABLE = Path(__file__).parents[3] / "docs" / "metrics.md"
SECONDS = 10

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def handler() -> type[Handler]:
    class Job(Handler):
        name = "jobs.Job"

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(thread=request) for request in requests]

        async def perform(self, *requests: int) -> None: ...

    return Job


def series(text: bytes) -> Series:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def named(found: Series, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {labels: value for (other, labels), value in found.items() if other == f"sharded_queue_{name}"}


def up_to(found: Series, histogram: str, bound: str) -> float:
    """How many observations of jobs.Job were not above *bound* seconds."""
    return named(found, f"{histogram}_bucket")[("handler", "jobs.Job"), ("le", bound)]


async def scraped(worker: Worker, handler: type[Handler]) -> Series:
    return series(await metrics.exposition(worker, handler.all_shards()))


async def test_a_worker_tells_what_it_did_and_what_waits(handler: type[Handler]) -> None:
    storage = RuntimeStorage()
    queue = Queue(storage)
    worker = Worker(RuntimeCoordinator(), queue, handlers=[handler])
    await queue.register(handler, 1, 1, 2)
    await worker.loop(3)
    await queue.register(handler, 3, 3, 3, 4)

    found = await scraped(worker, handler)

    assert named(found, "worker_handled_total") == {(): 3}
    assert named(found, "worker_binds_total") == {(): 2}
    assert named(found, "worker_redis_up") == {(): 1}
    assert named(found, "handler_depth") == {(("handler", "jobs.Job"),): 4}
    assert named(found, "handler_settled_total") == {(("handler", "jobs.Job"),): 3}
    assert named(found, "handler_threads")[("handler", "jobs.Job"), ("state", "ready")] == 2
    assert named(found, "tube_depth")[("handler", "jobs.Job"), ("priority", "0"), ("thread", "3")] == 3


async def test_waits_and_calls_are_told_by_handler(handler: type[Handler]) -> None:
    """By the storage's clock, the requests are 40 s old."""

    class Idle(Handler):
        name = "jobs.Idle"

        async def perform(self, *requests: int) -> None: ...

    settings.worker_concurrency = 1
    queue = Queue(RuntimeStorage(lambda: time.time_ns() // 1_000_000 - 40_000))
    worker = Worker(RuntimeCoordinator(), queue, handlers=[handler, Idle])
    await queue.register(handler, 1, 1, 2)
    await worker.loop(3)

    found = await scraped(worker, handler)

    assert named(found, "worker_wait_seconds_count") == {(("handler", "jobs.Job"),): 3, (("handler", "jobs.Idle"),): 0}
    assert named(found, "worker_wait_seconds_sum")[("handler", "jobs.Job"),] >= 3 * 40
    assert up_to(found, "worker_wait_seconds", "30.0") == 0
    assert up_to(found, "worker_wait_seconds", "+Inf") == 3
    assert named(found, "worker_handling_seconds_count") == {
        (("handler", "jobs.Job"),): 2,
        (("handler", "jobs.Idle"),): 0,
    }
    assert up_to(found, "worker_handling_seconds", "+Inf") == 2


async def test_a_clock_that_is_behind_makes_no_negative_wait(handler: type[Handler]) -> None:
    queue = Queue(RuntimeStorage(lambda: time.time_ns() // 1_000_000 + 3_600_000))
    worker = Worker(RuntimeCoordinator(), queue, handlers=[handler])
    await queue.register(handler, 1, 2)
    await worker.loop(2)

    found = await scraped(worker, handler)

    assert named(found, "worker_wait_seconds_sum") == {(("handler", "jobs.Job"),): 0}
    assert up_to(found, "worker_wait_seconds", "0.001") == 2


async def test_listed_tubes_are_told_with_what_becomes_of_them_and_who_holds_them() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    class Held(Handler):
        name = "jobs.Held"

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(thread=request) for request in requests]

        async def perform(self, *requests: int) -> None:
            begun.set()
            await end.wait()

    settings.worker_name, settings.worker_concurrency = "pod-7", 1
    queue = Queue(RuntimeStorage())
    worker = Worker(RuntimeCoordinator(), queue, handlers=[Held])
    await queue.register(Held, 1, 2)
    working = asyncio.create_task(worker.loop(2))
    async with asyncio.timeout(SECONDS):
        await begun.wait()

    found = named(await scraped(worker, Held), "tube_state")
    end.set()
    await working

    described = [dict(labels) for labels in found]
    assert set(found.values()) == {1}
    assert {each["thread"]: (each["state"], each["worker"]) for each in described} == {
        "1": ("bound", "pod-7"),
        "2": ("ready", ""),
    }


async def test_series_do_not_grow_with_threads(handler: type[Handler]) -> None:
    settings.metrics_tubes = 3
    queue = Queue(RuntimeStorage())
    worker = Worker(RuntimeCoordinator(), queue, handlers=[handler])
    await queue.register(handler, *range(50), *range(10))

    found = await scraped(worker, handler)

    assert len(named(found, "tube_lag_seconds")) == 3
    assert len(named(found, "tube_depth")) == 3 + 1
    assert sum(named(found, "tube_depth").values()) == 60


async def test_every_name_is_documented_and_every_documented_name_is_told(handler: type[Handler]) -> None:
    queue = Queue(RuntimeStorage())
    worker = Worker(RuntimeCoordinator(), queue, handlers=[handler])
    await queue.register(handler, 1)

    told = {name for name, _ in await scraped(worker, handler) if name.startswith("sharded_queue_")}

    of_workers, _, _ = TABLE.read_text().partition("## The operator")
    rows = re.findall(r"^\| `(sharded_queue_\w+[a-z])` \| (\w+) \|", of_workers, re.MULTILINE)
    assert told == {name + suffix for name, kind in rows for suffix in SUFFIXES[kind]}


@pytest.mark.redis
@pytest.mark.slow
async def test_a_worker_serves_over_http_and_says_when_redis_is_away(
    own_redis: Callable[..., RedisServer], handler: type[Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "SHARED_SECONDS", 0.0)
    settings.redis_timeout = 0.2
    server = own_redis()
    async with Redis(host="127.0.0.1", port=server.port) as client, aiohttp.ClientSession() as http:
        queue = Queue(RedisStorage(client))
        worker = Worker(RedisCoordinator(client), queue, handlers=[handler])
        state = Health(worker, handler.all_shards())

        async with http_server.serving(
            0,
            setting="QUEUE_METRICS_PORT",
            livez=state.livez,
            readyz=state.readyz,
            metrics=lambda: metrics.exposition(worker, handler.all_shards()),
            content_type=metrics.CONTENT_TYPE,
        ) as port:

            async def get(path: str) -> tuple[int, bytes]:
                async with http.get(f"http://127.0.0.1:{port}/{path}") as answer:
                    return answer.status, await answer.read()

            assert await get("readyz") == (503, b"waiting for Redis")
            state.enter(Stage.SERVING)
            await queue.register(handler, 1, 2)
            assert await get("readyz") == (200, b"ok")
            assert await get("livez") == (200, b"ok")
            known = series((await get("metrics"))[1])
            server.pause()
            unready, _ = await get("readyz")
            unknown = series((await get("metrics"))[1])
            assert await get("livez") == (200, b"ok")
            server.resume()

    assert named(known, "handler_depth") == {(("handler", "jobs.Job"),): 2}
    assert unready == 503
    assert named(unknown, "worker_redis_up") == {(): 0}
    assert named(unknown, "handler_depth") == {}
    assert named(unknown, "worker_handled_total") == {(): 0}


# Life


class Clock:
    def __init__(self, worker: Worker) -> None:
        self.now = worker.stats.stepped_at

    def __call__(self) -> float:
        return self.now


async def test_a_loop_that_does_not_move_is_not_live(handler: type[Handler]) -> None:
    worker = Worker(RuntimeCoordinator(), Queue(RuntimeStorage()), handlers=[handler])
    clock = Clock(worker)
    state = Health(worker, handler.all_shards(), clock)
    state.enter(Stage.SERVING)

    clock.now += state.longest_step()
    assert await state.livez() == ""
    clock.now += 1
    assert await state.livez() == f"the loop has not moved for {clock.now:.0f} s"
    worker.stats.stepped_at = clock.now
    assert await state.livez() == ""


async def test_a_worker_whose_lifespan_takes_long_to_begin_is_live_and_not_ready(handler: type[Handler]) -> None:
    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        entered.set()
        await may_begin.wait()
        begun.set()
        yield

    entered, may_begin, begun = asyncio.Event(), asyncio.Event(), asyncio.Event()
    now = 1e9
    worker = Worker(RuntimeCoordinator(), Queue(RuntimeStorage()), handlers=[handler], lifespan=slow)
    state = Health(worker, handler.all_shards(), clock=lambda: now)
    state.enter(Stage.SERVING)
    looping = asyncio.create_task(worker.loop())
    await entered.wait()
    now += 3600

    assert await state.livez() == ""
    assert await state.readyz() == "waiting for the lifespan to begin"
    may_begin.set()
    await begun.wait()
    assert await state.readyz() == ""
    worker.stop()
    await looping


@pytest.mark.parametrize("stage", [Stage.CONNECTING, Stage.STOPPING])
async def test_a_process_that_is_not_to_move_is_live(handler: type[Handler], stage: Stage) -> None:
    worker = Worker(RuntimeCoordinator(), Queue(RuntimeStorage()), handlers=[handler])
    clock = Clock(worker)
    state = Health(worker, handler.all_shards(), clock)
    state.enter(stage)
    clock.now += 1e6

    assert await state.livez() == ""
    assert await state.readyz() == stage.value


async def test_a_batch_that_hangs_is_not_live() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    class Hanging(Handler):
        async def perform(self, *requests: int) -> None:
            begun.set()
            await end.wait()

    queue = Queue(RuntimeStorage())
    worker = Worker(RuntimeCoordinator(), queue, handlers=[Hanging])
    await queue.register(Hanging, 1)
    state = Health(worker, Hanging.all_shards())
    working = asyncio.create_task(worker.loop(1))
    async with asyncio.timeout(SECONDS):
        await begun.wait()

    assert await state.livez() == ""
    real, state.clock = state.clock, lambda: real() + settings.coordinator_timeout
    assert "has been in its handler for 86400 s" in await state.livez()
    end.set()
    await working


def test_the_command_knows_the_content_type_without_importing_the_client_of_prometheus() -> None:
    assert worker_command.CONTENT_TYPE == metrics.CONTENT_TYPE
