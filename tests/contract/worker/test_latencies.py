"""Each request counts one wait, and each call of a handler one time."""

import asyncio
import time

from sharded_queue import (
    Retry,
)
from tests.contract.backend import MemoryBackend
from tests.contract.worker.bench import Bench, Job, JobHandler, jobs, soon

ROUNDING = 0.002
"""Times of requests are whole milliseconds."""


async def test_each_request_counts_one_wait_and_each_call_one_time(bench: Bench) -> None:
    """Also where a batch failed, and its requests are handed out again."""

    class UnluckyHandler(JobHandler):
        retry = Retry(limit=10, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            nonlocal calls, failures
            calls += 1
            if any(request.number == 2 for request in requests) and failures < 6:
                failures += 1
                raise ValueError
            done.extend(request.number for request in requests)
            if len(done) == 5:
                all_done.set()

    done: list[int] = []
    calls = failures = 0
    all_done = asyncio.Event()
    await bench.queue.register(UnluckyHandler, *jobs(range(5)))
    async with bench.working(UnluckyHandler) as worker:
        await soon(all_done)

    latency = worker.stats.latencies[UnluckyHandler.name]
    assert sum(latency.waits.counts) == worker.stats.handled == 5
    assert sum(latency.calls.counts) == calls > failures


async def test_waits_and_calls_last_as_long_as_they_did(bench: Bench) -> None:
    """The second request waits until the call for the first one ends."""

    class HeldHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            begun.set()
            await go.wait()
            handled.extend(requests)
            if len(handled) == 2:
                all_done.set()

    begun, go, all_done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    handled: list[Job] = []
    if isinstance(bench.backend, MemoryBackend):
        bench.backend.now_ms = time.time_ns() // 1_000_000
    since = time.time()
    async with bench.working(HeldHandler) as worker:
        await bench.queue.register(HeldHandler, Job(1))
        await soon(begun)
        called_at = time.time()
        await bench.queue.register(HeldHandler, Job(2))
        registered_at = time.time()
        await asyncio.sleep(0.05)  # what is measured
        let_go_at = time.time()
        go.set()
        await soon(all_done)
    until = time.time()

    latency = worker.stats.latencies[HeldHandler.name]
    assert let_go_at - registered_at - ROUNDING <= latency.waits.sum_ms / 1000 <= 2 * (until - since + ROUNDING)
    assert let_go_at - called_at - ROUNDING <= latency.calls.sum_ms / 1000 <= until - since + ROUNDING
