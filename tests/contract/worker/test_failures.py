"""What a failure costs: retries, back-off, dead letters, and what is logged."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from sharded_queue import (
    Retry,
    ShardedQueueError,
    current,
    settings,
)
from sharded_queue.handler import call
from sharded_queue.storage import Batch, Entry, Failure, Registration
from sharded_queue.worker import calls as calls_module
from tests.contract.backend import MemoryBackend
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, jobs, soon


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
        if isinstance(bench.backend, MemoryBackend):
            await moving(bench.backend, again)
        await soon(again)

    assert at[1] - at[0] >= 0.29


async def moving(backend: MemoryBackend, until: asyncio.Event) -> None:
    """The clock of the backend goes with that of the machine until something happens."""
    async with asyncio.timeout(SOON):
        while not until.is_set():
            started = time.monotonic()
            await asyncio.sleep(0.01)
            await backend.advance(time.monotonic() - started)


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
    await bench.backend.storage.register(shard, Registration([Entry("a", 0, [b"\xff garbage", b'["text"]'])]))
    await bench.queue.register(ReadingHandler, Job(2))
    await bench.worker(ReadingHandler).loop(2)

    assert done == [1, 2]
    assert len([error for error in await bench.dead(ReadingHandler) if "is not a Job" in error]) == 2


async def test_a_handler_whose_requests_cannot_be_described_does_not_spin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenHandler(JobHandler):
        retry = Retry(limit=3, base_seconds=60, cap_seconds=60)

        async def perform(self, *requests: "NowhereToBeFound") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    async def fail_noted(failure: Failure) -> bool:
        answer = await fail(failure)
        failed.set()
        return answer

    fail, failed = bench.backend.storage.fail, asyncio.Event()
    monkeypatch.setattr(bench.backend.storage, "fail", fail_noted)
    (shard,) = BrokenHandler.all_shards()
    await bench.backend.storage.register(shard, Registration([Entry("a", 0, [b"[1]"])]))
    async with bench.working(BrokenHandler) as worker:
        await soon(failed)
        (state,) = await bench.backend.storage.observe([shard])

    assert (worker.stats.bound, state.blocked) == (1, 1)


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


@pytest.mark.parametrize("count", [1, 3])
async def test_an_error_that_counts_as_false_is_an_error(bench: Bench, count: int) -> None:
    """One with a length, which is zero."""

    class EmptyError(Exception):
        def __len__(self) -> int:
            return 0

    class EmptyErrorHandler(JobHandler):
        retry = Retry(1, 0, 0)

        async def perform(self, *requests: Job) -> None:
            if any(request.number == 0 for request in requests):
                raise EmptyError("nothing in it")
            done.extend(request.number for request in requests)

    done: list[int] = []
    await bench.queue.register(EmptyErrorHandler, *jobs(range(count)))
    settings.worker_empty_limit = 1
    await bench.worker(EmptyErrorHandler).loop(count)

    assert done == list(range(1, count))
    assert ["nothing in it" in error for error in await bench.dead(EmptyErrorHandler)] == [True]


async def test_an_error_that_a_lane_does_not_expect_is_a_failed_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and ends in the dead letters."""

    class UnexpectedHandler(JobHandler):
        retry = Retry(limit=3, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            done.set()

    def broken(batch: Batch, *_: object) -> None:
        if batch.messages[0].endswith(b'[0,"a"]'):
            attempts.append(batch.attempt)
            raise RuntimeError("a bug of ours")

    attempts: list[int] = []
    done = asyncio.Event()
    settings.worker_batch_size = 1
    monkeypatch.setattr(calls_module, "_set_context", broken)
    await bench.queue.register(UnexpectedHandler, *jobs(range(2)))
    async with bench.working(UnexpectedHandler):
        await soon(done)

    assert attempts == [1, 2, 3]
    assert await bench.dead(UnexpectedHandler) == ["RuntimeError: a bug of ours"]


async def test_what_a_handler_raised_is_logged_and_kept_with_its_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch and the request that it failed of leave one traceback, not one each."""

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
    (letter,) = await bench.backend.storage.dead(RaisingHandler.all_shards()[0])

    assert letter.error == r"KeyError: '\x1b[2J'"
    assert letter.traceback.startswith("Traceback (most recent call last):\n")
    assert "in look_up\n    raise KeyError(key)\nKeyError: " in letter.traceback
    assert "\x1b" not in letter.traceback
    assert [record.exc_info is not None for record in caplog.records if "failed on" in record.getMessage()] == [
        True,
        False,
    ]


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


async def test_a_failing_ordinary_function_is_a_failing_handler(bench: Bench) -> None:
    class SyncHandler(JobHandler):
        retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            raise ValueError("sync")

    await bench.queue.register(SyncHandler, Job(1))
    await bench.worker(SyncHandler).loop(1)

    assert await bench.dead(SyncHandler) == ["ValueError: sync"]
