import asyncio

import pytest

from sharded_queue_operator.controller.workqueue import WorkQueue
from sharded_queue_operator.errors import ApiRefused


async def taken(queue: WorkQueue[str]) -> str:
    async with asyncio.timeout(1), queue.next() as name:
        return name


async def test_a_name_is_queued_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")

    assert [await taken(queue), await taken(queue)] == ["a", "b"]
    assert len(queue) == 0


async def test_news_during_the_work_is_worked_on_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    async with queue.next() as name:
        queue.add(name)
        queue.add(name)
        assert len(queue) == 0

    assert await taken(queue) == "a"
    assert len(queue) == 0


async def fail(queue: WorkQueue[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with queue.next():
            raise ZeroDivisionError


async def test_a_failure_is_tried_again_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[float] = []
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda seconds, call, name: (later.append(seconds), call(name))
    )
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    for _ in range(8):
        await fail(queue)

    assert later == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_after_a_failure_news_is_worked_on_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await fail(queue)
    queue.add("a")

    assert len(queue) == 1


async def test_a_name_that_rests_is_not_worked_on_whatever_news_comes() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    async with queue.next() as name:
        queue.add(name)
        queue.rest(name)
    queue.add("a")
    assert len(queue) == 0

    assert await taken(queue) == "a"


async def test_each_rest_is_longer_until_the_work_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[float] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda seconds, *_: later.append(seconds))
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.rest("a")
        queue.wake("a")
    await taken(queue)
    queue.rest("a")

    assert later == [0.2, 0.4, 0.8, 0.2]


async def test_news_that_may_help_ends_the_rest() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.rest("a")
    queue.hurry("a")

    assert len(queue) == 1
    assert not queue.is_resting("a")


async def test_success_forgets_earlier_failures() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await fail(queue)
    queue.wake("a")
    await taken(queue)

    assert queue.failures_of("a") == 0


async def test_a_server_that_asks_for_a_pause_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sheds load was asked again after a fifth of a second."""
    pauses: list[float] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda seconds, *_: pauses.append(seconds))
    queue: WorkQueue[str] = WorkQueue()
    for asked in (7.0, 0.0):
        queue.add("a")
        with pytest.raises(ApiRefused):
            async with queue.next():
                raise ApiRefused(429, "too many requests", asked)

    assert pauses == [7.0, 0.4]
