"""A worker whose lease is over, or was taken away: its handler stops, and it writes nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from sharded_queue import (
    current,
    settings,
)
from tests.contract.backend import RedisBackend
from tests.contract.worker.bench import Bench, Job, JobHandler, hang, jobs, soon


async def test_the_fence_that_handlers_see_grows_with_every_worker(bench: Bench) -> None:
    class FencedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            fences.append(current().lease.fence)

    fences: list[int] = []
    for _ in range(3):
        await bench.queue.register(FencedHandler, Job(1))
        await bench.worker(FencedHandler).loop(1)

    assert fences == sorted(set(fences))


async def test_a_handler_is_stopped_when_its_lease_was_taken_away(bench: Bench) -> None:
    class TakenHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            bound.set()
            try:
                await hang()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async def stop(self) -> None:
            stopped.set()

    bound, cancelled, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
    settings.coordinator_lease = 0.3
    await bench.queue.register(TakenHandler, Job(1))
    async with bench.working(TakenHandler) as worker:
        await soon(bound)
        (lane,) = worker.lanes
        await bench.backend.coordinator.release([lane.lease])
        worker.stop()
        await soon(cancelled)
        await soon(stopped)


async def test_a_worker_that_lost_its_lease_writes_nothing(bench: Bench) -> None:
    class LosingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if current().lease.owner == first.owner:
                bound.set()
                await go_on.wait()
            else:
                others.append(requests[0].number)
                other_began.set()
                await go_on.wait()

    bound, go_on, other_began = asyncio.Event(), asyncio.Event(), asyncio.Event()
    others: list[int] = []
    first = bench.worker(LosingHandler)
    await bench.queue.register(LosingHandler, *jobs(range(2)))
    looping = asyncio.create_task(first.loop())
    await soon(bound)
    (lane,) = first.lanes
    await bench.backend.coordinator.release([lane.lease])
    async with bench.working(LosingHandler):
        await soon(other_began)
        first.stop()
        go_on.set()
        await looping

    assert first.stats.lost == 1
    assert first.stats.handled == 0


async def test_a_handler_does_not_begin_a_batch_after_the_end_of_its_lease(bench: Bench) -> None:
    """The worker was stopped by the system between the answer and the handler: by its own clock the lease is over."""

    class LateHandler(JobHandler):
        async def start(self) -> None:
            (lane,) = worker.lanes
            lane.deadline = time.monotonic() - 1

        async def perform(self, *requests: Job) -> None:
            calls.append(len(requests))

    calls: list[int] = []
    await bench.queue.register(LateHandler, Job(1))
    worker = bench.worker(LateHandler)
    await worker.loop(1)

    assert calls == []


@pytest.mark.redis
async def test_a_worker_that_cannot_renew_stops_its_handler_before_its_lease_ends(
    own_backend: Callable[..., Any],
) -> None:
    class LongHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            started.set()
            try:
                await hang()
            finally:
                ended.set()

    started, ended = asyncio.Event(), asyncio.Event()
    settings.coordinator_lease = 4.0  # a tenth is left to stop in, which a loaded machine may need
    server, backend = own_backend()
    bench = Bench(backend)
    await bench.queue.register(LongHandler, Job(1))
    worker = bench.worker(LongHandler)
    looping = asyncio.create_task(worker.loop())
    await soon(started)
    bound_at = time.monotonic()
    server.pause()
    await soon(ended)
    ended_after = time.monotonic() - bound_at
    server.resume()
    worker.stop()
    await looping

    assert ended_after < 4.0


@pytest.mark.redis
async def test_a_handler_that_blocks_the_event_loop_keeps_its_thread(on_redis: RedisBackend) -> None:
    class BlockingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            time.sleep(0.9)  # noqa: ASYNC251 - the very thing a handler should not do
            done.append(current().lease.fence)

    done: list[int] = []
    settings.coordinator_lease = 0.4
    bench = Bench(on_redis)
    await bench.queue.register(BlockingHandler, Job(1))
    worker = bench.worker(BlockingHandler)

    assert await worker.loop(1) == 1
    assert (len(done), worker.stats.lost) == (1, 0)


@pytest.mark.redis
async def test_a_hung_handler_loses_its_thread(on_redis: RedisBackend) -> None:
    class HungHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            calls.append(time.monotonic())
            if len(calls) == 1:
                await hang()
            handled.set()

    calls: list[float] = []
    handled = asyncio.Event()
    settings.coordinator_lease, settings.coordinator_timeout, settings.coordinator_delay = 0.3, 0.3, 0.1
    bench = Bench(on_redis)
    await bench.queue.register(HungHandler, Job(1))
    async with bench.working(HungHandler, workers=2):
        await soon(handled)
