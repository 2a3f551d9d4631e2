import asyncio
from collections.abc import Callable

import pytest

from sharded_queue_operator import metrics
from sharded_queue_operator.controller import workqueue
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


def since(sample: str) -> Callable[[], float]:
    """By how much a sample has grown from now on: other tests use the same registry."""

    def value() -> float:
        return metrics.registry.get_sample_value(f"sharded_queue_operator_{sample}") or 0.0

    before = value()
    return lambda: value() - before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that shows its last element."""
    moments = [100.0]
    monkeypatch.setattr(workqueue, "monotonic", lambda: moments[-1])
    return moments


async def test_the_depth_is_what_may_be_worked_on_now() -> None:
    """What rests, or is being worked on, is not behind."""

    def depth() -> float | None:
        return metrics.registry.get_sample_value("sharded_queue_operator_workqueue_depth")

    queue: WorkQueue[str] = WorkQueue()
    for name in "abc":
        queue.add(name)

    assert depth() == 3
    async with queue.next():
        assert depth() == 2
    queue.rest("d")
    assert depth() == 2


async def test_the_wait_is_from_the_news_to_the_work(clock: list[float]) -> None:
    count, waited = since("workqueue_wait_seconds_count"), since("workqueue_wait_seconds_sum")
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    clock.append(101.0)
    queue.add("a")  # it waits since the first
    clock.append(103.0)
    await taken(queue)

    assert (count(), waited()) == (1, 3.0)


async def test_news_during_the_work_waits_from_then_on(clock: list[float]) -> None:
    waited = since("workqueue_wait_seconds_sum")
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    async with queue.next():
        clock.append(105.0)
        queue.add("a")
        clock.append(107.0)
    await taken(queue)

    assert waited() == 2.0


async def test_a_pause_is_no_wait(clock: list[float]) -> None:
    waited = since("workqueue_wait_seconds_sum")
    queue: WorkQueue[str] = WorkQueue()
    queue.rest("a")
    queue.add("a")
    clock.append(160.0)
    queue.wake("a")
    await taken(queue)

    assert waited() == 0.0


async def test_the_work_is_timed_also_when_it_fails(clock: list[float]) -> None:
    def fail_at(moment: float) -> None:
        clock.append(moment)
        raise ZeroDivisionError

    count, worked = since("reconcile_seconds_count"), since("reconcile_seconds_sum")
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    async with queue.next():
        clock.append(104.0)
    queue.add("a")
    with pytest.raises(ZeroDivisionError):
        async with queue.next():
            fail_at(105.0)

    assert (count(), worked()) == (2, 5.0)


async def test_what_comes_again_after_a_pause_is_a_retry() -> None:
    """A failure as well as a refusal that is told in the status; news is none."""
    retries, failures = since("workqueue_retries_total"), since("failures_total")
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await fail(queue)
    queue.rest("b")
    queue.hurry("c")

    assert (retries(), failures()) == (2, 1)


def test_the_build_is_told() -> None:
    (family,) = metrics.build_info.collect()

    assert [(set(sample.labels), sample.value) for sample in family.samples] == [({"version", "python"}, 1.0)]
