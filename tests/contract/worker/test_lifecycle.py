"""The lifecycle of a handler: create, start, perform and stop in one task, also when one of them raises."""

import asyncio
from typing import Any, NamedTuple, Self

import pytest

from sharded_queue import (
    Handler,
    Retry,
    Route,
    current,
    settings,
)
from sharded_queue.worker.lane_state import LaneState
from tests.contract.backend import SHARD
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, jobs, soon


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
                left = (await bench.backend.storage.explain(SHARD, "a")).blocked_seconds or 0
                if left > 0:
                    return left
                await asyncio.sleep(0.01)

    waits: list[float] = []
    settings.coordinator_delay = 0.1
    await bench.queue.register(UnreadyHandler, Job(1))
    async with bench.working(UnreadyHandler) as worker:
        waits.append(await blocked_seconds())
        for _ in range(4):
            await bench.backend.advance(waits[-1] + 1)
            waits.append(await blocked_seconds())
        state = await bench.backend.storage.explain(SHARD, "a")

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
                while any(each.state is not LaneState.LINGERING for each in worker.lanes):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.001)

    assert starts == [1]
