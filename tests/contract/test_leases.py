"""Whether a worker keeps its leases, and what its lanes learn when it cannot."""

import asyncio
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest

from sharded_queue import Handler, Lease, Queue, Route, Worker, settings
from sharded_queue.coordinator import BindRequest
from sharded_queue.lease import clock
from sharded_queue.storage import Settled, Settlement
from sharded_queue.tube import Shard
from sharded_queue.worker.lane_state import LaneState
from sharded_queue.worker.lease_renewer import LeaseRenewer
from tests.contract.backend import SHARD, Backend, MemoryBackend

SOON = 10.0


class LaneStub:
    """What a renewer sees of a lane, and whether it was told that its lease is over."""

    def __init__(self, thread: str, deadline: float, called_since: float | None = None) -> None:
        self.lease, self.deadline, self.called_since = Lease(SHARD, thread, "w/1", 1), deadline, called_since
        self.state = LaneState.HANDLING
        self.told = asyncio.Event()

    def revoke(self, reason: str) -> None:
        self.state = LaneState.LOST
        self.told.set()


@pytest.fixture(autouse=True)
def quick() -> None:
    settings.worker_empty_limit = 0


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(SOON):
        await event.wait()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - no event says that a lane was renewed
            await asyncio.sleep(0.02)


def renewer(backend: Backend, *lanes: LaneStub, lease_seconds: float = 600, **how: Any) -> LeaseRenewer:
    given: list[Any] = list(lanes)
    return LeaseRenewer(backend.coordinator, lambda: given, lease_seconds, how.pop("timeout_seconds", inf), **how)


async def test_a_slow_stop_of_one_thread_leaves_the_leases_of_others_alone(backend: Backend) -> None:
    class SlowStopHandler(Handler):
        @classmethod
        async def route(cls, *requests: str) -> list[Route]:
            return [Route(request) for request in requests]

        async def start(self) -> None:
            self.thread = ""

        async def perform(self, *requests: str) -> None:
            self.thread = requests[0]
            if self.thread == "works":
                works.set()
                await go_on.wait()

        async def stop(self) -> None:
            if self.thread == "stops":
                stops.set()
                await go_on.wait()

    works, stops, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    settings.coordinator_lease, settings.worker_concurrency = 2.0, 2
    queue = Queue(backend.storage)
    await queue.register(SlowStopHandler, "works", "stops")
    worker = Worker(backend.another_coordinator(), queue, handlers=[SlowStopHandler])
    looping = asyncio.create_task(worker.loop())
    await soon(works)
    await soon(stops)
    lanes = {lane.lease.thread: lane for lane in worker.lanes}
    await until(lambda: lanes["works"].deadline > lanes["stops"].deadline + 1 or lanes["works"].state is LaneState.LOST)
    go_on.set()
    worker.stop()
    await looping

    assert (worker.stats.lost, worker.stats.handled) == (0, 2)


async def test_renewals_that_stop_by_a_mistake_of_ours_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """The leases of a worker would end without a word."""
    no_lane: Any = object()
    async with renewer(MemoryBackend(), no_lane, lease_seconds=0.03).running():
        await until(lambda: "leases are no longer renewed" in caplog.text)

    assert "'object' object has no attribute" in caplog.text


async def test_a_lane_is_told_at_the_deadline_of_its_lease_and_not_with_the_next_renewals() -> None:
    """Three renewals a lease of ten minutes: the next one is minutes away."""
    hung = LaneStub("a", clock() + 0.1, called_since=time.monotonic() - 1)
    watching = renewer(MemoryBackend(), hung, timeout_seconds=0)
    async with watching.running():
        await soon(hung.told)


async def test_a_lease_that_ends_before_all_others_is_watched_from_its_bind_on() -> None:
    lanes = [LaneStub("a", clock() + 500)]
    watching = LeaseRenewer(MemoryBackend().coordinator, lambda: list(lanes), 600, inf)  # type: ignore[arg-type]
    async with watching.running():
        await asyncio.sleep(0)
        lanes.append(LaneStub("b", clock() + 0.1))
        watching.watch(lanes[1].deadline)
        await soon(lanes[1].told)

    assert not lanes[0].told.is_set()


async def test_a_lease_that_ended_while_the_machine_was_suspended_is_not_trusted() -> None:
    """No timer has gone on meanwhile; only the clock tells."""
    now = clock()
    lane = LaneStub("a", now + 500)
    async with renewer(MemoryBackend(), lane, clock=lambda: now).running():
        await asyncio.sleep(0)
        now += 3600
        await soon(lane.told)


