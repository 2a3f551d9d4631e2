"""The time-out of round trips: as that of asyncio, with one timer for all that are under way."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from sharded_queue.backends.redis.deadline import Deadlines
from sharded_queue.backends.redis.link import Link


async def within(deadlines: Deadlines, seconds: float, step: Awaitable[object]) -> str:
    try:
        with deadlines.within(seconds):
            await step
    except TimeoutError:
        return "late"
    return "in time"


def forever() -> Awaitable[object]:
    return asyncio.Event().wait()


async def test_what_ends_in_time_is_left_alone() -> None:
    assert await within(Deadlines(), 5, asyncio.sleep(0)) == "in time"


async def test_what_is_late_is_cancelled() -> None:
    began = time.monotonic()

    assert await within(Deadlines(), 0.05, forever()) == "late"
    assert 0.05 <= time.monotonic() - began < 2


@pytest.mark.parametrize("stands_still", [False, True])
async def test_each_ends_at_its_own_time(stands_still: bool) -> None:
    """The soonest first, also where the event loop stood still until all were late."""
    deadlines, ended = Deadlines(), []

    async def note(seconds: float) -> None:
        await within(deadlines, seconds, forever())
        ended.append(seconds)

    if stands_still:
        asyncio.get_running_loop().call_later(0.001, time.sleep, 0.3)
    async with asyncio.timeout(5):
        await asyncio.gather(*[note(seconds / 100) for seconds in range(20, 0, -1)])

    assert ended == sorted(ended)
    assert len(ended) == 20


async def test_one_that_is_nearer_does_not_wait_for_the_timer_of_another() -> None:
    deadlines = Deadlines()
    other = asyncio.create_task(within(deadlines, 3600, forever()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await within(deadlines, 0.05, forever()) == "late"

    assert not other.done()
    other.cancel()


async def test_one_that_began_under_the_timer_of_another_ends_too() -> None:
    """The other ended early, and left its timer."""
    deadlines = Deadlines()
    await within(deadlines, 0.05, asyncio.sleep(0))

    async with asyncio.timeout(5):
        assert await within(deadlines, 0.1, forever()) == "late"


async def test_many_in_a_row_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, timers = Deadlines(), []
    call_at: Callable[..., Any] = deadlines.loop.call_at

    def counting(*arguments: Any, **keywords: Any) -> asyncio.TimerHandle:
        timers.append(arguments[0])
        return call_at(*arguments, **keywords)

    monkeypatch.setattr(deadlines.loop, "call_at", counting)
    for _ in range(100):
        await within(deadlines, 60, asyncio.sleep(0))

    assert len(timers) == 1


async def test_a_cancellation_by_another_is_no_time_out() -> None:
    """Even if both come at once."""
    outcome: list[str] = []
    began = asyncio.Event()

    async def wait() -> None:
        began.set()
        outcome.append(await within(Deadlines(), 0.05, forever()))

    waiting = asyncio.create_task(wait())
    await began.wait()
    asyncio.get_running_loop().call_later(0.05, waiting.cancel)
    time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still, so that both are due when it goes on
    await asyncio.wait([waiting])

    assert waiting.cancelled()
    assert outcome == []


async def test_an_error_of_what_is_under_way_is_passed_on() -> None:
    deadlines = Deadlines()
    with pytest.raises(ValueError, match="told"), deadlines.within(5):
        raise ValueError("told")


def test_a_link_that_moves_to_another_event_loop_has_time_outs_there() -> None:
    """The timer of the loop that ended is never due."""
    link = Link(Redis())

    async def late() -> bool:
        async with asyncio.timeout(5):
            try:
                with link._within(0.05):
                    await forever()
            except TimeoutError:
                return True
        return False

    assert asyncio.run(late())
    assert asyncio.run(late())
