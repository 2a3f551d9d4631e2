"""Middleware around registrations and calls of handlers: in its order, and without harm to requests and order."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from sharded_queue import Handler, HandlerError, Middleware, Queue, Retry, Worker, current
from sharded_queue.queue.middleware import Handle, Register
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, hang, jobs, soon

# What is around handlers knows nothing of storages: one without and one with a wire will do.
pytestmark = pytest.mark.parametrize(
    "backend", ["memory", pytest.param("redis", marks=pytest.mark.redis)], indirect=True
)


def collecting(*, fails: int = 0) -> tuple[type[Handler], list[int]]:
    """A handler that notes what it handles, once its first *fails* calls have raised."""
    done: list[int] = []

    class Collector(JobHandler):
        retry = Retry(limit=5, base_seconds=0, cap_seconds=0)

        async def perform(self, *requests: Job) -> None:
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise ValueError("not yet")
            done.extend(request.number for request in requests)

    return Collector, done


def worker(bench: Bench, handler: type[Handler], *middleware: Middleware) -> Worker:
    return Worker(bench.backend.another_coordinator(), bench.queue, handlers=[handler], middleware=middleware)


class Faulty(Middleware):
    """Does *fault* in its first calls, as often as it is given, and then as it should."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    async def fault(self, call_next: Handle) -> None:
        raise NotImplementedError

    async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
        self.times -= 1
        await (self.fault(call_next) if self.times >= 0 else call_next())


class RaisesBefore(Faulty):
    async def fault(self, call_next: Handle) -> None:
        raise RuntimeError("before")


class RaisesAfter(Faulty):
    async def fault(self, call_next: Handle) -> None:
        await call_next()
        raise RuntimeError("after")


class Forgets(Faulty):
    async def fault(self, call_next: Handle) -> None: ...


class DoesNotAwait(Faulty):
    async def fault(self, call_next: Handle) -> None:
        call_next().close()  # type: ignore[attr-defined]


class ExitsTheProgram(Faulty):
    async def fault(self, call_next: Handle) -> None:
        raise SystemExit(1)


class Cancels(Faulty):
    async def fault(self, call_next: Handle) -> None:
        raise asyncio.CancelledError


class TakesAnotherTask(Faulty):
    async def fault(self, call_next: Handle) -> None:
        await asyncio.create_task(call_next())  # type: ignore[arg-type]


FAULTS = [RaisesBefore, RaisesAfter, Forgets, DoesNotAwait, ExitsTheProgram, Cancels, TakesAnotherTask]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_in_a_middleware_is_a_failed_try_that_loses_nothing(bench: Bench, fault: type[Faulty]) -> None:
    handler, done = collecting()
    await bench.queue.register(handler, *jobs(range(3)))
    serving = worker(bench, handler, fault(times=1))

    async with asyncio.timeout(SOON):
        await serving.loop(3)
    assert done[-3:] == [0, 1, 2]
    assert serving.stats.failed >= 1
    assert await bench.depth(handler) == 0
    assert await bench.dead(handler) == []


async def test_a_middleware_that_always_fails_ends_in_the_dead_letters_with_its_error(bench: Bench) -> None:
    handler, done = collecting()
    handler.retry = Retry(limit=2, base_seconds=0, cap_seconds=0)
    await bench.queue.register(handler, Job(1))
    await bench.queue.register(handler, Job(2))
    await worker(bench, handler, RaisesBefore(times=3)).loop(1)  # the batch of both, the first one, it again

    assert await bench.dead(handler) == ["RuntimeError: before"]
    assert done == [2]


async def test_an_error_that_a_middleware_swallows_still_fails_the_batch(bench: Bench) -> None:
    class Swallows(Middleware):
        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            try:
                await call_next()
            except ValueError as error:
                seen.append(str(error))

    seen: list[str] = []
    handler, done = collecting(fails=2)
    await bench.queue.register(handler, Job(1), Job(2))
    await worker(bench, handler, Swallows()).loop(2)

    assert seen == ["not yet", "not yet"]
    assert done == [1, 2]


async def test_call_next_works_once(bench: Bench) -> None:
    class Twice(Middleware):
        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            await call_next()
            try:
                await call_next()
            except HandlerError as error:
                faults.append(str(error))

    faults: list[str] = []
    handler, done = collecting()
    await bench.queue.register(handler, *jobs(range(3)))
    await worker(bench, handler, Twice()).loop(3)

    assert done == [0, 1, 2]
    assert faults == ["test_call_next_works_once.<locals>.Twice.handle called call_next a second time"]


