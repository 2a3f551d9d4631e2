"""What a handler can raise or say, beside an error: give up, snooze, and a decision by the error."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from sharded_queue import GiveUp, Retry, Snooze, current, settings
from tests.contract.backend import MemoryBackend
from tests.contract.worker.bench import Bench, Job, JobHandler, jobs, soon

PROMPT = Retry(limit=3, base_seconds=0, cap_seconds=0)
Answer = Callable[[BaseException, int], Any]


class Told(NamedTuple):
    handled: list[int]
    tries: list[int]
    asked: list[tuple[str, int]]
    dead: list[str]


@asynccontextmanager
async def time_goes_by(bench: Bench):
    """The clock of a backend in memory goes with that of the machine."""

    async def go() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            await bench.backend.advance(time.monotonic() - started)

    going = asyncio.create_task(go()) if isinstance(bench.backend, MemoryBackend) else None
    try:
        yield
    finally:
        if going:
            going.cancel()


async def tell(
    bench: Bench, raises: Callable[[int], BaseException | None], says: Answer | None = None, retry: Retry = PROMPT
) -> Told:
    """Requests 0, 1 and 2 of one thread come alone. *raises*: what becomes of request 1, by the number of its call."""
    policy = retry

    class OutcomeHandler(JobHandler):
        retry = policy

        @classmethod
        def on_error(cls, error: BaseException, attempt: int) -> Any:
            asked.append((str(error), attempt))
            return says(error, attempt) if says else None

        async def perform(self, *requests: Job) -> None:
            (request,) = requests
            if request.number == 1:
                tries.append(current().attempt)
                if error := raises(len(tries)):
                    raise error
            handled.append(request.number)
            if request.number == 2:
                last.set()

    handled, tries, asked, last = list[int](), list[int](), list[tuple[str, int]](), asyncio.Event()
    settings.worker_batch_size = 1
    await bench.queue.register(OutcomeHandler, *jobs(range(3)))
    async with time_goes_by(bench), bench.working(OutcomeHandler):
        await soon(last)
    return Told(handled, tries, asked, await bench.dead(OutcomeHandler))


async def test_a_request_that_is_given_up_is_a_dead_letter_at_once(bench: Bench) -> None:
    assert await tell(bench, lambda _: GiveUp("no such account")) == Told([0, 2], [1], [], ["GiveUp: no such account"])


async def test_an_error_of_a_type_to_give_up_on_is_not_tried_again(bench: Bench) -> None:
    class Refused(ValueError): ...

    policy = Retry(limit=3, base_seconds=0, cap_seconds=0, give_up_on=(KeyError, ValueError))
    told = await tell(bench, lambda _: Refused("bad amount"), retry=policy)

    assert (told.tries, told.dead) == ([1], ["Refused: bad amount"])


async def test_other_errors_are_tried_again(bench: Bench) -> None:
    policy = Retry(limit=3, base_seconds=0, cap_seconds=0, give_up_on=KeyError)

    assert (await tell(bench, lambda _: ValueError("again"), retry=policy)).tries == [1, 2, 3]


async def test_an_error_in_a_group_of_one_is_what_it_is(bench: Bench) -> None:
    """A TaskGroup makes such a group of the error of one task."""
    told = await tell(bench, lambda _: ExceptionGroup("tasks", [GiveUp("no such account")]))

    assert (told.tries, told.dead) == ([1], ["GiveUp: no such account"])


async def test_a_handler_decides_by_the_error_and_the_try(bench: Bench) -> None:
    told = await tell(
        bench, lambda n: ValueError(f"{n}"), lambda _, attempt: GiveUp("enough") if attempt == 2 else None
    )

    assert (told.tries, told.asked, told.dead) == ([1, 2], [("1", 1), ("2", 2)], ["GiveUp: enough"])


async def test_a_handler_decides_how_often_an_error_is_tried(bench: Bench) -> None:
    told = await tell(bench, lambda _: ValueError("v"), lambda *_: Retry(limit=5, base_seconds=0, cap_seconds=0))

    assert (told.tries, told.dead) == ([1, 2, 3, 4, 5], ["ValueError: v"])


async def test_a_handler_without_a_reason_to_give_up_keeps_that_of_the_error(bench: Bench) -> None:
    assert (await tell(bench, lambda _: ValueError("v"), lambda *_: GiveUp())).dead == ["ValueError: v"]


async def test_a_handler_that_snoozes_by_an_error_counts_no_try(bench: Bench) -> None:
    told = await tell(bench, lambda n: ValueError("429") if n <= 2 else None, lambda *_: Snooze(0.05))

    assert (told.handled, told.tries, told.dead) == ([0, 1, 2], [1, 1, 1], [])


@pytest.mark.parametrize("answer", ["raises", "nonsense"])
async def test_a_handler_that_cannot_decide_leaves_it_to_its_policy(
    bench: Bench, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    def says(*_: Any) -> Any:
        if answer == "raises":
            raise RuntimeError("a bug")
        return 30

    told = await tell(bench, lambda _: ValueError("v"), says)

    assert (told.tries, told.dead) == ([1, 2, 3], ["ValueError: v"])
    assert any("its policy decides" in message for message in caplog.messages)


async def test_a_request_that_snoozes_keeps_its_place_and_its_try(bench: Bench) -> None:
    began = time.monotonic()
    told = await tell(bench, lambda n: Snooze(0.2, "the bank sleeps") if n <= 2 else None)

    assert told == Told([0, 1, 2], [1, 1, 1], [], [])
    assert time.monotonic() - began >= 0.4


async def test_a_snooze_is_not_logged_as_an_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await tell(bench, lambda n: Snooze(0.05) if n == 1 else None)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_request_that_snoozes_too_often_is_a_dead_letter(bench: Bench) -> None:
    policy = Retry(limit=3, base_seconds=0, cap_seconds=0, max_snoozes=2)
    told = await tell(bench, lambda _: Snooze(0.02, "429"), retry=policy)

    assert (told.handled, told.tries) == ([0, 2], [1, 1, 1])
    assert told.dead == ["snoozed 2 times in a row, last for 0.02 s: 429"]


async def test_a_thread_that_snoozes_leaves_its_slot_to_others(bench: Bench) -> None:
    class DozingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            calls.append([request.number for request in requests])
            if requests[0].thread == "a":
                raise Snooze(3600)
            done.set()

    calls, done = list[list[int]](), asyncio.Event()
    await bench.queue.register(DozingHandler, *jobs(range(3), "a"))
    async with bench.working(DozingHandler):
        await bench.queue.register(DozingHandler, Job(3, "b"))
        await soon(done)

    assert calls == [[0, 1, 2], [3]]


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_nothing_before_a_request_that_snoozes_is_handled_more_than_twice(bench: Bench, place: int) -> None:
    class BatchHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            for request in requests:
                if request.number == place and len(snoozed) < 3:
                    snoozed.append(current().attempt)
                    raise Snooze(0.05)
                handled.append(request.number)
            if handled[-1] == 4:
                done.set()

    handled, snoozed, done = list[int](), list[int](), asyncio.Event()
    await bench.queue.register(BatchHandler, *jobs(range(5)))
    async with time_goes_by(bench), bench.working(BatchHandler):
        await soon(done)

    assert handled == [*range(place), *range(5)]
    assert snoozed == [1, 1, 1]


async def test_a_plain_function_snoozes(bench: Bench) -> None:
    class PlainHandler(JobHandler):
        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            calls.append(requests[0].number)
            if len(calls) == 1:
                raise Snooze(0.05)
            loop.call_soon_threadsafe(done.set)

    calls, done, loop = list[int](), asyncio.Event(), asyncio.get_running_loop()
    await bench.queue.register(PlainHandler, Job(7))
    async with time_goes_by(bench), bench.working(PlainHandler):
        await soon(done)

    assert calls == [7, 7]
