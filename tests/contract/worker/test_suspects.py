"""Requests that a worker died with: one at a time, the last try alone, and nothing waits for them for ever."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sharded_queue import Worker, settings
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.coordinator import BindRequest, Bound
from sharded_queue.errors import StorageUnavailable
from sharded_queue.lease import Lease
from sharded_queue.tube import Shard
from sharded_queue.worker import suspects
from sharded_queue.worker.lane import Lane
from tests.contract.backend import LEASE_SECONDS, Backend, MemoryBackend, RedisBackend
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, soon


class Scene(Bench):
    """Two handlers on one worker: one whose requests are suspects, and an innocent one."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.calls: list[str] = []
        """Which thread's call began (+) and ended (-), in turn."""
        self.began: dict[str, asyncio.Event] = {}
        self.may_end: dict[str, asyncio.Event] = {}
        scene = self

        class SuspectHandler(JobHandler):
            async def perform(self, *requests: Job) -> None:
                await scene.call(requests[0].thread)

        class InnocentHandler(JobHandler):
            async def perform(self, *requests: Job) -> None:
                await scene.call(requests[0].thread)

        self.suspect, self.innocent = SuspectHandler, InnocentHandler

    async def call(self, thread: str) -> None:
        self.calls.append(f"+{thread}")
        self.beginning(thread).set()
        await self.end(thread).wait()
        self.calls.append(f"-{thread}")

    def beginning(self, thread: str) -> asyncio.Event:
        return self.began.setdefault(thread, asyncio.Event())

    def end(self, thread: str) -> asyncio.Event:
        return self.may_end.setdefault(thread, asyncio.Event())

    def end_all(self, *threads: str) -> None:
        for thread in threads:
            self.end(thread).set()

    async def hold(self, *threads: str) -> None:
        """A worker that is about to die has a request of each of these threads in hand."""
        await self.queue.register(self.suspect, *[Job(1, thread) for thread in threads])
        (shard,) = self.suspect.all_shards()
        await self.backend.coordinator.bind(shard, BindRequest("dying/1", len(threads), 1, LEASE_SECONDS))

    async def die(self, *threads: str) -> None:
        """Its leases are over."""
        (shard,) = self.suspect.all_shards()
        if isinstance(self.backend, MemoryBackend):
            for thread in threads:
                self.backend.storage.shards[shard].leases.put(thread, 1)
        if isinstance(self.backend, RedisBackend):
            ends = dict.fromkeys(threads, 1)
            await self.backend.redis.zadd(f"{self.backend.redis_storage.keys.lock(shard)}:leases", ends)
        await self.backend.coordinator.notify(shard)

    async def close(self, worker: Worker) -> None:
        """Its last try of thread a waits for the end of its call for thread x."""
        await soon(self.beginning("x"))
        await self.die("a")
        await wait_for_quiet(worker)

    async def suspected(self, *threads: str) -> None:
        await self.hold(*threads)
        await self.die(*threads)

    async def is_alone(self, thread: str) -> bool:
        """What the storage knows of the worker that holds a thread."""
        (shard,) = self.suspect.all_shards()
        if isinstance(self.backend, MemoryBackend):
            return self.backend.storage.shards[shard].held[thread].is_alone
        assert isinstance(self.backend, RedisBackend)
        return (await snapshot(self.backend.redis_storage, shard)).held[thread].is_alone

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Worker]:
        """A worker of both handlers."""
        async with self.working(self.suspect, self.innocent) as worker:
            try:
                yield worker
            finally:
                self.end_all(*self.began)

    async def tick(self) -> None:
        while isinstance(self.backend, MemoryBackend):
            started = time.monotonic()
            await asyncio.sleep(0.01)
            await self.backend.advance(time.monotonic() - started)

    async def drain(self) -> None:
        """Each request is handled soon after the one before it: how many there are is up to the test."""
        depth = await self.depth(self.suspect)
        while before := depth:
            async with asyncio.timeout(SOON):
                while depth == before:
                    await asyncio.sleep(0.01)
                    depth = await self.depth(self.suspect)


@pytest.fixture
async def scene(backend: Backend) -> AsyncIterator[Scene]:
    settings.worker_concurrency = 10
    scene = Scene(backend)
    ticking = asyncio.create_task(scene.tick())
    yield scene
    ticking.cancel()


async def wait_for_quiet(worker: Worker) -> None:
    """Until a last try of the worker waits for quiet."""
    async with asyncio.timeout(SOON):
        while not worker.suspects.is_closed:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


def most_at_once(calls: list[str], threads: str) -> int:
    running = most = 0
    for call in calls:
        if call[1:] in threads:
            running += 1 if call[0] == "+" else -1
            most = max(most, running)
    return most


