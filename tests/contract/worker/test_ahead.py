"""Threads bound ahead: beyond what a worker may handle at once, while others have as many left to bind."""

import asyncio
from typing import Any

import pytest

from sharded_queue import Worker, settings
from sharded_queue.storage import Settled, Settlement
from sharded_queue.worker import slots
from tests.contract.worker.bench import Bench, Job, JobHandler, soon


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker believes that it handles 16 threads in a moment, as it may where requests used to be quick."""
    monkeypatch.setattr(slots.Slots, "ahead", lambda _: 16)
    settings.worker_concurrency = 1


async def register(bench: Bench, handler: type[JobHandler], threads: int) -> None:
    await bench.queue.register(handler, *[Job(number, str(number)) for number in range(threads)])


async def test_threads_bound_ahead_wait_for_a_slot(bench: Bench) -> None:
    class CrowdedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            nonlocal running, most, done
            running += 1
            most = max(most, running)
            held.append(await bench.bound(CrowdedHandler))
            await pair.wait()
            running, done = running - 1, done + 1
            if done == 20:
                all_done.set()

    running = most = done = 0
    held: list[int] = []
    pair, all_done = asyncio.Barrier(2), asyncio.Event()
    settings.worker_concurrency = 2
    await register(bench, CrowdedHandler, 20)
    async with bench.working(CrowdedHandler):
        await soon(all_done)

    assert most == 2
    assert 11 <= max(held) < 20  # two, half of the eighteen left, and perhaps half of those left then


async def test_a_slow_handler_leaves_threads_bound_ahead_to_others(bench: Bench) -> None:
    """The worker with the slow request believed in quick ones, and had bound threads ahead."""

    class SlowOnceHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if not began.is_set():
                held.append(await bench.bound(SlowOnceHandler))
                began.set()
                await others_done.wait()
            done.update(request.thread for request in requests)
            if len(done) == 6:
                others_done.set()

    done: set[str] = set()
    held: list[int] = []
    began, others_done = asyncio.Event(), asyncio.Event()
    await register(bench, SlowOnceHandler, 7)
    async with bench.working(SlowOnceHandler):
        await soon(began)
        async with bench.working(SlowOnceHandler):
            await soon(others_done)

    assert 4 <= held[0] < 7  # one, half of the six left, and perhaps half of those left then
    assert len(done) == 7


async def test_a_stopping_worker_gives_back_at_once_what_it_bound_ahead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LastHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if not began.is_set():
                began.set()
                await others_done.wait()
            done.update(request.thread for request in requests)
            if len(done) == 6:
                others_done.set()

    done: set[str] = set()
    began, others_done = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(slots, "LONGEST_WAIT_SECONDS", 60)
    await register(bench, LastHandler, 7)
    async with bench.working(LastHandler) as stopping:
        await soon(began)
        stopping.stop()
        async with bench.working(LastHandler):
            await soon(others_done)

    assert len(done) == 7


async def test_an_aborted_worker_frees_what_it_bound_ahead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class EndlessHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began.set()
            await asyncio.Event().wait()

    began = asyncio.Event()
    monkeypatch.setattr(slots, "LONGEST_WAIT_SECONDS", 60)
    await register(bench, EndlessHandler, 7)
    async with bench.working(EndlessHandler) as worker:
        await soon(began)
        worker.abort()

    assert await bench.bound(EndlessHandler) == 0
    assert await bench.depth(EndlessHandler) == 7


async def test_threads_bound_ahead_open_nothing_before_their_slot(bench: Bench) -> None:
    """A handler that opens something in `start` has it open only while its lane holds a slot."""

    class OpeningHandler(JobHandler):
        async def start(self) -> None:
            nonlocal opened, most
            opened += 1
            most = max(most, opened)

        async def perform(self, *requests: Job) -> None:
            nonlocal done
            done += 1
            if done == 20:
                all_done.set()

        async def stop(self) -> None:
            nonlocal opened
            opened -= 1

    opened = most = done = 0
    all_done = asyncio.Event()
    settings.worker_concurrency = 2
    await register(bench, OpeningHandler, 20)
    async with bench.working(OpeningHandler):
        await soon(all_done)

    assert most == 2


async def test_the_next_thread_begins_while_the_last_one_is_settled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one call settles for many threads, even where a worker handles one at a time."""

    class QuickHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            nonlocal done
            done += 1
            if done == 30:
                all_done.set()

    async def counting(settlements: list[Settlement]) -> list[Settled]:
        calls.append(len(settlements))
        return await settle(settlements)

    done = 0
    calls: list[int] = []
    all_done = asyncio.Event()
    settle: Any = bench.queue.storage.settle
    monkeypatch.setattr(bench.queue.storage, "settle", counting)
    await register(bench, QuickHandler, 30)
    async with bench.working(QuickHandler):
        await soon(all_done)

    assert len(calls) <= 10


async def test_nothing_is_bound_ahead_under_a_limit(bench: Bench) -> None:
    """Each thread takes a part of the requests that are left, and some would get none."""

    class LimitedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            held.append(await bench.bound(LimitedHandler))

    held: list[int] = []
    await register(bench, LimitedHandler, 9)
    worker: Worker = bench.worker(LimitedHandler)

    assert await worker.loop(3) == 3
    assert held == [1, 1, 1]
