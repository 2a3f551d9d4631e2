"""When a worker asks for what is due: in time, seldom, and whatever went wrong the last time."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from sharded_queue import QueueFull, RuntimeStorage, settings
from sharded_queue.tube import Shard
from sharded_queue.worker.scheduler import Scheduler

ONE, OTHER = Shard("one"), Shard("other")


class Asked(RuntimeStorage):
    """Notes who was asked about, and answers what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: asyncio.Queue[tuple[Shard, float]] = asyncio.Queue()
        self.answers: dict[Shard, float | Exception | None] = {}

    async def register_due(self, shard: Shard) -> float | None:
        self.asked.put_nowait((shard, time.monotonic()))
        answer = self.answers.get(shard)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def next(self) -> tuple[Shard, float]:
        async with asyncio.timeout(5):
            return await self.asked.get()

    async def is_left_alone(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.asked.get()
        except TimeoutError:
            return True
        return False


@pytest.fixture
def storage() -> Asked:
    return Asked()


@pytest.fixture
async def scheduler(storage: Asked) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(storage, lambda: [ONE, OTHER])
    async with scheduler.running():
        yield scheduler


async def test_nobody_is_asked_before_there_is_something_to_ask(scheduler: Scheduler, storage: Asked) -> None:
    scheduler.hear(ONE, None)

    assert await storage.is_left_alone(0.2)


async def test_it_asks_when_the_time_that_it_heard_of_has_come(scheduler: Scheduler, storage: Asked) -> None:
    begun = time.monotonic()
    scheduler.hear(ONE, 60)
    scheduler.hear(ONE, 0.1)
    shard, asked_at = await storage.next()

    assert shard == ONE
    assert asked_at - begun >= 0.1


async def test_it_asks_again_when_the_answer_said(scheduler: Scheduler, storage: Asked) -> None:
    storage.answers[ONE] = 0.05
    scheduler.hear(ONE, 0.0)

    assert [(await storage.next())[0] for _ in range(3)] == [ONE] * 3


async def test_what_stays_due_is_asked_for_once_a_delay(scheduler: Scheduler, storage: Asked) -> None:
    """A schedule that this worker does not understand: each look for threads says that it is due."""
    scheduler.hear(ONE, 0.0)
    await storage.next()
    for _ in range(10):
        scheduler.hear(ONE, 0.0)

    assert settings.coordinator_delay >= 0.5
    assert await storage.is_left_alone(0.3)


async def test_what_is_due_is_not_forgotten_by_a_look_that_came_before_it(scheduler: Scheduler, storage: Asked) -> None:
    """Two schedules occur one after the other; the look between them says that the second is due."""
    storage.answers[ONE] = 0.1
    scheduler.hear(ONE, 0.0)
    _, first_at = await storage.next()
    await asyncio.sleep(0.05)
    scheduler.hear(ONE, 0.0)
    _, second_at = await storage.next()

    assert second_at - first_at < settings.coordinator_delay


async def test_who_hears_nothing_asks_after_a_while(scheduler: Scheduler, storage: Asked) -> None:
    settings.coordinator_delay = 0.005
    scheduler.hear(ONE, None)

    assert (await storage.next())[0] == ONE


@pytest.mark.parametrize("error", [QueueFull("full"), ValueError("a fault of ours")])
async def test_a_shard_that_cannot_be_asked_is_asked_again_and_stops_no_other(
    scheduler: Scheduler, storage: Asked, error: Exception
) -> None:
    settings.coordinator_delay = 0.05
    storage.answers[ONE] = error
    scheduler.hear(ONE, 0.0)
    scheduler.hear(OTHER, 0.01)

    asked: list[Shard] = []
    while asked.count(ONE) < 2 or OTHER not in asked:
        asked.append((await storage.next())[0])