async def test_suspects_are_tried_one_at_a_time_beside_innocent_threads(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "LONGEST_WAIT_SECONDS", 60)
    settings.worker_concurrency = 3
    await scene.suspected("a", "b", "c", "d")
    async with scene.serving():
        await soon(scene.beginning("a"))
        await scene.queue.register(scene.innocent, Job(1, "x"), Job(1, "y"))
        await soon(scene.beginning("x"))
        await soon(scene.beginning("y"))
        scene.end_all("a", "b", "c", "d", "x", "y")
        await scene.drain()

    assert most_at_once(scene.calls, "abcd") == 1


async def test_a_last_try_is_alone(scene: Scene) -> None:
    """It waits for running calls, begins no others, and the storage knows that it is alone."""
    settings.crash_limit = 2
    await scene.hold("a")
    await scene.queue.register(scene.innocent, Job(1, "x"))
    async with scene.serving() as worker:
        await scene.close(worker)
        await scene.queue.register(scene.innocent, Job(1, "y"))
        scene.end_all("x", "y")
        await soon(scene.beginning("a"))
        is_alone = await scene.is_alone("a")
        scene.end_all("a")
        await soon(scene.beginning("y"))
        await scene.drain()

    assert is_alone
    assert scene.calls[:5] == ["+x", "-x", "+a", "-a", "+y"]


async def test_a_try_before_the_last_one_is_not_alone(scene: Scene) -> None:
    settings.crash_limit = 3
    await scene.suspected("a")
    await scene.queue.register(scene.innocent, Job(1, "x"))
    async with scene.serving():
        await soon(scene.beginning("a"))
        await soon(scene.beginning("x"))
        is_alone = await scene.is_alone("a")

    assert not is_alone


async def test_the_threads_beside_a_last_try_go_to_other_workers(scene: Scene) -> None:
    settings.crash_limit, settings.worker_batch_size = 2, 1
    await scene.hold("a")
    await scene.queue.register(scene.innocent, Job(1, "x"), Job(2, "x"))
    async with scene.serving() as worker:
        await scene.close(worker)
        scene.end_all("x")
        await soon(scene.beginning("a"))
        scene.beginning("x").clear()
        async with scene.working(scene.innocent):
            await soon(scene.beginning("x"))
            calls = list(scene.calls)

    assert calls[:4] == ["+x", "-x", "+a", "+x"]


async def test_a_last_try_that_finds_no_quiet_is_put_off_and_others_go_on(scene: Scene) -> None:
    settings.crash_limit, settings.worker_turn = 2, 0.05
    await scene.hold("a")
    await scene.queue.register(scene.innocent, Job(1, "x"))
    async with scene.serving() as worker:
        await scene.close(worker)
        await scene.queue.register(scene.innocent, Job(1, "y"))
        await soon(scene.beginning("y"))
        assert "+a" not in scene.calls
        scene.end_all("x", "y")
        await soon(scene.beginning("a"))


async def test_others_wait_for_a_last_try_no_longer_than_a_turn(scene: Scene) -> None:
    settings.crash_limit, settings.worker_turn = 2, 0.05
    await scene.suspected("a")
    async with scene.serving():
        await soon(scene.beginning("a"))
        await scene.queue.register(scene.innocent, Job(1, "x"))
        await soon(scene.beginning("x"))
        is_alone = await scene.is_alone("a")

    assert not is_alone


async def test_a_suspect_holds_up_others_no_longer_than_a_turn(scene: Scene) -> None:
    settings.worker_turn = 0.05
    await scene.suspected("a", "b")
    async with scene.serving():
        await soon(scene.beginning("a"))
        await soon(scene.beginning("b"))


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_lone_worker_clears_suspects_one_after_another(scene: Scene, limit: int) -> None:
    settings.crash_limit = limit
    threads = [f"s{number}" for number in range(12)]
    await scene.suspected(*threads)
    await scene.queue.register(scene.innocent, *[Job(number, "x") for number in range(3)])
    scene.end_all("x", *threads)
    async with scene.serving():
        await scene.drain()
        await soon(scene.beginning("x"))

    assert sorted(call for call in scene.calls if call[:2] == "+s") == sorted(f"+{thread}" for thread in threads)


@pytest.mark.parametrize("limit", [2, 5])
async def test_a_worker_that_stops_ends_the_try_that_runs_and_begins_no_other(scene: Scene, limit: int) -> None:
    settings.crash_limit = limit
    await scene.suspected("a", "b")
    worker = scene.worker(scene.suspect)
    looping = asyncio.create_task(worker.loop())
    await soon(scene.beginning("a"))
    worker.stop()
    scene.end_all("a")
    async with asyncio.timeout(SOON):
        await looping

    assert scene.calls == ["+a", "-a"]
    assert (await scene.depth(scene.suspect), await scene.bound(scene.suspect)) == (1, 0)


