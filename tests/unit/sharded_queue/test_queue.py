"""Registering: receipts in the order given, all or nothing, and errors that name what was wrong."""

from typing import Any, NamedTuple

import pytest

from sharded_queue import (
    Handler,
    Queue,
    QueueFull,
    Receipt,
    Route,
    RouteError,
    RuntimeStorage,
    SerializationError,
    settings,
)
from sharded_queue.tube import Tube


class Job(NamedTuple):
    number: int
    thread: str = "a"
    priority: int = 0


class JobHandler(Handler):
    @classmethod
    async def route(cls, *requests: Job) -> list[Route]:
        return [Route(request.thread, request.priority) for request in requests]

    async def perform(self, *requests: Job) -> None: ...


@pytest.fixture
def queue() -> Queue:
    return Queue(RuntimeStorage())


async def depth(queue: Queue, handler: type[Handler] = JobHandler) -> int:
    return sum(state.depth for state in await queue.storage.observe(handler.all_shards()))


async def test_receipts_come_in_the_order_of_the_requests(queue: Queue) -> None:
    receipts = await queue.register(JobHandler, Job(1, "a"), Job(2, "b"), Job(3, "a"), Job(4, "a", 1))
    (shard,) = JobHandler.all_shards()
    tubes = [Tube(shard, "a", 0), Tube(shard, "b", 0), Tube(shard, "a", 0), Tube(shard, "a", 1)]

    assert [receipt.tube for receipt in receipts] == tubes
    assert receipts[2].sequence == receipts[0].sequence + 1
    assert len({receipt.sequence for receipt in receipts[:3]}) == 3


async def test_a_receipt_says_where_a_request_waits(queue: Queue) -> None:
    (receipt,) = await queue.register(JobHandler, Job(1))

    assert isinstance(receipt, Receipt)
    assert [number for number, _ in await queue.storage.peek(receipt.tube)] == [receipt.sequence]


async def test_registering_nothing_does_nothing(queue: Queue) -> None:
    assert list(await queue.register(JobHandler)) == []


async def test_routes_are_asked_for_in_one_call(queue: Queue) -> None:
    class CountedHandler(JobHandler):
        calls = 0

        @classmethod
        async def route(cls, *requests: Job) -> list[Route]:
            cls.calls += 1
            return [Route()] * len(requests)

    await queue.register(CountedHandler, *map(Job, range(100)))

    assert CountedHandler.calls == 1


@pytest.mark.parametrize(
    ("routes", "complaint"),
    [
        ([Route()], "list of 2 routes, one per request; it returned 1 routes"),
        ([Route()] * 3, "it returned 3 routes"),
        (None, "it returned None"),
        (Route(), "a route is Route"),
        ([Route(), None], "a route is Route"),
        ([Route(), Route([])], "must be an int or a str"),  # type: ignore[arg-type]
        ([Route(), Route(1, 2**40)], "priority"),
    ],
)
async def test_unusable_routes_register_nothing(queue: Queue, routes: Any, complaint: str) -> None:
    class BadlyRoutedHandler(Handler):
        @classmethod
        async def route(cls, *requests: Job) -> list[Route]:
            return routes  # type: ignore[no-any-return]

        async def perform(self, *requests: Job) -> None: ...

    with pytest.raises(RouteError, match=complaint):
        await queue.register(BadlyRoutedHandler, Job(1), Job(2))

    assert await depth(queue, BadlyRoutedHandler) == 0


async def test_a_request_that_cannot_be_encoded_registers_nothing(queue: Queue) -> None:
    with pytest.raises(SerializationError, match="request 1"):
        await queue.register(JobHandler, Job(1), "no job")

    assert await depth(queue) == 0


async def test_more_requests_than_one_call_may_hold_are_refused(queue: Queue) -> None:
    settings.register_limit = 2

    with pytest.raises(QueueFull, match="QUEUE_REGISTER_LIMIT = 2"):
        await queue.register(JobHandler, *map(Job, range(3)))


async def test_a_handlers_capacity_bounds_its_tubes(queue: Queue) -> None:
    class BoundedHandler(JobHandler):
        capacity = 2

    await queue.register(BoundedHandler, Job(1), Job(2), Job(3, "b"))

    with pytest.raises(QueueFull, match="holds 2 of 2"):
        await queue.register(BoundedHandler, Job(4))
