"""The slots of a worker: who gets the next one, and how many threads may be bound ahead."""

import asyncio
from collections.abc import Iterator

import pytest

from sharded_queue import settings
from sharded_queue.worker import slots
from sharded_queue.worker.slots import MOST_AHEAD, Slots
from sharded_queue.worker.task_pool import Fiber, TaskPool


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    time = Time()
    monkeypatch.setattr(slots, "time", time)
    return time


async def begin(lanes: Slots, count: int) -> None:
    for _ in range(count):
        assert lanes.claim()
        lanes.leave()


async def test_a_new_worker_binds_nothing_ahead(time: Time) -> None:
    assert Slots(TaskPool()).ahead() == 0


async def test_as_many_are_bound_ahead_as_began_in_a_moment(time: Time) -> None:
    lanes = Slots(TaskPool())
    lanes.ahead()
    await begin(lanes, 13)
    time.now += 0.04

    assert lanes.ahead() == 6


async def test_requests_of_seconds_have_nothing_bound_ahead(time: Time) -> None:
    lanes = Slots(TaskPool())
    lanes.ahead()
    await begin(lanes, 10)
    time.now += 1.0

    assert lanes.ahead() == 0


async def test_no_more_are_bound_ahead_than_the_most(time: Time) -> None:
    lanes = Slots(TaskPool())
    lanes.ahead()
    await begin(lanes, 10_000)
    time.now += 0.04

    assert lanes.ahead() == MOST_AHEAD


async def test_an_idle_worker_forgets_how_quick_it_was(time: Time) -> None:
    lanes = Slots(TaskPool())
    lanes.ahead()
    await begin(lanes, 100)
    time.now += 0.04
    assert lanes.ahead() > 40
    time.now += 60

    assert lanes.ahead() == 0


class Line:
    """Lanes that take a slot in turn, and keep it until they may leave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, longest_wait: float = 60) -> None:
        monkeypatch.setattr(slots, "LONGEST_WAIT_SECONDS", longest_wait)
        settings.worker_concurrency = 1
        self.pool = TaskPool()
        self.slots = Slots(self.pool)
        self.events: list[str] = []
        self._changed = asyncio.Event()

    def join(self, name: str, is_alone: bool = False) -> tuple[Fiber, asyncio.Event]:
        may_leave = asyncio.Event()
        start = self.pool.start_alone if is_alone else self.pool.start
        return start(self._hold(name, may_leave), self._note_end), may_leave

    async def _hold(self, name: str, may_leave: asyncio.Event) -> None:
        self._note(f"{name} asked")
        if not (self.slots.claim() or await self.slots.wait()):
            self._note(f"{name} was sent away")
            return
        self._note(f"{name} took it")
        await may_leave.wait()
        self.slots.leave()

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    def _note_end(self, error: BaseException | None) -> None:
        if error:
            self._note(type(error).__name__)

    async def until(self, *events: str) -> None:
        async with asyncio.timeout(5):
            while not set(events) <= set(self.events):
                self._changed.clear()
                await self._changed.wait()

    def holders(self) -> list[str]:
        return [event[0] for event in self.events if event.endswith("took it")]


async def test_a_slot_goes_to_the_lane_that_waits_first(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch)
    leaves = [line.join(name)[1] for name in "abc"]
    await line.until("c asked")
    for leave in leaves:
        leave.set()
    await line.until("c took it")

    assert line.holders() == ["a", "b", "c"]


async def test_a_lane_that_waits_too_long_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch, longest_wait=0.01)
    for name in "abc":
        line.join(name)
    await line.until("b was sent away", "c was sent away")

    assert line.holders() == ["a"]


async def test_all_are_sent_away_at_once_and_nobody_joins_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch)
    for name in "abc":
        line.join(name)
    await line.until("c asked")
    line.slots.close()
    line.join("d")
    await line.until("b was sent away", "c was sent away", "d was sent away")

    assert line.holders() == ["a"]


async def test_a_cancelled_lane_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch)
    _, may_leave = line.join("a")
    cancelled, _ = line.join("b")
    line.join("c")
    await line.until("c asked")
    cancelled.cancel()
    await line.until("CancelledError")
    may_leave.set()
    await line.until("c took it")

    assert line.holders() == ["a", "c"]


async def test_a_lane_that_is_cancelled_with_the_slot_in_hand_passes_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch)
    line.join("a")
    await line.until("a took it")
    cancelled, _ = line.join("b", is_alone=True)
    await line.until("b asked")
    line.join("c")
    await line.until("c asked")
    line.slots.leave()  # as if by `a`: `b` has the slot, and has yet to hear of it
    cancelled.cancel()
    await line.until("CancelledError", "c took it")

    assert line.holders() == ["a", "c"]
