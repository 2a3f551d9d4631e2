"""What a handler reports done of its call is settled, whatever becomes of the rest."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest

from sharded_queue import GiveUp, Retry, Snooze, current, settings
from sharded_queue.context import Context
from tests.contract.worker.bench import Bench, Job, JobHandler, hang, jobs, soon
from tests.contract.worker.test_outcomes import time_goes_by

COUNT = 6


class Case(NamedTuple):
    name: str
    raises: Callable[[], BaseException]


CASES = [
    Case("error", lambda: ValueError("no")),
    Case("snooze", lambda: Snooze(0.05)),
    Case("group", lambda: ExceptionGroup("tasks", [Snooze(0.05)])),
]


class StepHandler(JobHandler):
    """Handles its requests one after the other, and reports each."""

    retry = Retry(limit=3, base_seconds=0, cap_seconds=0)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.handled, cls.calls, cls.last = list[int](), list[list[int]](), asyncio.Event()

    handled: list[int]
    calls: list[list[int]]
    last: asyncio.Event

    async def perform(self, *requests: Job) -> None:
        self.calls.append([request.number for request in requests])
        for at, request in enumerate(requests):
            await self.one(request)
            self.handled.append(request.number)
            current().done(at + 1)
            if request.number == COUNT - 1:
                self.last.set()

    async def one(self, request: Job) -> None: ...


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("place", [0, 1, COUNT - 1])
async def test_a_call_that_fails_repeats_nothing_that_it_reported(bench: Bench, case: Case, place: int) -> None:
    class FailingHandler(StepHandler):
        async def one(self, request: Job) -> None:
            if request.number == place and place not in tried:
                tried.append(place)
                raise case.raises()

    tried: list[int] = []
    await bench.queue.register(FailingHandler, *jobs(range(COUNT)))
    async with time_goes_by(bench), bench.working(FailingHandler):
        await soon(FailingHandler.last)

    assert FailingHandler.handled == list(range(COUNT))


async def test_the_error_is_that_of_the_first_request_behind_those_reported(bench: Bench) -> None:
    """Without another call: it has failed its first try."""

    class CulpritHandler(StepHandler):
        async def one(self, request: Job) -> None:
            if request.number == 2:
                tries.append(current().attempt)
                raise ValueError(f"not on try {len(tries)}")

    tries: list[int] = []
    await bench.queue.register(CulpritHandler, *jobs(range(COUNT)))
    async with bench.working(CulpritHandler):
        await soon(CulpritHandler.last)

    assert (tries, CulpritHandler.handled) == ([1, 2, 3], [0, 1, 3, 4, 5])
    assert await bench.dead(CulpritHandler) == ["ValueError: not on try 3"]


async def test_a_request_in_the_middle_is_given_up_in_one_call(bench: Bench) -> None:
    class GivingUpHandler(StepHandler):
        async def one(self, request: Job) -> None:
            if request.number == 2:
                raise GiveUp("no such account")

    await bench.queue.register(GivingUpHandler, *jobs(range(COUNT)))
    async with bench.working(GivingUpHandler):
        await soon(GivingUpHandler.last)

    assert GivingUpHandler.handled == [0, 1, 3, 4, 5]
    assert sum(2 in call for call in GivingUpHandler.calls) == 1
    assert await bench.dead(GivingUpHandler) == ["GiveUp: no such account"]


async def test_requests_behind_the_one_that_failed_come_one_by_one(bench: Bench) -> None:
    """A handler may have begun all of them at once: none is handled more than twice because of another one."""

    class GatherHandler(StepHandler):
        async def perform(self, *requests: Job) -> None:
            self.calls.append([request.number for request in requests])
            current().done(int(len(requests) > 1))
            if len(requests) > 1:
                raise ValueError
            if requests[0].number == COUNT - 1:
                self.last.set()

    await bench.queue.register(GatherHandler, *jobs(range(COUNT)))
    async with bench.working(GatherHandler):
        await soon(GatherHandler.last)

    assert GatherHandler.calls == [[*range(COUNT)], *([number] for number in range(1, COUNT))]


async def test_a_call_that_takes_too_long_repeats_nothing_that_it_reported(bench: Bench) -> None:
    class SlowHandler(StepHandler):
        timeout_seconds = 0.2

        async def one(self, request: Job) -> None:
            if request.number == 3 and not hung:
                hung.append(3)
                await hang()

    hung: list[int] = []
    await bench.queue.register(SlowHandler, *jobs(range(COUNT)))
    async with bench.working(SlowHandler):
        await soon(SlowHandler.last)

    assert SlowHandler.handled == list(range(COUNT))


@pytest.mark.parametrize("has_lifecycle", [False, True])
async def test_a_call_that_is_cut_off_by_the_end_of_its_worker_repeats_nothing_that_it_reported(
    bench: Bench, has_lifecycle: bool
) -> None:
    class CutHandler(StepHandler):
        async def one(self, request: Job) -> None:
            if request.number == 3 and not started.is_set():
                started.set()
                await hang()

        if has_lifecycle:

            async def stop(self) -> None: ...

    started = asyncio.Event()
    settings.worker_drain = 0.05
    await bench.queue.register(CutHandler, *jobs(range(COUNT)))
    worker = bench.worker(CutHandler)
    looping = asyncio.create_task(worker.loop())
    await soon(started)
    worker.stop()
    await looping
    left = await bench.depth(CutHandler), await bench.bound(CutHandler)
    await bench.worker(CutHandler).loop(3)

    assert (left, CutHandler.handled) == ((3, 0), list(range(COUNT)))


async def test_a_call_that_fails_after_it_reported_all_has_handled_all(bench: Bench) -> None:
    class LateFailure(JobHandler):
        async def perform(self, *requests: Job) -> None:
            current().done(len(requests))
            calls.append(len(requests))
            raise ValueError("after all")

    calls: list[int] = []
    await bench.queue.register(LateFailure, *jobs(range(COUNT)))
    await bench.worker(LateFailure).loop(COUNT)

    assert (calls, await bench.depth(LateFailure), await bench.dead(LateFailure)) == ([COUNT], 0, [])


async def test_a_report_only_grows_and_comes_from_os_threads_too(bench: Bench) -> None:
    class PlainHandler(JobHandler):
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            calls.append([request.number for request in requests])
            if len(calls) == 1:
                current().done(3)
                current().done(1)
                raise ValueError
            if requests[-1].number == COUNT - 1:
                loop.call_soon_threadsafe(done.set)

    calls, done, loop = list[list[int]](), asyncio.Event(), asyncio.get_running_loop()
    await bench.queue.register(PlainHandler, *jobs(range(COUNT)))
    async with bench.working(PlainHandler):
        await soon(done)

    assert calls == [[*range(COUNT)], [3], [4], [5]]


async def test_a_report_that_comes_after_its_call_changes_nothing(bench: Bench) -> None:
    class LeakyHandler(JobHandler):
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            contexts.append(current())
            calls.append([request.number for request in requests])
            contexts[0].done(len(contexts[0].messages))
            if len(calls) == 2:
                raise ValueError
            if requests[-1].number == COUNT - 1:
                last.set()

    contexts, calls, last = list[Context](), list[list[int]](), asyncio.Event()
    settings.worker_batch_size = 3
    await bench.queue.register(LeakyHandler, *jobs(range(COUNT)))
    async with bench.working(LeakyHandler):
        await soon(last)

    assert calls == [[0, 1, 2], [3, 4, 5], [3], [4], [5]]


@pytest.mark.parametrize("count", [-1, 2, 1.0, "1", None, True])
async def test_a_number_that_cannot_be_is_refused(bench: Bench, count: object) -> None:
    class WrongHandler(JobHandler):
        retry = Retry(limit=1)

        async def perform(self, *requests: Job) -> None:
            current().done(count)  # type: ignore[arg-type]

    await bench.queue.register(WrongHandler, Job(1))
    settings.worker_empty_limit = 1
    await bench.worker(WrongHandler).loop(1)
    (error,) = await bench.dead(WrongHandler)

    assert error == f"ValueError: done({count!r}): a whole number from 0 to 1, the requests of this call"


async def test_a_worker_that_is_gone_repeats_nothing_that_it_reported_before_its_last_renewal(bench: Bench) -> None:
    class HangingHandler(StepHandler):
        async def one(self, request: Job) -> None:
            if request.number == 3 and len(self.calls) == 1:
                await hang()

    settings.coordinator_lease = 3
    await bench.queue.register(HangingHandler, *jobs(range(COUNT)))
    (shard,) = HangingHandler.all_shards()
    async with bench.working(HangingHandler):
        async with asyncio.timeout(30):
            while await bench.depth(HangingHandler) > COUNT - 3:  # noqa: ASYNC110 - a storage tells nobody
                await asyncio.sleep(0.02)
        (state,) = await bench.backend.storage.observe([shard])
        assert (state.settled, [hold.in_hand for hold in state.held]) == (3, [COUNT - 3])
        assert await bench.backend.coordinator.evict(shard, [state.held[0].worker]) == ["a"]
        async with asyncio.timeout(30):
            await HangingHandler.last.wait()
    assert HangingHandler.handled == list(range(COUNT))
    assert HangingHandler.calls[0] == list(range(COUNT))
    assert [number for call in HangingHandler.calls[1:] for number in call] == [3, 4, 5]
