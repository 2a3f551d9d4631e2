"""The worker over both media: what handlers see, what a failure costs, and how a worker ends."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, Self

import pytest

from sharded_queue import (
    Context,
    Handler,
    Queue,
    Retry,
    Route,
    RuntimeCoordinator,
    RuntimeStorage,
    ShardedQueueError,
    Worker,
    current,
    settings,
)
from sharded_queue.coordinator import BindRequest, Bound
from sharded_queue.handler import call
from sharded_queue.storage import Batch, Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue.worker import lane as lane_module
from tests.contract.medium import SHARD, Medium, MemoryMedium, RedisMedium

SOON = 5.0
ROUNDING = 0.002
"""Times of requests are whole milliseconds."""


class Job(NamedTuple):
    number: int
    thread: str = "a"


class JobHandler(Handler):
    """Routes jobs by their thread."""

    @classmethod
    async def route(cls, *requests: Job) -> list[Route]:
        return [Route(request.thread) for request in requests]


def jobs(numbers: range, thread: str = "a") -> list[Job]:
    return [Job(number, thread) for number in numbers]


def hang(*_: Any) -> Awaitable[None]:
    return asyncio.Event().wait()  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def quick() -> None:
    """Short waits where a test waits for a worker to give up."""
    settings.worker_empty_limit, settings.worker_empty_pause = 1, 0.05
    settings.retry_base = 0.01


class Bench:
    """A queue on a medium, and workers of its handlers."""

    def __init__(self, medium: Medium) -> None:
        self.medium, self.queue = medium, Queue(medium.storage)

    def worker(self, *handlers: type[Handler]) -> Worker:
        return Worker(self.medium.another_coordinator(), self.queue, handlers=handlers)

    @asynccontextmanager
    async def working(self, *handlers: type[Handler], workers: int = 1) -> AsyncIterator[Worker]:
        """Workers that serve until the block ends."""
        started = [self.worker(*handlers) for _ in range(workers)]
        looping = [asyncio.create_task(worker.loop()) for worker in started]
        try:
            yield started[0]
        finally:
            for worker in started:
                worker.stop()
            async with asyncio.timeout(SOON):
                await asyncio.gather(*looping)

    async def depth(self, handler: type[Handler]) -> int:
        return sum(state.depth for state in await self.medium.storage.observe(handler.all_shards()))

    async def bound(self, handler: type[Handler]) -> int:
        return sum(state.bound for state in await self.medium.storage.observe(handler.all_shards()))

    async def dead(self, handler: type[Handler]) -> list[str]:
        return [dead.error for shard in handler.all_shards() for dead in await self.medium.storage.dead(shard)]


@pytest.fixture
def bench(medium: Medium) -> Bench:
    return Bench(medium)


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(SOON):
        await event.wait()


async def test_the_example_of_the_specification_ends_by_itself(medium: Medium) -> None:
    """Eight requests over three threads, three workers of three requests each."""

    class NotifyRequest(NamedTuple):
        user_id: int

    class NotifyHandler(Handler):
        @classmethod
        async def route(cls, *requests: NotifyRequest) -> list[Route]:
            return [Route(thread=request.user_id % 3) for request in requests]

        async def perform(self, *requests: NotifyRequest) -> None:
            notified.extend(request.user_id for request in requests)

    notified: list[int] = []
    queue = Queue(medium.storage)
    await queue.register(NotifyHandler, *[NotifyRequest(n) for n in range(1, 9)])
    async with asyncio.timeout(SOON):
        counts = await asyncio.gather(
            *[Worker(medium.another_coordinator(), queue, handlers=[NotifyHandler]).loop(3) for _ in range(3)]
        )

    assert sorted(notified) == list(range(1, 9))
    assert (sum(counts), max(counts)) == (8, 3)
    assert [n for n in notified if n % 3 == 1] == [1, 4, 7]


async def test_a_worker_lets_priorities_age_as_the_handler_says(bench: Bench) -> None:
    class AgeingHandler(JobHandler):
        name = SHARD.handler
        ageing_seconds = 10

        async def perform(self, *requests: Job) -> None:
            handled.extend(request.number for request in requests)

    handled: list[int] = []
    settings.worker_batch_size = 1
    await bench.medium.register("a", '[2, "a"]', priority=1)
    await bench.medium.advance(25)
    await bench.medium.register("a", '[1, "a"]')
    await bench.worker(AgeingHandler).loop(2)

    assert handled == [2, 1]


async def test_the_lifecycle_of_the_specification(bench: Bench) -> None:
    class ParseEventRequest(NamedTuple):
        event: int

    class ParseEventHandler(Handler):
        @classmethod
        async def create(cls) -> Self:
            steps.append("create")
            return cls()

        @classmethod
        async def route(cls, *requests: ParseEventRequest) -> list[Route]:
            return [Route(settings.default_thread, settings.default_priority) for _ in requests]

        async def start(self) -> None:
            steps.append("start")

        async def perform(self, *requests: ParseEventRequest) -> None:
            raise AssertionError("handle wins")

        async def handle(self, *requests: ParseEventRequest) -> None:
            steps.append([request.event for request in requests])

        async def stop(self) -> None:
            steps.append("stop")

    steps: list[Any] = []
    await bench.queue.register(ParseEventHandler, ParseEventRequest(1), ParseEventRequest(2))
    await bench.worker(ParseEventHandler).loop(9)

    assert steps == ["create", "start", [1, 2], "stop"]


async def test_coordinators_made_one_a_worker_share_the_binds_of_a_storage() -> None:
    """Three `RuntimeCoordinator()`, as in the specification."""

    class SlowHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    running = most = 0
    settings.worker_batch_size = 1
    queue = Queue(RuntimeStorage())
    await queue.register(SlowHandler, *jobs(range(30)))
    await asyncio.gather(*[Worker(RuntimeCoordinator(), queue, handlers=[SlowHandler]).loop(10) for _ in range(3)])

    assert most == 1


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
        return await bind(shard, replace(request, threads=1))

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


async def test_an_idle_worker_starts_a_new_request_at_once(bench: Bench) -> None:
    """Nothing but a call brings it within ten seconds: it polls once a minute."""

    class WokenHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.set()

    handled = asyncio.Event()
    settings.coordinator_delay = 60
    async with bench.working(WokenHandler):
        await asyncio.sleep(0.1)  # the worker has looked and waits
        await bench.queue.register(WokenHandler, Job(1))
        await soon(handled)


async def test_a_worker_without_room_does_not_eat_calls_meant_for_others(bench: Bench) -> None:
    """It took its thread on a look of its own, when a lease had run out, with its wait for a call still pending."""

    class FullHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if requests[0].thread == "left behind":
                first_is_full.set()
                await free.wait()
            else:
                second_was_called.set()

    first_is_full, second_was_called, free = asyncio.Event(), asyncio.Event(), asyncio.Event()
    settings.coordinator_delay = 60
    await bench.queue.register(FullHandler, Job(1, "left behind"))
    (shard,) = FullHandler.all_shards()
    await bench.medium.another_coordinator().bind(shard, BindRequest("dead/1", 1, 1, 0.3))
    if isinstance(bench.medium, RedisMedium):
        await bench.medium.redis.delete(f"{bench.medium.redis_storage.keys.base(shard)}:wake")
    async with bench.working(FullHandler):
        await asyncio.sleep(0.1)
        await bench.medium.advance(0.2 if isinstance(bench.medium, RedisMedium) else 0.4)
        await soon(first_is_full)
        async with bench.working(FullHandler):
            await asyncio.sleep(0.1)
            await bench.queue.register(FullHandler, Job(2, "new"))
            await soon(second_was_called)
            free.set()


async def test_a_back_off_ends_on_time(bench: Bench) -> None:
    """Not before, and not with the polls, which are a minute apart: the worker knows when to look."""

    class OnceHandler(JobHandler):
        retry = Retry(limit=3, base_seconds=0.3, cap_seconds=1, jitter=0)

        async def perform(self, *requests: Job) -> None:
            at.append(time.monotonic())
            if len(at) == 1:
                raise ValueError
            again.set()

    at: list[float] = []
    again = asyncio.Event()
    settings.coordinator_delay = 60
    await bench.queue.register(OnceHandler, Job(1))
    async with bench.working(OnceHandler):
        if isinstance(bench.medium, MemoryMedium):
            await moving(bench.medium, again)
        await soon(again)

    assert at[1] - at[0] >= 0.29


async def moving(medium: MemoryMedium, until: asyncio.Event) -> None:
    """The clock of the medium goes with that of the machine until something happens."""
    async with asyncio.timeout(SOON):
        while not until.is_set():
            started = time.monotonic()
            await asyncio.sleep(0.01)
            await medium.advance(time.monotonic() - started)


async def test_a_failing_handler_does_not_end_its_worker(bench: Bench) -> None:
    class FailingHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            failed.set()
            raise ValueError

    class SoundHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.set()

    failed, handled = asyncio.Event(), asyncio.Event()
    async with bench.working(FailingHandler, SoundHandler):
        await bench.queue.register(FailingHandler, Job(1))
        await soon(failed)
        await bench.queue.register(SoundHandler, Job(2))
        await soon(handled)


async def test_each_request_counts_one_wait_and_each_call_one_time(bench: Bench) -> None:
    """Also where a batch is halved, and what lies behind a request that failed is handed out again."""

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
    if isinstance(bench.medium, MemoryMedium):
        bench.medium.now_ms = time.time_ns() // 1_000_000
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


class Mishap(NamedTuple):
    name: str
    raised: Callable[[], BaseException]


@pytest.mark.parametrize(
    "mishap",
    [
        Mishap("exception", lambda: ValueError("no")),
        Mishap("cancelled", asyncio.CancelledError),
        Mishap("exit", lambda: SystemExit(1)),
        Mishap("recursion", RecursionError),
        Mishap("group", lambda: ExceptionGroup("several", [ValueError()])),
        Mishap("library", lambda: ShardedQueueError("registering failed")),
    ],
    ids=lambda mishap: mishap.name,
)
async def test_whatever_a_handler_raises_counts_as_a_failure(bench: Bench, mishap: Mishap) -> None:
    class RaisingHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            if requests[0].number == 0:
                raise mishap.raised()
            handled.append(requests[0].number)

    handled: list[int] = []
    settings.worker_batch_size = 1
    await bench.queue.register(RaisingHandler, *jobs(range(3)))
    async with asyncio.timeout(SOON):
        await bench.worker(RaisingHandler).loop(2)

    assert handled == [1, 2]
    assert len(await bench.dead(RaisingHandler)) == 1


async def test_later_requests_do_not_pass_one_that_fails(bench: Bench) -> None:
    class OrderedHandler(JobHandler):
        retry = Retry(limit=10, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            nonlocal failures
            if any(request.number == 2 for request in requests) and failures < 6:
                failures += 1
                raise ValueError
            done.extend(request.number for request in requests)
            if len(done) == 5:
                all_done.set()

    done: list[int] = []
    failures = 0
    all_done = asyncio.Event()
    await bench.queue.register(OrderedHandler, *jobs(range(5)))
    async with bench.working(OrderedHandler):
        await soon(all_done)

    assert done == [0, 1, 2, 3, 4]


async def test_the_offender_of_a_failing_batch_is_found_by_splitting_it(bench: Bench) -> None:
    class OneBadHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            nonlocal calls
            calls += 1
            if any(request.number == 77 for request in requests):
                raise ValueError
            done.extend(request.number for request in requests)

    done: list[int] = []
    calls = 0
    await bench.queue.register(OneBadHandler, *jobs(range(128)))
    await bench.worker(OneBadHandler).loop(127)

    assert done == [n for n in range(128) if n != 77]
    assert calls <= 1 + 2 * 7 + 1
    assert await bench.dead(OneBadHandler) == ["ValueError: "]


async def test_a_request_is_tried_as_often_as_its_handler_says(bench: Bench) -> None:
    class StubbornHandler(JobHandler):
        retry = Retry(limit=4, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            if requests[0].number == 0:
                attempts.append(current().attempt)
                raise ValueError("never")
            last.set()

    attempts: list[int] = []
    last = asyncio.Event()
    settings.worker_batch_size = 1
    await bench.queue.register(StubbornHandler, *jobs(range(2)))
    async with bench.working(StubbornHandler):
        await soon(last)

    assert attempts == [1, 2, 3, 4]
    assert await bench.dead(StubbornHandler) == ["ValueError: never"]


async def test_a_message_that_cannot_be_read_goes_to_the_dead_letters(bench: Bench) -> None:
    class ReadingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            done.extend(request.number for request in requests)

    done: list[int] = []
    (shard,) = ReadingHandler.all_shards()
    await bench.queue.register(ReadingHandler, Job(1))
    await bench.medium.storage.register(shard, Registration([Entry("a", 0, [b"\xff garbage", b'["text"]'])]))
    await bench.queue.register(ReadingHandler, Job(2))
    await bench.worker(ReadingHandler).loop(2)

    assert done == [1, 2]
    assert len([error for error in await bench.dead(ReadingHandler) if "is not a Job" in error]) == 2


async def test_requests_of_unknown_handlers_stay_where_they_are(bench: Bench) -> None:
    class KnownHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    class UnknownHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    await bench.queue.register(UnknownHandler, *jobs(range(3)))
    await bench.queue.register(KnownHandler, *jobs(range(3)))

    assert await bench.worker(KnownHandler).loop(6) == 3
    assert await bench.depth(UnknownHandler) == 3


async def test_a_handler_that_cannot_start_costs_no_request_its_tries(bench: Bench) -> None:
    class UnreadyHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        async def start(self) -> None:
            nonlocal starts
            starts += 1
            if starts < 4:
                raise ConnectionError("database is away")

        async def perform(self, *requests: Job) -> None:
            attempts.append(current().attempt)
            done.set()

    starts = 0
    attempts: list[int] = []
    done = asyncio.Event()
    await bench.queue.register(UnreadyHandler, Job(1))
    async with bench.working(UnreadyHandler):
        await soon(done)

    assert attempts == [1]


async def test_a_handler_whose_requests_cannot_be_described_does_not_spin(bench: Bench) -> None:
    class BrokenHandler(JobHandler):
        retry = Retry(limit=3, base_seconds=60, cap_seconds=60)

        async def perform(self, *requests: "NowhereToBeFound") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    (shard,) = BrokenHandler.all_shards()
    await bench.medium.storage.register(shard, Registration([Entry("a", 0, [b"[1]"])]))
    async with bench.working(BrokenHandler) as worker:
        await asyncio.sleep(0.1)

        assert worker.stats.bound == 1


async def test_a_handler_that_cannot_start_waits_longer_each_time_and_is_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """One traceback tells why, and one line each of the tries after it."""

    class UnreadyHandler(JobHandler):
        name = SHARD.handler
        retry = Retry(limit=1, base_seconds=10, cap_seconds=60, jitter=0)

        async def start(self) -> None:
            raise ConnectionError("database is away")

        async def perform(self, *requests: Job) -> None: ...

    async def blocked_seconds() -> float:
        async with asyncio.timeout(SOON):
            while True:
                left = (await bench.medium.storage.explain(SHARD, "a")).blocked_seconds or 0
                if left > 0:
                    return left
                await asyncio.sleep(0.01)

    waits: list[float] = []
    settings.coordinator_delay = 0.1
    await bench.queue.register(UnreadyHandler, Job(1))
    async with bench.working(UnreadyHandler) as worker:
        waits.append(await blocked_seconds())
        for _ in range(4):
            await bench.medium.advance(waits[-1] + 1)
            waits.append(await blocked_seconds())
        state = await bench.medium.storage.explain(SHARD, "a")

    assert [round(seconds, -1) for seconds in waits] == [10, 20, 40, 60, 60]
    assert state.tubes[0].error == "cannot start (5): ConnectionError: database is away"
    assert (state.tubes[0].attempts, worker.stats.failed) == (0, 5)
    tries = [record for record in caplog.records if "cannot start" in record.getMessage()]
    assert [record.exc_info is not None for record in tries] == [True, False, False, False, False]


async def test_a_handler_that_started_after_all_has_a_clean_slate(bench: Bench) -> None:
    class MoodyHandler(JobHandler):
        name = SHARD.handler
        retry = Retry(limit=9, base_seconds=0, cap_seconds=0)

        async def start(self) -> None:
            if len(starts) in (0, 1, 3):
                starts.append("failed")
                raise ConnectionError("database is away")
            starts.append("")

        async def perform(self, *requests: Job) -> None:
            done.set()

    starts: list[str] = []
    settings.coordinator_delay = 0.05
    for _ in range(2):
        done = asyncio.Event()
        await bench.queue.register(MoodyHandler, Job(1), Job(2))
        async with bench.working(MoodyHandler):
            await soon(done)

    assert starts == ["failed", "failed", "", "failed", ""]


async def test_an_error_that_cannot_be_printed_is_a_failed_try(bench: Bench) -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            return self.missing  # type: ignore[attr-defined, no-any-return]

    class SilentHandler(JobHandler):
        retry = Retry(limit=3, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            if requests[0].number == 0:
                attempts.append(current().attempt)
                raise SilentError
            last.set()

    attempts: list[int] = []
    last = asyncio.Event()
    settings.worker_batch_size = 1
    await bench.queue.register(SilentHandler, *jobs(range(2)))
    async with bench.working(SilentHandler):
        await soon(last)

    assert attempts == [1, 2, 3]
    assert await bench.dead(SilentHandler) == ["SilentError: (its message cannot be read)"]


async def test_an_error_that_a_lane_does_not_expect_is_a_failed_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and ends in the dead letters."""

    class UnexpectedHandler(JobHandler):
        retry = Retry(limit=3, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            done.set()

    def broken(batch: Batch, chunk: slice) -> None:
        if batch.messages[0].endswith(b'[0,"a"]'):
            attempts.append(batch.attempt)
            raise RuntimeError("a bug of ours")

    attempts: list[int] = []
    done = asyncio.Event()
    settings.worker_batch_size = 1
    monkeypatch.setattr(lane_module, "_set_context", broken)
    await bench.queue.register(UnexpectedHandler, *jobs(range(2)))
    async with bench.working(UnexpectedHandler):
        await soon(done)

    assert attempts == [1, 2, 3]
    assert await bench.dead(UnexpectedHandler) == ["RuntimeError: a bug of ours"]


async def test_what_a_handler_raised_is_logged_and_kept_with_its_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that is halved to find the one that fails leaves one traceback, not one for each half."""

    class RaisingHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            if any(request.number == 2 for request in requests):
                self.look_up("\x1b[2J")
            if requests[-1].number == 3:
                last.set()

        def look_up(self, key: str) -> None:
            raise KeyError(key)

    last = asyncio.Event()
    await bench.queue.register(RaisingHandler, *jobs(range(4)))
    async with bench.working(RaisingHandler):
        await soon(last)
    (letter,) = await bench.medium.storage.dead(RaisingHandler.all_shards()[0])

    assert letter.error == r"KeyError: '\x1b[2J'"
    assert letter.traceback.startswith("Traceback (most recent call last):\n")
    assert "in look_up\n    raise KeyError(key)\nKeyError: " in letter.traceback
    assert "\x1b" not in letter.traceback
    assert [record.exc_info is not None for record in caplog.records if "failed on" in record.getMessage()] == [
        True,
        False,
    ]


async def test_a_worker_that_runs_ends_in_good_order_by_a_signal(medium: Medium) -> None:
    """All workers of the process hear it, finish what they began, and leave the process as they found it."""

    class RunningHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began[requests[0].thread].set()
            await go_on.wait()

    def noted(number: int, _: object) -> None:
        others.append(number)

    began, go_on = {"a": asyncio.Event(), "b": asyncio.Event()}, asyncio.Event()
    others: list[int] = []
    bench = Bench(medium)
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


async def test_a_second_signal_gives_the_running_batches_up(medium: Medium) -> None:
    class HangingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began.set()
            await hang()

    began = asyncio.Event()
    bench = Bench(medium)
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


async def test_a_batch_that_takes_longer_than_its_handler_allows_is_a_failed_try(bench: Bench) -> None:
    class TimedHandler(JobHandler):
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)
        timeout_seconds = 0.1

        async def perform(self, *requests: Job) -> None:
            if requests[0].number == 0:
                attempts.append(current().attempt)
                await hang()
            done.set()

    attempts: list[int] = []
    done = asyncio.Event()
    settings.worker_batch_size = 1
    await bench.queue.register(TimedHandler, *jobs(range(2)))
    async with bench.working(TimedHandler) as worker:
        await soon(done)

    assert attempts == [1, 2]
    assert worker.stats.failed == 2
    assert await bench.dead(TimedHandler) == ["TimeoutError: not done after timeout_seconds = 0.1"]


async def test_a_timeout_of_the_handlers_own_is_not_taken_for_ours() -> None:
    class OwnHandler(JobHandler):
        timeout_seconds = 60

        async def perform(self, *requests: Job) -> None:
            raise TimeoutError("the database is slow")

    with pytest.raises(TimeoutError, match="the database is slow"):
        await call(OwnHandler(), [Job(1)])


async def test_a_lifecycle_is_one_task(bench: Bench) -> None:
    """So a handler may open a group of tasks in `start` and close it in `stop`."""

    class GroupHandler(JobHandler):
        @classmethod
        async def create(cls) -> Self:
            tasks.append(asyncio.current_task())
            return cls()

        async def start(self) -> None:
            self.group = await asyncio.TaskGroup().__aenter__()
            tasks.append(asyncio.current_task())

        async def perform(self, *requests: Job) -> None:
            self.group.create_task(asyncio.sleep(0))
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task())

        async def stop(self) -> None:
            tasks.append(asyncio.current_task())
            await self.group.__aexit__(None, None, None)
            closed.append(self)

    settings.worker_batch_size, settings.worker_concurrency = 1, 4
    tasks: list[asyncio.Task[Any] | None] = []
    closed: list[GroupHandler] = []
    for thread in "abcd":
        await bench.queue.register(GroupHandler, *jobs(range(3), thread))
    async with asyncio.timeout(SOON):
        await bench.worker(GroupHandler).loop(12)

    assert (len(tasks), len(set(tasks)), len(closed)) == (24, 4, 4)


async def test_what_a_handler_opened_and_cancels_its_task_makes_the_batch_fail(bench: Bench) -> None:
    """As any error does: the try is counted, and the thread waits before the next one."""

    class ShortHandler(JobHandler):
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

        async def start(self) -> None:
            self.limit = await asyncio.timeout(0.05).__aenter__()

        async def perform(self, *requests: Job) -> None:
            if requests[0].number == 0:
                attempts.append(current().attempt)
                await hang()
            done.set()

        async def stop(self) -> None:
            self.limit.reschedule(None)

    attempts: list[int] = []
    done = asyncio.Event()
    settings.worker_batch_size = 1
    await bench.queue.register(ShortHandler, *jobs(range(2)))
    async with bench.working(ShortHandler):
        await soon(done)

    assert attempts == [1, 2]
    assert len(await bench.dead(ShortHandler)) == 1


async def test_a_handler_is_stopped_after_an_error(bench: Bench) -> None:
    class FailingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            raise ValueError

        async def stop(self) -> None:
            stopped.set()

    stopped = asyncio.Event()
    await bench.queue.register(FailingHandler, Job(1))
    async with bench.working(FailingHandler):
        await soon(stopped)


async def test_an_error_in_stop_releases_the_thread_all_the_same(bench: Bench) -> None:
    class BadStopHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

        async def stop(self) -> None:
            raise ValueError

    await bench.queue.register(BadStopHandler, Job(1))
    await bench.worker(BadStopHandler).loop(1)

    assert await bench.bound(BadStopHandler) == 0


async def test_a_handler_whose_start_raised_is_not_stopped_and_the_next_one_is(bench: Bench) -> None:
    seen: list[str] = []

    class RetriedHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        async def start(self) -> None:
            seen.append("start")
            if len(seen) == 1:
                raise ConnectionError("no database yet")

        async def perform(self, *requests: Job) -> None:
            seen.append("perform")

        async def stop(self) -> None:
            seen.append("stop")

    await bench.queue.register(RetriedHandler, Job(1))
    await bench.worker(RetriedHandler).loop(1)

    assert seen == ["start", "start", "perform", "stop"]


async def test_a_trickle_pays_for_one_start_only(bench: Bench) -> None:
    class TrickleHandler(JobHandler):
        async def start(self) -> None:
            starts.append(1)

        async def perform(self, *requests: Job) -> None:
            handled.set()

    starts: list[int] = []
    handled = asyncio.Event()
    settings.worker_empty_pause, settings.coordinator_delay = 30, 60
    async with bench.working(TrickleHandler) as worker:
        for number in range(5):
            await bench.queue.register(TrickleHandler, Job(number))
            await soon(handled)
            handled.clear()
            async with asyncio.timeout(SOON):
                while not all(lane.is_lingering for lane in worker.lanes):  # noqa: ASYNC110 - a lane tells nobody
                    await asyncio.sleep(0.001)

    assert starts == [1]


async def test_a_drained_thread_is_let_go_after_its_pause(bench: Bench) -> None:
    class ShortHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

        async def stop(self) -> None:
            stopped.set()

    stopped = asyncio.Event()
    async with bench.working(ShortHandler):
        await bench.queue.register(ShortHandler, Job(1))
        await soon(stopped)


async def test_a_drained_thread_does_not_keep_others_waiting(bench: Bench) -> None:
    """However long it may linger, and with room for one thread only."""

    class OneByOneHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            threads.append(requests[0].thread)
            if len(threads) == 5:
                done.set()

    threads: list[str] = []
    done = asyncio.Event()
    settings.worker_empty_pause, settings.coordinator_delay = 60, 60
    for thread in "abcde":
        await bench.queue.register(OneByOneHandler, Job(1, thread))
    async with bench.working(OneByOneHandler):
        await soon(done)

    assert threads == list("abcde")


async def test_a_worker_handles_as_many_threads_at_once_as_it_may(bench: Bench) -> None:
    class MeetingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await barrier.wait()
            running -= 1

    running = most = 0
    barrier = asyncio.Barrier(4)
    settings.worker_concurrency = 4
    for number in range(8):
        await bench.queue.register(MeetingHandler, Job(number, str(number)))
    async with asyncio.timeout(SOON):
        assert await bench.worker(MeetingHandler).loop(8) == 8

    assert most == 4


async def test_one_thread_has_one_worker_at_a_time(bench: Bench) -> None:
    class ExclusiveHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            thread = requests[0].thread
            assert thread not in running
            running.add(thread)
            await asyncio.sleep(0.001)
            running.discard(thread)
            done.setdefault(thread, []).extend(request.number for request in requests)
            if sum(map(len, done.values())) == 150:
                all_done.set()

    running: set[str] = set()
    done: dict[str, list[int]] = {}
    all_done = asyncio.Event()
    settings.worker_batch_size, settings.worker_concurrency = 3, 3
    for start in range(0, 30, 5):
        for thread in "abcde":
            await bench.queue.register(ExclusiveHandler, *jobs(range(start, start + 5), thread))
    async with bench.working(ExclusiveHandler, workers=3):
        await soon(all_done)

    assert done == {thread: list(range(30)) for thread in "abcde"}
    assert await bench.dead(ExclusiveHandler) == []


async def test_one_worker_serves_several_handlers(bench: Bench) -> None:
    class FirstHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            served.add("first")

    class SecondHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            served.add("second")

    served: set[str] = set()
    await bench.queue.register(FirstHandler, Job(1))
    await bench.queue.register(SecondHandler, Job(1))
    await bench.worker(FirstHandler, SecondHandler).loop(2)

    assert served == {"first", "second"}


async def test_a_handler_over_several_shards_is_served_whole(bench: Bench) -> None:
    class SpreadHandler(JobHandler):
        shards = 4

        async def perform(self, *requests: Job) -> None:
            done.update(request.thread for request in requests)

    done: set[str] = set()
    threads = {str(n) for n in range(20)}
    await bench.queue.register(SpreadHandler, *[Job(1, thread) for thread in threads])
    spread = {state.depth for state in await bench.medium.storage.observe(SpreadHandler.all_shards())}
    await bench.worker(SpreadHandler).loop(20)

    assert done == threads
    assert spread != {0, 20}


async def test_a_handler_may_be_an_ordinary_function(bench: Bench) -> None:
    class SyncHandler(JobHandler):
        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            time.sleep(0.01)
            done.extend((request.number, current().sequences[place]) for place, request in enumerate(requests))

    done: list[tuple[int, int]] = []
    receipts = await bench.queue.register(SyncHandler, *jobs(range(3)))
    await bench.worker(SyncHandler).loop(3)

    assert done == [(number, receipt.sequence) for number, receipt in enumerate(receipts)]


async def test_a_failing_ordinary_function_is_a_failing_handler(bench: Bench) -> None:
    class SyncHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            raise ValueError("sync")

    await bench.queue.register(SyncHandler, Job(1))
    await bench.worker(SyncHandler).loop(1)

    assert await bench.dead(SyncHandler) == ["ValueError: sync"]


async def test_the_context_tells_what_is_in_hand(bench: Bench) -> None:
    class CuriousHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            seen.append(current())

    seen: list[Context] = []
    receipts = await bench.queue.register(CuriousHandler, *jobs(range(2)), headers={"trace": "7"})
    await bench.worker(CuriousHandler).loop(2)
    (context,) = seen

    assert (context.tube, context.attempt) == (receipts[0].tube, 1)
    assert list(context.sequences) == [receipt.sequence for receipt in receipts]
    assert context.headers == [{"trace": "7"}, {"trace": "7"}]
    assert context.registered_ms[0] == pytest.approx(time.time() * 1000, abs=5000)
    assert context.lease.fence > 0


async def test_there_is_no_context_outside_a_handler() -> None:
    with pytest.raises(ShardedQueueError, match="no batch here"):
        current()


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
        await bench.medium.coordinator.release([lane.lease])
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
    await bench.medium.coordinator.release([lane.lease])
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
async def test_a_worker_goes_on_when_redis_is_back(own_medium: Callable[..., Any]) -> None:
    class PatientHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            done.extend(request.number for request in requests)
            more.set()

    done: list[int] = []
    more = asyncio.Event()
    settings.coordinator_delay = 0.1
    server, medium = own_medium(appendonly="yes")
    bench = Bench(medium)
    async with bench.working(PatientHandler):
        await bench.queue.register(PatientHandler, *jobs(range(3)))
        await soon(more)
        more.clear()
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await bench.queue.register(PatientHandler, *jobs(range(3, 6)))
        await soon(more)

    assert done == list(range(6))


@pytest.mark.redis
async def test_a_worker_that_cannot_renew_stops_its_handler_before_its_lease_ends(
    own_medium: Callable[..., Any],
) -> None:
    class LongHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            started.set()
            try:
                await hang()
            finally:
                ended.set()

    started, ended = asyncio.Event(), asyncio.Event()
    settings.coordinator_lease = 1.0
    server, medium = own_medium()
    bench = Bench(medium)
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

    assert ended_after < 1.0


@pytest.mark.redis
async def test_a_handler_that_blocks_the_event_loop_keeps_its_thread(on_redis: RedisMedium) -> None:
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
async def test_a_hung_handler_loses_its_thread(on_redis: RedisMedium) -> None:
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


async def test_a_worker_is_refused_a_name_that_a_lease_cannot_hold(medium: Medium) -> None:
    with pytest.raises(ValueError, match="name"):
        Worker(medium.coordinator, Queue(medium.storage), name="my worker")


async def test_a_coordinator_of_another_medium_is_refused(medium: Medium) -> None:
    other = RuntimeCoordinator() if isinstance(medium, RedisMedium) else None
    if other is None:
        from redis.asyncio import Redis

        from sharded_queue import RedisCoordinator

        other = RedisCoordinator(Redis())  # type: ignore[assignment]

    with pytest.raises(ValueError, match="Coordinator"):
        Worker(other, Queue(medium.storage))  # type: ignore[arg-type]
