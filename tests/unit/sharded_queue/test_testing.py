"""The sandbox: what tests of users are told, and that nothing in it waits."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from sharded_queue import Handler, Middleware, Retry, Route, SerializationError, Snooze, settings, shared
from sharded_queue.queue.middleware import Handle, Register
from sharded_queue.storage import Entry, Registration
from sharded_queue.testing import Recorded, Sandbox


class Job(NamedTuple):
    number: int
    thread: str = "a"
    priority: int = 0


class JobHandler(Handler):
    retry = Retry(limit=3, base_seconds=60, cap_seconds=600)

    @classmethod
    async def route(cls, *requests: Job) -> list[Route]:
        return [Route(request.thread, request.priority) for request in requests]


def collecting(bad: int | None = None) -> tuple[type[Handler], list[int]]:
    """A handler that notes what it handles, and raises at one request."""
    done: list[int] = []

    class Collector(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if bad in [request.number for request in requests]:
                raise ValueError(f"not {bad}")
            done.extend(request.number for request in requests)

    return Collector, done


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


async def test_what_was_registered_is_told_with_its_routes(sandbox: Sandbox) -> None:
    handler, _ = collecting()
    await sandbox.queue.register(handler, Job(1), Job(2, "b", 7), headers={"by": "me"})
    await sandbox.queue.register(handler, Job(3), delay_seconds=5)
    await sandbox.run()

    assert sandbox.registered(handler) == [
        Recorded(Job(1), "a", 0, 0.0, {"by": "me"}),
        Recorded(Job(2, "b", 7), "b", 7, 0.0, {"by": "me"}),
        Recorded(Job(3), "a", 0, 5, {}),
    ]


async def test_a_duplicate_is_not_told(sandbox: Sandbox) -> None:
    handler, done = collecting()
    handler.deduplicate_seconds = 60
    for _ in range(2):
        await sandbox.queue.register(handler, Job(1), Job(1))
    sandbox.advance(61)
    await sandbox.queue.register(handler, Job(1))
    await sandbox.run()

    assert [recorded.request for recorded in sandbox.registered(handler)] == [Job(1), Job(1)]
    assert done == [1, 1]


async def test_everything_is_handled_in_order_and_counted(sandbox: Sandbox) -> None:
    handler, done = collecting()
    settings.worker_batch_size = 2
    await sandbox.queue.register(handler, *[Job(n, priority=-n) for n in range(5)], Job(5, "b"))

    assert await sandbox.run() == 6
    assert done == [4, 3, 2, 1, 0, 5]
    assert await sandbox.depth(handler) == 0


async def test_what_a_handler_registers_is_handled_too(sandbox: Sandbox) -> None:
    handler, done = collecting()

    class First(JobHandler):
        async def perform(self, *requests: Job) -> None:
            await sandbox.queue.register(handler, *requests)

    await sandbox.queue.register(First, Job(1))

    assert (await sandbox.run(), done) == (2, [1])


async def test_what_a_handler_raises_is_raised(sandbox: Sandbox) -> None:
    handler, done = collecting(bad=2)
    await sandbox.queue.register(handler, *map(Job, range(5)))
    with pytest.raises(ValueError, match="not 2"):
        await sandbox.run()

    assert done == [0, 1]
    assert await sandbox.depth(handler) == 3


async def test_a_failing_start_is_raised(sandbox: Sandbox) -> None:
    class Unstartable(JobHandler):
        async def start(self) -> None:
            raise OSError("no database")

        async def perform(self, *requests: Job) -> None: ...

    await sandbox.queue.register(Unstartable, Job(1))
    with pytest.raises(OSError, match="no database"):
        await sandbox.run()


async def test_tries_take_no_time_and_end_with_the_dead(sandbox: Sandbox) -> None:
    handler, done = collecting(bad=2)
    await sandbox.queue.register(handler, *map(Job, range(5)))
    began = time.monotonic()

    assert await sandbox.run(raises=False) == 4
    assert done == [0, 1, 3, 4]
    (letter,) = await sandbox.dead(handler)
    assert letter == (Job(2), "a", 0, 3, "ValueError: not 2")
    assert time.monotonic() - began < 30, "two back-offs of a minute or more"


async def test_a_request_that_snoozes_waits_for_time_to_pass(sandbox: Sandbox) -> None:
    class Dozing(JobHandler):
        async def perform(self, *requests: Job) -> None:
            tries.append(requests[0].number)
            if len(tries) == 1:
                raise Snooze(30, "429")

    tries: list[int] = []
    await sandbox.queue.register(Dozing, Job(1))

    assert await sandbox.run() == 0
    sandbox.advance(29)
    assert (await sandbox.run(), tries) == (0, [1])
    sandbox.advance(1)
    assert (await sandbox.run(), tries, await sandbox.dead(Dozing)) == (1, [1, 1], [])


async def test_an_exhausted_request_waits_for_a_person(sandbox: Sandbox) -> None:
    class Strict(JobHandler):
        retry = Retry(limit=2, exhausted="pause")

        async def perform(self, *requests: Job) -> None:
            tries.append(requests[0].number)
            if len(tries) <= 2:
                raise ValueError("no cover")

    tries: list[int] = []
    settings.worker_batch_size = 1
    await sandbox.queue.register(Strict, Job(1), Job(2))
    assert await sandbox.run(raises=False) == 0
    assert (await sandbox.exhausted(Strict), tries, await sandbox.dead(Strict)) == (["a"], [1, 1], [])

    (shard,) = Strict.all_shards()
    await sandbox.storage.pause(shard, "a", False)
    assert (await sandbox.run(), tries) == (2, [1, 1, 1, 2])


async def test_a_message_that_cannot_be_read_is_shown_as_it_is(sandbox: Sandbox) -> None:
    handler, _ = collecting()
    (shard,) = handler.all_shards()
    await sandbox.storage.register(shard, Registration([Entry("a", 0, [b"nonsense"])]))
    with pytest.raises(SerializationError):
        await sandbox.run()
    (letter,) = await sandbox.dead(handler)

    assert letter.request.endswith(b"nonsense")


async def test_a_delayed_request_waits_for_the_clock(sandbox: Sandbox) -> None:
    handler, done = collecting()
    await sandbox.queue.register(handler, Job(1), delay_seconds=60)
    sandbox.advance(59.9)
    before = await sandbox.run()
    sandbox.advance(0.1)

    assert (before, await sandbox.run(), done) == (0, 1, [1])


async def test_a_schedule_waits_for_the_clock_and_occurs_again(sandbox: Sandbox) -> None:
    handler, done = collecting()
    await sandbox.queue.schedule(handler, Job(1), name="beat", every_seconds=60)
    before = await sandbox.run()
    for _ in range(2):
        sandbox.advance(60)
        await sandbox.run()

    assert (before, done) == (0, [1, 1])
    assert [recorded.request for recorded in sandbox.registered(handler)] == [Job(1), Job(1)]


async def test_a_paused_thread_is_left_alone(sandbox: Sandbox) -> None:
    handler, _ = collecting()
    await sandbox.queue.register(handler, Job(1))
    await sandbox.storage.pause(*[*handler.all_shards(), "a", True])

    assert await sandbox.run() == 0


def test_time_does_not_go_back(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="-1"):
        sandbox.advance(-1)


async def test_sandboxes_know_nothing_of_each_other() -> None:
    handler, done = collecting()
    one, other = Sandbox(), Sandbox()
    await one.queue.register(handler, Job(1))

    assert (await other.run(), other.registered(handler), done) == (0, [], [])


async def test_middleware_and_what_is_shared_work_as_in_a_worker() -> None:
    class Origin(Middleware):
        async def register(
            self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
        ) -> None:
            await call_next({**headers, "origin": "shop"})

        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            seen.append((handler, requests, shared(str)))
            await call_next()

    seen: list[Any] = []
    handler, done = collecting()
    sandbox = Sandbox(middleware=[Origin()], shared="a pool")
    await sandbox.queue.register(handler, Job(1))
    await sandbox.run()

    assert [recorded.headers for recorded in sandbox.registered(handler)] == [{"origin": "shop"}]
    assert seen == [(handler, (Job(1),), "a pool")]
    assert done == [1]


async def test_an_error_of_a_middleware_is_raised_by_the_sandbox() -> None:
    class Refuses(Middleware):
        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            raise PermissionError("not today")

    handler, _ = collecting()
    sandbox = Sandbox(middleware=[Refuses()])
    await sandbox.queue.register(handler, Job(1))

    with pytest.raises(PermissionError, match="not today"):
        await sandbox.run()
    assert await sandbox.depth(handler) == 1
