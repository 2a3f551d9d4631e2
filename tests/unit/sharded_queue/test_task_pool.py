"""Many coroutines in few tasks: each takes its turn, and nobody's wait, error or cancellation is another's."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import Any
from weakref import ref

import pytest

from sharded_queue.worker import task_pool
from sharded_queue.worker.task_pool import Fiber, TaskPool, suspend

MINE: ContextVar[str] = ContextVar("MINE", default="nobody's")
HANDLED: ContextVar[object] = ContextVar("HANDLED", default=None)


class Shift:
    """A pool, and how each of its fibers ended."""

    def __init__(self) -> None:
        self.pool = TaskPool()
        self.ended: dict[str, BaseException | None] = {}
        self.tasks: dict[str, asyncio.Task[Any] | None] = {}
        self._changed = asyncio.Event()

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> Fiber:
        return self.pool.start(self._noted(name, coroutine), lambda error: self._note(name, error))

    async def _noted(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks[name] = asyncio.current_task()
        await coroutine

    def _note(self, name: str, error: BaseException | None) -> None:
        self.ended[name] = error
        self._changed.set()

    async def wait_for(self, *names: str) -> None:
        async with asyncio.timeout(5):
            while not self.ended.keys() >= set(names):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def shift() -> Shift:
    return Shift()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a fiber tells nobody that it asks
            await asyncio.sleep(0)


async def nothing() -> None: ...


async def ask(heard: list[object]) -> None:
    heard.append(await suspend())


async def test_fibers_that_wait_for_nothing_share_a_task(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_pool, "LONGEST_STEP_SECONDS", inf)  # another program may take the processor meanwhile
    for number in range(100):
        shift.start(str(number), nothing())
    await shift.wait_for(*map(str, range(100)))

    assert set(shift.ended.values()) == {None}
    assert len(set(shift.tasks.values())) == 1


async def test_a_fiber_that_waits_holds_nobody_up(shift: Shift) -> None:
    free = asyncio.Event()

    async def wait() -> None:
        await free.wait()

    shift.start("waits", wait())
    shift.start("behind", nothing())
    await shift.wait_for("behind")
    assert "waits" not in shift.ended
    free.set()
    await shift.wait_for("waits")

    assert shift.tasks["behind"] is not shift.tasks["waits"]


async def test_a_fiber_that_asks_goes_on_with_its_answer(shift: Shift) -> None:
    heard: list[object] = []
    fiber = shift.start("asks", ask(heard))
    await until(lambda: fiber.is_suspended)
    fiber.answer("first")
    fiber.answer("second")
    await shift.wait_for("asks")

    assert heard == ["first"]


async def test_a_fiber_is_answered_only_where_it_asks(shift: Shift) -> None:
    """An answer that nobody asked for is not the answer to the next question."""
    heard: list[object] = []
    free = asyncio.Event()

    async def wait_and_ask() -> None:
        await free.wait()
        heard.append(await suspend())

    fiber = shift.start("asks", wait_and_ask())
    await until(lambda: fiber.task)
    fiber.answer("too early")
    free.set()
    await until(lambda: fiber.is_suspended)
    fiber.answer("in time")
    await shift.wait_for("asks")

    assert heard == ["in time"]


async def test_an_error_is_raised_where_a_fiber_asks_and_ends_it_only(shift: Shift) -> None:
    heard: list[object] = []
    fiber, other = shift.start("fails", ask(heard)), shift.start("other", ask(heard))
    await until(lambda: fiber.is_suspended and other.is_suspended)
    error = ValueError("refused")
    fiber.answer(error)
    other.answer("fine")
    await shift.wait_for("fails", "other")

    assert shift.ended == {"fails": error, "other": None}
    assert heard == ["fine"]


async def test_a_cancellation_reaches_a_fiber_wherever_it_is(shift: Shift) -> None:
    heard: list[object] = []

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    asks, waits = shift.start("asks", ask(heard)), shift.start("waits", wait_for_ever())
    await until(lambda: asks.is_suspended and waits.task)
    asks.cancel()
    waits.cancel()
    await shift.wait_for("asks", "waits")

    assert {type(error) for error in shift.ended.values()} == {asyncio.CancelledError}


async def test_a_fiber_with_a_task_of_its_own_keeps_it_through_waits_and_answers(shift: Shift) -> None:
    tasks: list[asyncio.Task[Any] | None] = []
    heard: list[object] = []

    async def work() -> None:
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(60):  # opened before, closed after: only its own task may do that
            await asyncio.sleep(0)
            heard.append(await suspend())
            tasks.append(asyncio.current_task())
        tasks.append(asyncio.current_task())

    fiber = shift.pool.start_alone(work(), lambda error: shift._note("alone", error))
    await until(lambda: fiber.is_suspended)
    shift.start("other", nothing())
    await shift.wait_for("other")
    fiber.answer("yes")
    fiber.answer("again")
    await shift.wait_for("alone")

    assert (shift.ended["alone"], heard) == (None, ["yes"])
    assert len(set(tasks)) == 1


async def test_a_fiber_with_a_task_of_its_own_is_cancelled_wherever_it_is(shift: Shift) -> None:
    """Before it begins, it has to look by itself, as all have."""
    heard: list[object] = []

    async def wait() -> None:
        await asyncio.Event().wait()

    fibers = [
        shift.pool.start_alone(work, partial(shift._note, name)) for name, work in [("w", wait()), ("a", ask(heard))]
    ]
    begins = shift.pool.start_alone(nothing(), partial(shift._note, "begins"))
    begins.cancel()
    await until(lambda: fibers[0].task and fibers[1].is_suspended)
    for fiber in fibers:
        fiber.cancel()
    await shift.wait_for("w", "a", "begins")

    assert shift.ended["begins"] is None
    assert {type(shift.ended[name]) for name in "wa"} == {asyncio.CancelledError}


async def test_an_answer_to_a_fiber_that_was_cancelled_comes_to_nobody(shift: Shift) -> None:
    heard: list[object] = []
    fiber = shift.pool.start_alone(ask(heard), partial(shift._note, "asks"))
    await until(lambda: fiber.is_suspended)
    fiber.cancel()
    fiber.answer("too late")
    await shift.wait_for("asks")

    assert isinstance(shift.ended["asks"], asyncio.CancelledError)
    assert heard == []


async def test_a_cancellation_is_nobody_elses(shift: Shift) -> None:
    """Whoever asks its task whether it is being cancelled gets the answer that is true of itself."""
    cancelling: list[int] = []

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def look() -> None:
        task = asyncio.current_task()
        assert task
        cancelling.append(task.cancelling())

    cancelled = shift.start("cancelled", wait_for_ever())
    await until(lambda: cancelled.task)
    cancelled.cancel()
    for name in "abc":
        shift.start(name, look())
    await shift.wait_for("cancelled", *"abc")

    assert all(shift.ended[name] is None for name in "abc")
    assert cancelling == [0, 0, 0]


async def test_a_fiber_may_refuse_its_cancellation_and_go_on(shift: Shift) -> None:
    """As a lane does that settles what was done before it was given up."""
    heard: list[object] = []

    async def end_orderly() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append(await suspend())

    fiber = shift.start("orderly", end_orderly())
    await until(lambda: fiber.task)
    fiber.cancel()
    await until(lambda: fiber.is_suspended)
    fiber.answer("settled")
    await shift.wait_for("orderly")

    assert (shift.ended["orderly"], heard) == (None, ["settled"])


async def test_each_fiber_has_a_context_of_its_own_through_all_its_tasks(shift: Shift) -> None:
    seen: dict[str, tuple[str, str]] = {}

    async def keep(name: str) -> None:
        MINE.set(name)
        await suspend()
        before = MINE.get()
        await asyncio.sleep(0)
        seen[name] = (before, MINE.get())

    fibers = [shift.start(name, keep(name)) for name in "ab"]
    await until(lambda: all(fiber.is_suspended for fiber in fibers))
    for fiber in reversed(fibers):
        fiber.answer(None)
    await shift.wait_for(*"ab")

    assert seen == {"a": ("a", "a"), "b": ("b", "b")}
    assert MINE.get() == "nobody's"


async def test_handlers_that_never_wait_leave_the_rest_of_the_process_its_turns(
    shift: Shift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_pool, "LONGEST_STEP_SECONDS", 0.001)
    turns: list[int] = []

    async def compute() -> None:
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            continue

    async def count() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(len(shift.ended))

    counting = asyncio.create_task(count())
    for number in range(10):
        shift.start(str(number), compute())
    await shift.wait_for(*map(str, range(10)))
    counting.cancel()

    assert set(turns) >= set(range(1, 10))


async def test_a_task_keeps_nothing_of_the_fiber_that_called_it(shift: Shift) -> None:
    """A fiber that answers another one calls the task in which the other one goes on, for as long as that takes."""

    class Batch: ...

    async def answer_the_other() -> None:
        batch = Batch()
        batches.append(ref(batch))
        HANDLED.set(batch)
        other.answer(None)

    async def go_on() -> None:
        await suspend()
        await free.wait()

    batches: list[ref[Batch]] = []
    free = asyncio.Event()
    other = shift.start("other", go_on())
    await until(lambda: other.is_suspended)
    shift.start("first", answer_the_other())
    await until(lambda: other.task)

    assert [batch() for batch in batches] == [None]
    free.set()
    await shift.wait_for("first", "other")
