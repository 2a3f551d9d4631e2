"""A call of several requests fails: how often each of them is handled, and what the search for the culprit costs."""

import asyncio
from collections import Counter
from typing import NamedTuple

import pytest

from sharded_queue import Handler, Retry, settings
from sharded_queue.storage import Failure, Settled, Settlement
from sharded_queue.worker.lane_state import LaneState
from tests.contract.backend import SHARD
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, jobs, soon

failing: set[int] = set()
"""The requests that fail whenever they are handled."""
handled: Counter[int] = Counter()
"""How often each request was handled, or at least begun."""


@pytest.fixture(autouse=True)
def begin() -> None:
    failing.clear()
    handled.clear()


def handle(request: Job) -> None:
    handled[request.number] += 1
    if request.number in failing:
        raise ValueError(request.number)


class LoopHandler(JobHandler):
    """Handles requests in turn: those before one that fails were handled."""

    retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

    async def perform(self, *requests: Job) -> None:
        for request in requests:
            handle(request)


class GatherHandler(JobHandler):
    """Handles all requests at once: those behind one that fails were handled as well."""

    retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

    async def perform(self, *requests: Job) -> None:
        await asyncio.gather(*map(self.one, requests))

    async def one(self, request: Job) -> None:
        await asyncio.sleep(0)
        handle(request)


class Case(NamedTuple):
    name: str
    failing: set[int]


@pytest.mark.parametrize("handler", [LoopHandler, GatherHandler])
@pytest.mark.parametrize(
    "case",
    [
        Case("first", {0}),
        Case("middle", {77}),
        Case("last", {127}),
        Case("neighbours", {63, 64}),
        Case("three", {0, 64, 127}),
    ],
    ids=lambda case: case.name,
)
async def test_no_request_is_handled_more_than_twice_because_of_another_one(
    bench: Bench, handler: type[Handler], case: Case
) -> None:
    failing.update(case.failing)
    await bench.queue.register(handler, *jobs(range(129)))
    async with asyncio.timeout(2 * SOON):
        await bench.worker(handler).loop(129 - len(failing))

    innocent = set(range(129)) - failing
    assert {handled[number] for number in innocent} <= {1, 2}
    assert len(await bench.dead(handler)) == len(failing)


async def test_a_failed_batch_costs_one_call_and_one_for_each_of_its_requests(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that settles a request hands out the next one."""

    class OnceHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if len(requests) > 1:
                raise ValueError

    calls: list[str] = []
    settle, fail = bench.backend.storage.settle, bench.backend.storage.fail

    async def settle_counted(settlements: list[Settlement]) -> list[Settled]:
        calls.append("settle")
        return await settle(settlements)

    async def fail_counted(failure: Failure) -> bool:
        calls.append("fail" if failure.last is None else "take apart")
        return await fail(failure)

    monkeypatch.setattr(bench.backend.storage, "settle", settle_counted)
    monkeypatch.setattr(bench.backend.storage, "fail", fail_counted)
    await bench.queue.register(OnceHandler, *jobs(range(128)))
    await bench.worker(OnceHandler).loop(128)

    assert Counter(calls) == {"take apart": 1, "settle": 128}


async def test_a_request_beside_a_failing_one_is_handled_twice_though_its_worker_stops(bench: Bench) -> None:
    """The first worker is asked to end while its batch fails, the second one while the requests come one by one."""

    class StoppingHandler(JobHandler):
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            calls.append(len(requests))
            if len(calls) in (1, 20):
                serving[-1].stop()
            for request in requests:
                handle(request)

    calls: list[int] = []
    serving = []
    failing.add(127)
    await bench.queue.register(StoppingHandler, *jobs(range(129)))
    for _ in range(3):
        serving.append(bench.worker(StoppingHandler))
        await serving[-1].loop(128 - sum(worker.stats.handled for worker in serving))

    assert {handled[number] for number in range(127)} == {2}
    assert calls == [128] + [1] * (len(calls) - 1)


async def test_a_request_beside_a_failing_one_is_handled_twice_though_its_worker_dies(bench: Bench) -> None:
    """All but the one in the hands of the dead worker."""

    class DyingHandler(JobHandler):
        name = SHARD.handler
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            for request in requests:
                handle(request)
            if requests[0].number == 40 and handled[40] == 2:
                dying.set()
                await hang()

    dying = asyncio.Event()
    failing.add(127)
    await bench.queue.register(DyingHandler, *jobs(range(129)))
    dead = bench.worker(DyingHandler)
    looping = asyncio.create_task(dead.loop())
    await soon(dying)
    for lane in dead.lanes:
        lane.hold.state = LaneState.RELEASED  # it neither renews nor releases any more
    await bench.backend.advance(settings.coordinator_lease + 1)
    await bench.worker(DyingHandler).loop(128 - 40)
    dead.abort()
    await looping

    assert {handled[number] for number in set(range(127)) - {40}} == {2}
    assert handled[40] == 3
    assert len(await bench.dead(DyingHandler)) == 1


async def test_a_limit_of_time_bounds_how_many_requests_come_at_once(bench: Bench) -> None:
    """They take no time here, so that each call is twice as large as the one before, whoever asks for its requests."""

    class LimitedHandler(JobHandler):
        timeout_seconds = 3600

        async def perform(self, *requests: Job) -> None:
            calls.append(len(requests))

    calls: list[int] = []
    await bench.queue.register(LimitedHandler, *jobs(range(40), "a"))
    worker = bench.worker(LimitedHandler)
    await worker.loop(20)
    await worker.loop(20)

    assert calls == [1, 2, 4, 8, 5, 16, 4]


async def test_a_request_that_hangs_is_found_within_its_limit(bench: Bench) -> None:
    class HangingHandler(JobHandler):
        timeout_seconds = 0.5
        retry = Retry(limit=2, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            for request in requests:
                handled[request.number] += 1
                if request.number == 100:
                    await hang()

    await bench.queue.register(HangingHandler, *jobs(range(128)))
    await bench.worker(HangingHandler).loop(127)

    assert {handled[number] for number in set(range(128)) - {100}} == {1, 2}
    assert await bench.dead(HangingHandler) == ["TimeoutError: not done after timeout_seconds = 0.5"]


async def test_the_last_request_of_a_failed_batch_is_followed_by_whole_batches(bench: Bench) -> None:
    class OnceHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            calls.append(len(requests))
            if len(calls) == 1:
                raise ValueError

    calls: list[int] = []
    settings.worker_batch_size = 4
    await bench.queue.register(OnceHandler, *jobs(range(12)))
    await bench.worker(OnceHandler).loop(12)

    assert calls == [4, 1, 1, 1, 1, 4, 4]
