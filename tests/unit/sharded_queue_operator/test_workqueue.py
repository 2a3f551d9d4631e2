import asyncio

import pytest

from sharded_queue_operator.workqueue import WorkQueue


async def taken(queue: WorkQueue[str]) -> str:
    async with asyncio.timeout(1), queue.next() as name:
        return name


async def test_a_name_stands_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")

    assert [await taken(queue), await taken(queue)] == ["a", "b"]
    assert queue.ready.empty()


async def test_news_during_the_work_is_worked_on_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    async with queue.next() as name:
        queue.add(name)
        queue.add(name)
        assert queue.ready.empty()

    assert await taken(queue) == "a"
    assert queue.ready.empty()


async def test_a_failure_is_tried_again_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[float] = []
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda seconds, call, name: (later.append(seconds), call(name))
    )
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with queue.next():
                raise ZeroDivisionError

    assert later == [0.2, 0.4, 0.8]


async def test_success_forgets_earlier_failures() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.pauses["a"] = 8.0
    queue.add("a")
    await taken(queue)

    assert "a" not in queue.pauses