async def test_a_handler_cannot_outlive_the_middleware_around_it(bench: Bench) -> None:
    """It would still handle a batch that counts as failed, beside the next try."""

    class Leaves(Middleware):
        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            task = asyncio.create_task(call_next())  # type: ignore[arg-type]
            await asyncio.wait([task])
            faults.append(task.exception())

    faults: list[BaseException | None] = []
    handler, done = collecting()
    handler.retry = Retry(limit=1, base_seconds=0, cap_seconds=0)
    await bench.queue.register(handler, Job(1))
    await worker(bench, handler, Leaves()).loop(1)

    assert done == []
    assert all("Leaves.handle called call_next in another task" in str(fault) for fault in faults)
    assert len(await bench.dead(handler)) == 1


async def test_middleware_is_nested_in_the_order_of_its_list(bench: Bench) -> None:
    class Named(Middleware):
        def __init__(self, name: str) -> None:
            self.name = name

        async def register(
            self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
        ) -> None:
            receipts = await call_next({**headers, self.name: headers.get("origin", "")})
            seen.append((self.name, receipts[0].sequence))

        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            seen.append((self.name, handler, requests, [dict(each) for each in current().headers]))
            await call_next()
            seen.append(self.name)

    seen: list[Any] = []
    handler, done = collecting()
    queue = Queue(bench.queue.storage, middleware=[Named("outer"), Named("inner")])
    (receipt,) = await queue.register(handler, Job(1), headers={"origin": "shop"})
    await Worker(bench.backend.another_coordinator(), queue, handlers=[handler]).loop(1)

    given = (handler, (Job(1),), [{"origin": "shop", "outer": "shop", "inner": "shop"}])
    registering, handling = seen[:2], seen[2:]
    assert registering == [("inner", receipt.sequence), ("outer", receipt.sequence)]
    assert handling == [("outer", *given), ("inner", *given), "inner", "outer"]
    assert done == [1]


async def test_a_middleware_sees_the_batches_of_a_thread_in_their_order(bench: Bench) -> None:
    """Also while a failed batch comes one by one; what a middleware was told to be handled was handled."""

    class Notes(Middleware):
        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            await call_next()
            seen.extend(request.number for request in requests)

    seen: list[int] = []
    handler, done = collecting(fails=2)
    await bench.queue.register(handler, *jobs(range(5)))
    await worker(bench, handler, Notes()).loop(5)

    assert seen == done == [0, 1, 2, 3, 4]


async def test_a_middleware_that_swallows_a_cancellation_does_not_settle_an_aborted_batch(bench: Bench) -> None:
    class Stubborn(Middleware):
        async def handle(self, handler: type[Handler], requests: Sequence[Any], call_next: Handle) -> None:
            try:
                await call_next()
            except asyncio.CancelledError:
                began.set()

    class Hangs(JobHandler):
        async def perform(self, *requests: Job) -> None:
            began.set()
            await hang()

    began = asyncio.Event()
    await bench.queue.register(Hangs, Job(1))
    serving = worker(bench, Hangs, Stubborn())
    looping = asyncio.create_task(serving.loop())
    await soon(began)
    serving.abort()
    async with asyncio.timeout(SOON):
        await looping

    assert await bench.depth(Hangs) == 1


class Silent(Middleware):
    async def register(
        self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
    ) -> None: ...


class Repeats(Middleware):
    async def register(
        self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
    ) -> None:
        await call_next(headers)
        await call_next(headers)


class Hides(Middleware):
    async def register(
        self, handler: type[Handler], requests: Sequence[Any], headers: Mapping[str, str], call_next: Register
    ) -> None:
        with suppress(ValueError):
            await call_next({"size": "x" * 2_000_000})


@pytest.mark.parametrize(
    ("middleware", "message", "depth"),
    [
        (Silent(), r"Silent\.register returned without awaiting call_next", 0),
        (Repeats(), r"Repeats\.register called call_next a second time", 1),
        (Hides(), "bytes, its headers included", 0),
    ],
)
async def test_a_producer_learns_of_a_registration_that_a_middleware_prevents(
    bench: Bench, middleware: Middleware, message: str, depth: int
) -> None:
    handler, _ = collecting()
    with pytest.raises((HandlerError, ValueError), match=message):
        await Queue(bench.queue.storage, middleware=[middleware]).register(handler, Job(1))

    assert await bench.depth(handler) == depth
