"""With `exhausted="pause"`, a request without tries stops its thread, however it used them up."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from sharded_queue import Admin, GiveUp, Retry, Snooze, current, settings
from sharded_queue.admin.pause import Resume
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from tests.contract.backend import RedisBackend
from tests.contract.worker.bench import Bench, Job, JobHandler, jobs, soon
from tests.contract.worker.test_outcomes import time_goes_by

STOPPING = Retry(limit=3, base_seconds=0, cap_seconds=0, exhausted="pause")


class Told(NamedTuple):
    handled: list[int]
    error: str
    attempts: int
    others: list[int]


async def tell(
    bench: Bench, raises: Callable[[int], BaseException | None], retry: Retry = STOPPING, batch_size: int = 1
) -> Told:
    """
    Requests 0, 1 and 2 of thread a, and those of thread b. *raises*: what becomes of request 1, by the number of its
    call. A person resumes thread a when it stands still, and by then request 1 can be handled.
    """
    policy = retry

    class StoppingHandler(JobHandler):
        retry = policy

        async def perform(self, *requests: Job) -> None:
            for done, request in enumerate(requests):
                current().done(done)
                if (request.thread, request.number) == ("a", 1) and not mended:
                    tries.append(current().attempt)
                    if error := raises(len(tries)):
                        raise error
                handled[request.thread].append(request.number)
                if request.number == 2:
                    (last if request.thread == "a" else others).set()

    mended, tries, last, others = list[bool](), list[int](), asyncio.Event(), asyncio.Event()
    handled: dict[str, list[int]] = {"a": [], "b": []}
    settings.worker_batch_size = batch_size
    await bench.queue.register(StoppingHandler, *jobs(range(3), "a"), *jobs(range(3), "b"))
    (shard,) = StoppingHandler.all_shards()
    async with time_goes_by(bench), bench.working(StoppingHandler):
        exhausted = await until_it_stands_still(bench, shard)
        await soon(others)
        assert handled["a"] == [0]
        assert await bench.dead(StoppingHandler) == []
        mended.append(True)
        assert await bench.backend.storage.pause(shard, "a", False)
        await soon(last)
    assert await bench.dead(StoppingHandler) == []
    return Told(handled["a"], exhausted.error, exhausted.attempts, handled["b"])


async def until_it_stands_still(bench: Bench, shard: Shard) -> Any:
    async with asyncio.timeout(30):
        while not (found := (await bench.backend.storage.exhausted(shard))[0]):  # noqa: ASYNC110 - a storage tells nobody
            await asyncio.sleep(0.01)
    return found[0]


@pytest.mark.parametrize("batch_size", [1, 3])
async def test_a_request_that_failed_too_often_stops_its_thread(bench: Bench, batch_size: int) -> None:
    told = await tell(bench, lambda _: ValueError("no cover"), batch_size=batch_size)
    assert told == Told([0, 1, 2], "ValueError: no cover", 3, [0, 1, 2])


async def test_one_that_is_given_up_stops_its_thread_at_once(bench: Bench) -> None:
    told = await tell(bench, lambda _: GiveUp("no such account"))
    assert told == Told([0, 1, 2], "GiveUp: no such account", 1, [0, 1, 2])


async def test_one_that_snoozes_too_often_stops_its_thread(bench: Bench) -> None:
    retry = Retry(limit=3, base_seconds=0, cap_seconds=0, exhausted="pause", max_snoozes=2)
    told = await tell(bench, lambda _: Snooze(0.05, "closed"), retry)
    assert told == Told([0, 1, 2], "snoozed 2 times in a row, last for 0.05 s: closed", 0, [0, 1, 2])


async def test_a_stop_is_logged_as_an_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sharded_queue"):
        await tell(bench, lambda _: GiveUp("no such account"))
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert said[0].endswith("stops its thread: GiveUp: no such account")


async def test_a_request_that_cannot_be_read_stops_its_thread(bench: Bench) -> None:
    class ReadHandler(JobHandler):
        retry = STOPPING

        async def perform(self, *requests: Job) -> None:
            handled.extend(request.number for request in requests)
            first.set()

    handled, first = list[int](), asyncio.Event()
    await bench.queue.register(ReadHandler, *jobs(range(1)))
    (shard,) = ReadHandler.all_shards()
    await register_unreadable(bench, shard)
    await bench.queue.register(ReadHandler, *jobs(range(2, 3)))
    async with time_goes_by(bench), bench.working(ReadHandler):
        exhausted = await until_it_stands_still(bench, shard)
    assert handled == [0]
    assert "SerializationError" in exhausted.error
    assert await bench.depth(ReadHandler) == 2


async def register_unreadable(bench: Bench, shard: Shard) -> None:
    """A request of another release, which has no number."""
    await bench.backend.storage.register(shard, Registration([Entry("a", 0, [b'{"thread": "a"}'])]))


async def test_the_settings_of_a_process_say_it_for_all_handlers(bench: Bench) -> None:
    settings.retry_exhausted = "pause"
    told = await tell(bench, lambda _: GiveUp("no"), Retry(limit=3, base_seconds=0, cap_seconds=0))
    assert told.error == "GiveUp: no"


async def test_a_request_that_kills_its_workers_stops_its_thread(on_redis: RedisBackend) -> None:
    """The worker that takes over says so when it binds."""
    bench = Bench(on_redis)
    settings.crash_limit = 1

    class PoisonHandler(JobHandler):
        retry = STOPPING

        async def perform(self, *requests: Job) -> None:
            raise AssertionError("it is not handled")

    await bench.queue.register(PoisonHandler, *jobs(range(2)))
    (shard,) = PoisonHandler.all_shards()
    await die_with(bench, shard)
    async with bench.working(PoisonHandler):
        exhausted = await until_it_stands_still(bench, shard)
    assert exhausted.error == "1 worker died with this request in hand, the last one while it handled nothing else"
    assert await bench.depth(PoisonHandler) == 2


async def die_with(bench: Bench, shard: Shard) -> None:
    bound = await bench.backend.another_coordinator().bind(shard, BindRequest("dead/1", 1, 1, 0.2))
    assert await bench.backend.coordinator.isolate(bound.batches[0].lease, True, 1)


async def test_an_outage_breaks_the_order_of_no_key_and_one_command_drains_them(bench: Bench) -> None:
    """Twenty keys, each with requests on both sides of an outage that outlasts their tries."""

    class OutageHandler(JobHandler):
        retry = STOPPING

        async def perform(self, *requests: Job) -> None:
            if is_down:
                raise ConnectionError("the database is away")
            for request in requests:
                handled.setdefault(request.thread, []).append(request.number)
            if sum(map(len, handled.values())) == 20 * 20:
                drained.set()

    handled, is_down, drained = dict[str, list[int]](), [True], asyncio.Event()
    for key in range(20):
        await bench.queue.register(OutageHandler, *jobs(range(20), f"k{key}"))
    async with time_goes_by(bench), bench.working(OutageHandler):
        (shard,) = OutageHandler.all_shards()
        async with asyncio.timeout(60):
            while (await bench.backend.storage.observe([shard]))[0].exhausted < 20:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        is_down.clear()
        admin = Admin(bench.backend.storage)
        act = Resume(handler=admin.named(OutageHandler), exhausted=True)
        assert (await admin.do(act)).tried_anew == 20
        await soon(drained)
    assert handled == {f"k{key}": list(range(20)) for key in range(20)}
    assert await bench.dead(OutageHandler) == []