async def test_a_batch_is_not_begun_after_the_machine_was_suspended_for_longer_than_the_lease() -> None:
    class SuspendedHandler(Handler):
        async def start(self) -> None:
            worker.clock = lambda: clock() + 3600

        async def perform(self, *requests: int) -> None:
            calls.append(len(requests))

    calls: list[int] = []
    backend = MemoryBackend()
    queue = Queue(backend.storage)
    await queue.register(SuspendedHandler, 1)
    worker = Worker(backend.another_coordinator(), queue, handlers=[SuspendedHandler])
    await worker.loop(1)

    assert (calls, worker.stats.lost) == ([], 1)


async def test_a_release_whose_answer_comes_late_is_no_lost_lease(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewed meanwhile, the lease is gone: by the release of its own worker."""

    class ReleasedHandler(Handler):
        async def perform(self, *requests: int) -> None: ...

    async def settle_late(settlements: Sequence[Settlement]) -> list[Settled]:
        answers = await settle(settlements)
        await soon(renewed)
        return answers

    async def renew_noted(self: Any, leases: Sequence[Lease], lease_seconds: float, *_: object) -> list[Lease]:
        lost: list[Lease] = await renew(self, leases, lease_seconds)
        if lost:
            loop.call_soon_threadsafe(renewed.set)
        return lost

    loop, renewed = asyncio.get_running_loop(), asyncio.Event()
    settle, renew = backend.storage.settle, type(backend.coordinator).renew
    monkeypatch.setattr(backend.storage, "settle", settle_late)
    monkeypatch.setattr(type(backend.coordinator), "renew", renew_noted)
    settings.coordinator_lease = 1.0
    queue = Queue(backend.storage)
    await queue.register(ReleasedHandler, 1)
    worker = Worker(backend.another_coordinator(), queue, handlers=[ReleasedHandler])
    async with asyncio.timeout(SOON):
        await worker.loop(1)

    assert (worker.stats.lost, worker.stats.handled) == (0, 1)


@pytest.mark.parametrize("hangs", ["create", "start", "stop"])
async def test_a_handler_that_hangs_in_its_lifecycle_is_cut_off_as_in_a_batch(backend: Backend, hangs: str) -> None:
    class HangingHandler(Handler):
        @classmethod
        async def create(cls) -> "HangingHandler":
            await hang("create")
            return cls()

        async def start(self) -> None:
            await hang("start")

        async def perform(self, *requests: int) -> None:
            handled.set()

        async def stop(self) -> None:
            await hang("stop")

    async def hang(step: str) -> None:
        if step == hangs and not hung:
            hung.append(step)
            await asyncio.Event().wait()

    hung: list[str] = []
    handled = asyncio.Event()
    settings.coordinator_timeout, settings.retry_base = 0.2, 0.01
    queue = Queue(backend.storage)
    await queue.register(HangingHandler, 1)
    worker = Worker(backend.another_coordinator(), queue, handlers=[HangingHandler])
    looping = asyncio.create_task(worker.loop())
    async with asyncio.timeout(SOON):
        while not handled.is_set():
            await backend.advance(0.05)
            await asyncio.sleep(0.05)
    await until(lambda: not worker.lanes)
    worker.stop()
    await looping

    assert hung == [hangs]


async def test_what_a_crash_costs_does_not_grow_with_the_shards_of_the_survivor(backend: Backend) -> None:
    """
    Its own looks are minutes apart, and no one calls it: it learns of the lease before its end, and of the end in time.
    """

    class ManyShardsHandler(Handler):
        shards = 64

        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(request) for request in requests]

        async def perform(self, *requests: int) -> None:
            handled.set()

    async def never_called(shards: Sequence[Shard], owner: str, seconds: float) -> None:
        """Others that are idle get the calls."""
        polled.set()
        await asyncio.sleep(seconds)

    handled, polled = asyncio.Event(), asyncio.Event()
    settings.coordinator_delay, settings.coordinator_lease = 60, 1.0
    queue = Queue(backend.storage)
    survivor = Worker(backend.another_coordinator(), queue, handlers=[ManyShardsHandler])
    survivor.coordinator.wait = never_called  # type: ignore[method-assign]
    looping = asyncio.create_task(survivor.loop())
    await polled.wait()
    await queue.register(ManyShardsHandler, 7)
    shard = ManyShardsHandler.shard_of("7")
    assert (await backend.coordinator.bind(shard, BindRequest("dead/1", 1, 1, settings.coordinator_lease))).batches
    async with asyncio.timeout(SOON):
        while not handled.is_set():
            await asyncio.sleep(0.05)
            await backend.advance(0.05)
    survivor.stop()
    await looping
