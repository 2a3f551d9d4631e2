"""What a program sees and does by `Admin` and `SyncAdmin`: the same in memory and on Redis."""

import asyncio
import inspect
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from sharded_queue import (
    Admin,
    Handler,
    NotPossible,
    Queue,
    Route,
    RuntimeStorage,
    ShardedQueueError,
    SyncAdmin,
    SyncQueue,
)
from sharded_queue.admin.drop import DropRequests
from sharded_queue.admin.letters import DropLetters, ReplayLetters
from sharded_queue.admin.pause import Pause, Resume
from tools.redis_server import Ask

WHY = {"reason": "imported twice", "actor": "ann"}


class Charge(Handler[tuple[str, int]]):
    """Requests are (account, cents)."""

    name = "admin.Charge"

    @classmethod
    async def route(cls, *requests: tuple[str, int]) -> list[Route]:
        return [Route(account) for account, _ in requests]

    async def perform(self, *requests: tuple[str, int]) -> None: ...


class Awaited:
    """What is async, for a test that is not: each call in an event loop of its own."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            found = getattr(self._owner, name)(*given, **named)
            if isinstance(found, Coroutine):
                return asyncio.run(found)
            return iter(asyncio.run(listed(found))) if inspect.isasyncgen(found) else found

        return call


def requests_of(found: Sequence[Any]) -> list[Any]:
    return [json.loads(bytes(each.request)) for each in found]


async def listed(steps: Any) -> list[Any]:
    return [step async for step in steps]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def sides(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """A producer and an administration of the same requests."""
    if request.param == "memory":
        storage = RuntimeStorage()
        yield Awaited(Queue(storage)), Awaited(Admin(storage))
        return
    ask: Ask = request.getfixturevalue("ask")
    assert ask
    with SyncQueue() as queue, SyncAdmin() as admin:
        yield queue, admin


def test_a_program_sees_what_waits(sides: tuple[Any, Any]) -> None:
    queue, admin = sides
    queue.register(Charge, ("ann", 1), ("ann", 2), ("bob", 3))
    queue.register(Charge, ("ann", 4), delay_seconds=600)
    queue.schedule(Charge, ("ann", 5), name="nightly", every_seconds=3600)

    state = admin.state(Charge)
    assert (state.depth, state.threads, state.delayed, state.letters, state.workers) == (3, 2, 1, 0, [])
    assert 0 <= state.lag_seconds < 60
    assert {(tube.thread, tube.depth) for tube in state.oldest} == {("ann", 2), ("bob", 1)}
    assert requests_of(admin.peek(Charge, "ann")) == [["ann", 1], ["ann", 2]]
    assert requests_of(admin.peek(Charge, "ann", count=1, after=0)) == [["ann", 2]]
    assert requests_of(admin.delayed(Charge)) == [["ann", 4]]
    assert [each.name for each in admin.schedules(Charge)] == ["nightly"]
    assert admin.explain(Charge, "bob").thread == "bob"
    assert (admin.workers(Charge), admin.paused(Charge)) == ([], [])


def test_a_program_acts_on_what_there_is(sides: tuple[Any, Any]) -> None:
    queue, admin = sides
    charge = admin.named(Charge)
    queue.register(Charge, ("ann", 1), ("ann", 2), ("bob", 3))
    plan = admin.plan(DropRequests(handler=charge, thread="ann", is_all=True, **WHY))
    assert admin.state(Charge).depth == 3, "a plan writes nothing"

    assert len(admin.do(plan.act).letters) == 2
    assert sorted(requests_of(admin.letters(Charge, thread="ann"))) == [["ann", 1], ["ann", 2]]
    assert admin.do(Pause(handler=charge, thread="bob")).changed
    assert [each.thread for each in admin.paused(Charge)] == ["bob"]
    assert admin.do(Resume(handler=charge, thread="bob")).changed
    (*_, last) = admin.steps(ReplayLetters(handler=charge, is_all=True, head=True))
    assert (len(last.done), last.left) == (2, {})
    assert requests_of(admin.peek(Charge, "ann")) == [["ann", 1], ["ann", 2]]


def test_what_cannot_be_done_is_raised_in_the_caller(sides: tuple[Any, Any]) -> None:
    queue, admin = sides
    queue.register(Charge, ("ann", 1))

    with pytest.raises(NotPossible, match="has no thread 'bob'"):
        admin.explain(Charge, "bob")
    with pytest.raises(NotPossible, match="actor is"):
        admin.do(DropLetters(handler=admin.named(Charge), is_all=True))
    with pytest.raises(NotPossible, match="actor is"):
        list(admin.steps(DropLetters(handler=admin.named(Charge), is_all=True)))


def test_one_who_does_not_await_calls_the_same_methods() -> None:
    def calls(owner: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(owner, inspect.isfunction)
        return {name: [*inspect.signature(method).parameters] for name, method in methods if name[0] != "_"}

    assert calls(SyncAdmin) == calls(Admin) | {"close": ["self"]}


async def test_in_an_event_loop_it_says_what_to_do() -> None:
    with SyncAdmin() as admin, pytest.raises(ShardedQueueError, match="await the methods of Admin there"):
        admin.state(Charge)


@pytest.mark.redis
def test_who_has_closed_it_hears_so(ask: Ask) -> None:
    with SyncAdmin() as admin:
        assert admin.state(Charge).depth == 0

    with pytest.raises(ShardedQueueError, match="this SyncAdmin is closed"):
        admin.state(Charge)
