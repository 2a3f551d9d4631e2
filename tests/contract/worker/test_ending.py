"""How a worker ends: by a call, by a signal, and at the end of its grace period."""

import asyncio
import os
import signal

import pytest

from sharded_queue import (
    Queue,
    RuntimeCoordinator,
    RuntimeStorage,
    ShardedQueueError,
    Worker,
    settings,
)
from sharded_queue.coordinator import BindRequest, Bound
from sharded_queue.tube import Shard
from tests.contract.backend import Backend
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, jobs, soon


async def test_a_worker_that_was_told_to_stop_takes_nothing_new(bench: Bench) -> None:
    class StoppedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.extend(request.number for request in requests)
            worker.stop()

    handled: list[int] = []
    settings.worker_batch_size = 2
    await bench.queue.register(StoppedHandler, *jobs(range(10)))
    worker = bench.worker(StoppedHandler)
    await worker.loop()

    assert handled == [0, 1]
    assert (await bench.depth(StoppedHandler), await bench.bound(StoppedHandler)) == (8, 0)


async def test_a_worker_stopped_while_it_binds_binds_no_more(bench: Bench) -> None:
    class EagerHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    settings.worker_concurrency = 10
    for thread in "abcdefghij":
        await bench.queue.register(EagerHandler, Job(1, thread))
    worker = bench.worker(EagerHandler)
    binds = 0
    bind = worker.coordinator.bind

    async def stop_then_bind(shard: Shard, request: BindRequest) -> Bound:
        nonlocal binds
        binds += 1
        worker.stop()
        return await bind(shard, request._replace(threads=1))

    worker.coordinator.bind = stop_then_bind  # type: ignore[method-assign]
    await worker.loop()

    assert binds == 1


async def test_a_running_batch_ends_before_its_worker_does(bench: Bench) -> None:
    class BusyHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            started.set()
            await go_on.wait()
            handled.extend(requests)

    handled: list[Job] = []
    started, go_on = asyncio.Event(), asyncio.Event()
    await bench.queue.register(BusyHandler, *jobs(range(3)))
    worker = bench.worker(BusyHandler)
    looping = asyncio.create_task(worker.loop())
    await soon(started)
    worker.stop()
    await asyncio.sleep(0)
    running = not looping.done()
    go_on.set()
    await looping

    assert (running, len(handled), await bench.depth(BusyHandler)) == (True, 3, 0)


async def test_a_batch_longer_than_the_grace_is_given_up_and_handled_again(bench: Bench) -> None:
    class HangingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            calls.append(len(requests))
            started.set()
            if len(calls) == 1:
                await hang()

        async def stop(self) -> None:
            calls.append(0)

    calls: list[int] = []
    started = asyncio.Event()
    settings.worker_drain = 0.05
    await bench.queue.register(HangingHandler, *jobs(range(3)))
    worker = bench.worker(HangingHandler)
    looping = asyncio.create_task(worker.loop())
    await soon(started)
    worker.stop()
    await looping
    bound = await bench.bound(HangingHandler)
    await bench.worker(HangingHandler).loop(3)

    assert (bound, calls) == (0, [3, 0, 3, 0])


async def test_a_released_thread_is_taken_over_at_once(bench: Bench) -> None:
    """Nothing but a call brings the other worker within ten seconds: it polls once a minute."""

    class HandedOverHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            calls.append(len(requests))
            if len(calls) == 1:
                first.stop()
            else:
                second_ran.set()

    calls: list[int] = []
    second_ran = asyncio.Event()
    settings.worker_batch_size, settings.coordinator_delay = 1, 60
    first = bench.worker(HandedOverHandler)
    await bench.queue.register(HandedOverHandler, *jobs(range(2)))
    async with asyncio.timeout(SOON):
        first_looping = asyncio.create_task(first.loop())
        async with bench.working(HandedOverHandler):
            await soon(second_ran)
            await first_looping


async def test_a_worker_that_runs_ends_in_good_order_by_a_signal(backend: Backend) -> None:
    """All workers of the process hear it, finish what they began, and leave the process as they found it."""

    class RunningHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began[requests[0].thread].set()
            await go_on.wait()

    def noted(number: int, _: object) -> None:
        others.append(number)

    began, go_on = {"a": asyncio.Event(), "b": asyncio.Event()}, asyncio.Event()
    others: list[int] = []
    bench = Bench(backend)
    await bench.queue.register(RunningHandler, *jobs(range(3), "a"), *jobs(range(3), "b"))
    before = signal.signal(signal.SIGTERM, noted)
    try:
        workers = [bench.worker(RunningHandler) for _ in range(2)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await soon(began["a"])
        await soon(began["b"])
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(SOON):
            while not all(worker.is_stopping for worker in workers):  # noqa: ASYNC110
                await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(SOON):
            assert await asyncio.gather(*running) == [3, 3]
        assert signal.getsignal(signal.SIGTERM) is noted
    finally:
        signal.signal(signal.SIGTERM, before)

    assert others == []


async def test_a_second_signal_gives_the_running_batches_up(backend: Backend) -> None:
    class HangingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began.set()
            await hang()

    began = asyncio.Event()
    bench = Bench(backend)
    await bench.queue.register(HangingHandler, Job(1))
    running = asyncio.create_task(bench.worker(HangingHandler).run())
    await soon(began)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
    async with asyncio.timeout(SOON):
        assert await running == 0

    assert (await bench.depth(HangingHandler), await bench.bound(HangingHandler)) == (1, 0)


async def test_a_worker_runs_in_the_os_thread_that_hears_signals() -> None:
    class AnyHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    worker = Worker(RuntimeCoordinator(), Queue(RuntimeStorage()), handlers=[AnyHandler])

    with pytest.raises(ShardedQueueError, match=r"only the main OS thread gets signals.*Worker\.loop"):
        await asyncio.to_thread(asyncio.run, worker.run())