async def test_a_worker_that_is_told_to_stop_begins_no_other_try_while_it_waits_for_redis(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "LONGEST_WAIT_SECONDS", SOON)  # or b would leave the line in time on a slow machine
    binding, may_bind = asyncio.Event(), asyncio.Event()
    await scene.suspected("a", "b")
    worker = scene.worker(scene.suspect)
    bind = worker.coordinator.bind

    async def wait_and_bind(shard: Shard, request: BindRequest) -> Bound:
        binding.set()
        await may_bind.wait()
        return await bind(shard, request._replace(threads=0))

    looping = asyncio.create_task(worker.loop())
    await soon(scene.beginning("a"))
    async with asyncio.timeout(SOON):
        while not worker.suspects.waiting:  # noqa: ASYNC110 - nothing tells that b stands in line
            await asyncio.sleep(0.01)
    monkeypatch.setattr(worker.coordinator, "bind", wait_and_bind)
    await scene.queue.register(scene.suspect, Job(2, "c"))
    await soon(binding)
    worker.stop()
    scene.end_all("a", "b")
    async with asyncio.timeout(SOON):
        while worker.lanes:  # noqa: ASYNC110 - nothing tells that both threads are let go
            await asyncio.sleep(0.01)
    may_bind.set()
    async with asyncio.timeout(SOON):
        await looping

    assert scene.calls == ["+a", "-a"]


async def test_a_last_try_whose_lease_is_lost_lets_others_go_on(scene: Scene) -> None:
    settings.crash_limit = 2
    await scene.suspected("a")
    async with scene.serving() as worker:
        await soon(scene.beginning("a"))
        await scene.queue.register(scene.innocent, Job(1, "x"))
        next(iter(worker.lanes)).revoke("a test")
        await soon(scene.beginning("x"))


async def test_a_last_try_does_not_begin_where_it_cannot_be_noted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def isolate(lease: Lease, is_alone: bool, call: int) -> bool:
        asked.set()
        raise StorageUnavailable("no answer")

    settings.crash_limit = 2
    asked = asyncio.Event()
    await scene.hold("a")
    async with scene.serving() as worker:
        monkeypatch.setattr(worker.coordinator, "isolate", isolate)
        await scene.die("a")
        await soon(asked)
        await scene.queue.register(scene.innocent, Job(1, "x"))
        await soon(scene.beginning("x"))

    assert "+a" not in scene.calls


async def test_a_stop_of_another_handler_waits_for_a_last_try(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    class ClosingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            await scene.call("c")

        async def stop(self) -> None:
            scene.calls.append("stop")

    settings.crash_limit, settings.worker_empty_pause = 2, 0
    ending = asyncio.Event()
    await scene.hold("a")
    await scene.queue.register(ClosingHandler, Job(1, "c"))
    async with scene.working(scene.suspect, ClosingHandler) as worker:
        await soon(scene.beginning("c"))
        wait_until_open = worker.suspects.wait_until_open

        async def wait(lane: Lane) -> None:
            ending.set()
            await wait_until_open(lane)

        monkeypatch.setattr(worker.suspects, "wait_until_open", wait)
        await scene.die("a")
        await wait_for_quiet(worker)
        scene.end_all("c")
        await soon(scene.beginning("a"))
        await soon(ending)
        scene.end_all("a")
        await scene.drain()

    assert scene.calls == ["+c", "-c", "+a", "-a", "stop"]


async def test_those_who_wait_for_the_end_of_a_last_try_do_not_wake_each_other() -> None:
    """Two of them would keep the event loop busy for as long as it takes."""

    class Idle:
        called_since: float | None = None
        lanes = ()

        async def isolate(self, is_alone: bool) -> bool:
            return is_alone

        def bind_again(self) -> None: ...

    trying, *others = Idle(), Idle(), Idle()
    tries = suspects.Suspects(Idle())
    assert await tries.admit(trying, settings.crash_limit) is None
    waiting = [asyncio.create_task(tries.wait_until_open(lane)) for lane in others]
    turns, notice = 0, tries.notice

    def count() -> None:
        nonlocal turns
        turns += 1
        notice()

    tries.notice = count  # type: ignore[method-assign]
    for _ in range(100):
        await asyncio.sleep(0)

    assert turns == len(waiting)
    tries.leave(trying)
    await asyncio.gather(*waiting)


async def test_a_last_try_waits_for_an_os_thread_that_nobody_awaits_any_more(scene: Scene) -> None:
    class BlockingHandler(JobHandler):
        def perform(self, *requests: Job) -> None:
            loop.call_soon_threadsafe(blocked.set)
            may_end.wait()

    settings.crash_limit = 2
    blocked, may_end, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()
    await scene.hold("a")
    await scene.queue.register(BlockingHandler, Job(1, "x"))
    async with scene.working(scene.suspect, BlockingHandler) as worker:
        try:
            await soon(blocked)
            (lane,) = worker.lanes
            lane.revoke("a test")
            await scene.die("a")
            await wait_for_quiet(worker)
            await asyncio.sleep(0)
            assert "+a" not in scene.calls
        finally:
            may_end.set()
        await soon(scene.beginning("a"))
        scene.end_all("a")
