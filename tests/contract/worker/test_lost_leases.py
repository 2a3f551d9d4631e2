"""A worker whose lease is over, or was taken away: its handler stops, and it writes nothing."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis as synchronous

from sharded_queue import Handler, current, settings
from tests.contract.backend import RedisBackend
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, jobs, soon


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


class Leases:
    """What Redis says of leases, read while the event loop is blocked."""

    def __init__(self, backend: RedisBackend) -> None:
        self.keys = backend.redis_storage.keys
        self.redis = synchronous.Redis(port=backend.redis.connection_pool.connection_kwargs["port"])

    def held(self, handler: type[Handler]) -> set[str]:
        """The threads whose leases have not ended."""
        leases = f"{self.keys.lock(handler.all_shards()[0])}:leases"
        seconds, micros = self.redis.time()
        now = seconds * 1000 + micros // 1000
        return {thread.decode() for thread in self.redis.zrangebyscore(leases, now, "+inf")}

    def block_until(self, handler: type[Handler], threads: set[str]) -> bool:
        """Blocks the event loop until only these threads are held; False: they never were."""
        until = time.monotonic() + SOON
        while self.held(handler) != threads:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3 * SOON):
        while not condition():  # noqa: ASYNC110 - no event says that a request was settled
            await asyncio.sleep(0.01)


@pytest.fixture
def leases(on_redis: RedisBackend) -> Iterator[Leases]:
    settings.coordinator_lease, settings.worker_concurrency = 0.5, 4
    settings.worker_empty_limit, settings.worker_empty_pause = 1, 60
    found = Leases(on_redis)
    yield found
    found.redis.close()


@pytest.mark.redis
async def test_a_blocked_event_loop_leaves_threads_to_others_that_are_in_no_call(
    on_redis: RedisBackend, leases: Leases
) -> None:
    class MixedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.append(requests[0].thread)
            if requests[0].thread == "waits":
                await go_on.wait()
            if requests[0].thread == "blocks":
                left.append(leases.block_until(MixedHandler, {"waits", "blocks"}))
                go_on.set()

    handled: list[str] = []
    left: list[bool] = []
    go_on = asyncio.Event()
    bench = Bench(on_redis)
    async with bench.working(MixedHandler) as worker:
        for number, thread in enumerate(("idle", "waits", "blocks")):
            await bench.queue.register(MixedHandler, Job(number, thread))
            await until(partial(handled.__contains__, thread))
        await soon(go_on)

    assert left == [True]
    assert handled == ["idle", "waits", "blocks"]
    assert worker.stats.lost == 1


@pytest.mark.redis
async def test_an_event_loop_that_stays_blocked_keeps_only_calls_that_move(
    on_redis: RedisBackend, leases: Leases
) -> None:
    """A handler whose lease ended meanwhile does not go on, though what it waited for has come first."""

    class AsyncHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if requests[0].thread == "waits":
                tries.append(current().lease.fence)
                if len(tries) == 1:
                    waiting.set()
                    await come
                    went_on.append(1)
            else:
                come.set_result(None)
                left.append(leases.block_until(AsyncHandler, {"blocks"}))
                held.append(leases.held(OSHandler))
                finish.set()

    class OSHandler(JobHandler):
        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            finish.wait(2 * SOON)

    tries: list[int] = []
    went_on: list[int] = []
    left: list[bool] = []
    held: list[set[str]] = []
    waiting, finish = asyncio.Event(), threading.Event()
    come = asyncio.get_running_loop().create_future()
    bench = Bench(on_redis)
    await bench.queue.register(OSHandler, Job(1, "os"))
    async with bench.working(AsyncHandler, OSHandler) as worker:
        await bench.queue.register(AsyncHandler, Job(2, "waits"))
        await soon(waiting)
        await bench.queue.register(AsyncHandler, Job(3, "blocks"))
        await until(lambda: worker.stats.handled == 3)

    assert (left, held) == ([True], [{"os"}])
    assert (went_on, len(tries), worker.stats.lost) == ([], 2, 1)


@pytest.mark.redis
async def test_an_event_loop_that_is_blocked_for_one_and_a_half_leases_loses_nothing(on_redis: RedisBackend) -> None:
    class MixedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if requests[0].thread == "waits":
                waiting.set()
                await blocked.wait()
            if requests[0].thread == "blocks":
                time.sleep(1.5 * settings.coordinator_lease)  # noqa: ASYNC251 - the very thing a handler should not do
                blocked.set()
            done.append(requests[0].thread)

    waiting, blocked = asyncio.Event(), asyncio.Event()
    done: list[str] = []
    settings.coordinator_lease, settings.worker_concurrency = 1.0, 4
    settings.worker_empty_limit, settings.worker_empty_pause = 1, 60
    bench = Bench(on_redis)
    async with bench.working(MixedHandler) as worker:
        await bench.queue.register(MixedHandler, Job(1, "idle"), Job(2, "waits"))
        await soon(waiting)
        await bench.queue.register(MixedHandler, Job(3, "blocks"))
        await soon(blocked)
        await until(lambda: worker.stats.handled == 3)

    assert (sorted(done), worker.stats.lost) == (["blocks", "idle", "waits"], 0)
