"""What a worker serves, in what order, and how soon."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from sharded_queue import (
    Context,
    Handler,
    Queue,
    Route,
    RuntimeCoordinator,
    RuntimeStorage,
    ShardedQueueError,
    Worker,
    current,
    settings,
)
from sharded_queue.coordinator import Arrival, BindRequest
from sharded_queue.storage import Settled, Settlement
from sharded_queue.worker.lane import Lane
from tests.contract.backend import SHARD, Backend, RedisBackend
from tests.contract.worker.bench import SOON, Bench, Job, JobHandler, jobs, soon


async def test_the_example_of_the_specification_ends_by_itself(backend: Backend) -> None:
    """Eight requests over three threads, three workers of three requests each."""

    class NotifyRequest(NamedTuple):
        user_id: int

    class NotifyHandler(Handler):
        @classmethod
        async def route(cls, *requests: NotifyRequest) -> list[Route]:
            return [Route(thread=request.user_id % 3) for request in requests]

        async def perform(self, *requests: NotifyRequest) -> None:
            notified.extend(request.user_id for request in requests)

    notified: list[int] = []
    queue = Queue(backend.storage)
    await queue.register(NotifyHandler, *[NotifyRequest(n) for n in range(1, 9)])
    async with asyncio.timeout(SOON):
        counts = await asyncio.gather(
            *[Worker(backend.another_coordinator(), queue, handlers=[NotifyHandler]).loop(3) for _ in range(3)]
        )

    assert sorted(notified) == list(range(1, 9))
    assert (sum(counts), max(counts)) == (8, 3)
    assert [n for n in notified if n % 3 == 1] == [1, 4, 7]


async def test_a_worker_lets_priorities_age_as_the_handler_says(bench: Bench) -> None:
    class AgeingHandler(JobHandler):
        name = SHARD.handler
        ageing_seconds = 10

        async def perform(self, *requests: Job) -> None:
            handled.extend(request.number for request in requests)

    handled: list[int] = []
    settings.worker_batch_size = 1
    await bench.backend.register("a", '[2, "a"]', priority=1)
    await bench.backend.advance(25)
    await bench.backend.register("a", '[1, "a"]')
    await bench.worker(AgeingHandler).loop(2)

    assert handled == [2, 1]


async def test_coordinators_made_one_a_worker_share_the_binds_of_a_storage() -> None:
    """Three `RuntimeCoordinator()`, as in the specification."""

    class SlowHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    running = most = 0
    settings.worker_batch_size = 1
    queue = Queue(RuntimeStorage())
    await queue.register(SlowHandler, *jobs(range(30)))
    await asyncio.gather(*[Worker(RuntimeCoordinator(), queue, handlers=[SlowHandler]).loop(10) for _ in range(3)])

    assert most == 1


async def test_an_idle_worker_starts_a_new_request_at_once(bench: Bench) -> None:
    """Nothing but a call brings it within ten seconds: it polls once a minute."""

    class WokenHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.set()

    handled = asyncio.Event()
    settings.coordinator_delay = 60
    async with bench.working(WokenHandler):
        await asyncio.sleep(0.1)  # the worker has looked and waits
        await bench.queue.register(WokenHandler, Job(1))
        await soon(handled)


async def test_a_request_for_a_thread_that_lingers_costs_one_call(bench: Bench) -> None:
    """It comes with the wake-up, so that only its settlement is left to send."""

    class LingeringHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.append(requests[0].number)
            calls.append("handled")

    handled: list[int] = []
    calls: list[str] = []
    settings.coordinator_delay = settings.worker_empty_pause = 60
    worker = bench.worker(LingeringHandler)
    note_calls(worker.coordinator, "bind", calls)
    note_calls(worker.queue.storage, "settle", calls)
    serving = asyncio.create_task(worker.loop())
    await bench.queue.register(LingeringHandler, Job(0))
    await asyncio.sleep(0.2)  # the worker has handled it, keeps the thread and waits
    calls.clear()
    for number in (1, 2):
        await bench.queue.register(LingeringHandler, Job(number))
        await until(lambda number=number: worker.stats.handled == number + 1)
    assert calls == ["handled", "settle"] * 2
    worker.stop()
    await serving

    assert handled == [0, 1, 2]


async def test_a_request_that_its_holder_fetched_is_not_handled_again_when_its_wake_up_comes(bench: Bench) -> None:
    class FetchingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            handled.extend(request.number for request in requests)

    async def wait_long(*arguments: Any) -> Any:
        called = await wait(*arguments)
        if isinstance(called, Arrival):
            held_up.set()
            await arrives.wait()
        return called

    handled: list[int] = []
    held_up, arrives = asyncio.Event(), asyncio.Event()
    settings.coordinator_delay = settings.worker_empty_pause = 60
    worker = bench.worker(FetchingHandler)
    wait, worker.coordinator.wait = worker.coordinator.wait, wait_long  # type: ignore[method-assign]
    serving = asyncio.create_task(worker.loop())
    await bench.queue.register(FetchingHandler, Job(1))
    await until(lambda: worker.stats.handled == 1)
    await bench.queue.register(FetchingHandler, Job(2))
    await soon(held_up)
    for lane in worker.lanes:
        lane.wake()
    await until(lambda: worker.stats.handled == 2)
    arrives.set()
    await bench.queue.register(FetchingHandler, Job(3))
    await until(lambda: 3 in handled)
    worker.stop()
    await serving

    assert handled == [1, 2, 3]


def note_calls(owner: Any, name: str, calls: list[str]) -> None:
    method = getattr(owner, name)

    async def noted(*arguments: Any) -> Any:
        calls.append(name)
        return await method(*arguments)

    setattr(owner, name, noted)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not is_so():  # noqa: ASYNC110 - no event says that a request was settled
            await asyncio.sleep(0.005)


async def test_a_worker_without_room_does_not_eat_calls_meant_for_others(bench: Bench) -> None:
    """It took its thread on a look of its own, when a lease had run out, with its wait for a call still pending."""

    class FullHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            if requests[0].thread == "left behind":
                first_is_full.set()
                await free.wait()
            else:
                second_was_called.set()

    first_is_full, second_was_called, free = asyncio.Event(), asyncio.Event(), asyncio.Event()
    settings.coordinator_delay = 60
    await bench.queue.register(FullHandler, Job(1, "left behind"))
    (shard,) = FullHandler.all_shards()
    await bench.backend.another_coordinator().bind(shard, BindRequest("dead/1", 1, 1, 0.3))
    if isinstance(bench.backend, RedisBackend):
        await bench.backend.redis.delete(f"{bench.backend.redis_storage.keys.base(shard)}:wake")
    async with bench.working(FullHandler):
        await asyncio.sleep(0.1)
        await bench.backend.advance(0.2 if isinstance(bench.backend, RedisBackend) else 0.4)
        await soon(first_is_full)
        async with bench.working(FullHandler):
            await asyncio.sleep(0.1)
            await bench.queue.register(FullHandler, Job(2, "new"))
            await soon(second_was_called)
            free.set()


async def test_requests_of_unknown_handlers_stay_where_they_are(bench: Bench) -> None:
    class KnownHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    class UnknownHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    await bench.queue.register(UnknownHandler, *jobs(range(3)))
    await bench.queue.register(KnownHandler, *jobs(range(3)))

    assert await bench.worker(KnownHandler).loop(6) == 3
    assert await bench.depth(UnknownHandler) == 3


async def test_a_drained_thread_is_let_go_after_its_pause(bench: Bench) -> None:
    class ShortHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

        async def stop(self) -> None:
            stopped.set()

    stopped = asyncio.Event()
    async with bench.working(ShortHandler):
        await bench.queue.register(ShortHandler, Job(1))
        await soon(stopped)


async def test_a_thread_that_drains_does_not_linger_where_others_came_to_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They came while its last requests were settled, so that it was not released then."""

    class DrainedHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    async def noting(settlements: list[Settlement]) -> list[Settled]:
        settled = await settle(settlements)
        if settlements[0].release:
            released.set()
        return settled

    released, leaving = asyncio.Event(), iter([False])
    settle: Any = bench.queue.storage.settle
    monkeypatch.setattr(bench.queue.storage, "settle", noting)
    settings.worker_empty_pause, settings.coordinator_delay = 60, 60
    await bench.queue.register(DrainedHandler, Job(1))
    async with bench.working(DrainedHandler) as worker:
        monkeypatch.setattr(worker, "is_leaving", lambda: next(leaving, True))
        await soon(released)


@contextmanager
def leaving_nothing_to_the_garbage_collector() -> Iterator[None]:
    """A collection stops the worker for milliseconds. Only the last fiber that ran is still known to its pool."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert len([each for each in gc.get_objects() if isinstance(each, Lane)]) <= 1
    finally:
        gc.enable()


async def test_threads_that_end_leave_nothing_to_the_garbage_collector(bench: Bench) -> None:

    class ShortHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    await bench.queue.register(ShortHandler, *[Job(1, f"thread {number}") for number in range(20)])
    with leaving_nothing_to_the_garbage_collector():
        assert await bench.worker(ShortHandler).loop(20) == 20


async def test_threads_that_waited_in_vain_leave_nothing_either(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is cancelled where it waits for its next request; an error refers to all that it went through."""

    class ShortHandler(JobHandler):
        async def perform(self, *requests: Job) -> None: ...

    async def noting(settlements: list[Settlement]) -> list[Settled]:
        settled = await settle(settlements)
        released.extend(settlement.lease.thread for settlement in settlements if settlement.release)
        if len(released) == 5:
            all_released.set()
        return settled

    released: list[str] = []
    all_released, settle = asyncio.Event(), bench.queue.storage.settle
    monkeypatch.setattr(bench.queue.storage, "settle", noting)
    settings.worker_concurrency = 5
    await bench.queue.register(ShortHandler, *[Job(1, f"thread {number}") for number in range(5)])
    with leaving_nothing_to_the_garbage_collector():
        async with bench.working(ShortHandler):
            await soon(all_released)


async def test_a_drained_thread_does_not_keep_others_waiting(bench: Bench) -> None:
    """However long it may linger, and with room for one thread only."""

    class OneByOneHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            threads.append(requests[0].thread)
            if len(threads) == 5:
                done.set()

    threads: list[str] = []
    done = asyncio.Event()
    settings.worker_empty_pause, settings.coordinator_delay = 60, 60
    for thread in "abcde":
        await bench.queue.register(OneByOneHandler, Job(1, thread))
    async with bench.working(OneByOneHandler):
        await soon(done)

    assert threads == list("abcde")


async def test_a_worker_handles_as_many_threads_at_once_as_it_may(bench: Bench) -> None:
    class MeetingHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await barrier.wait()
            running -= 1

    running = most = 0
    barrier = asyncio.Barrier(4)
    settings.worker_concurrency = 4
    for number in range(8):
        await bench.queue.register(MeetingHandler, Job(number, str(number)))
    async with asyncio.timeout(SOON):
        assert await bench.worker(MeetingHandler).loop(8) == 8

    assert most == 4


async def test_one_thread_has_one_worker_at_a_time(bench: Bench) -> None:
    class ExclusiveHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            thread = requests[0].thread
            assert thread not in running
            running.add(thread)
            await asyncio.sleep(0.001)
            running.discard(thread)
            done.setdefault(thread, []).extend(request.number for request in requests)
            if sum(map(len, done.values())) == 150:
                all_done.set()

    running: set[str] = set()
    done: dict[str, list[int]] = {}
    all_done = asyncio.Event()
    settings.worker_batch_size, settings.worker_concurrency = 3, 3
    for start in range(0, 30, 5):
        for thread in "abcde":
            await bench.queue.register(ExclusiveHandler, *jobs(range(start, start + 5), thread))
    async with bench.working(ExclusiveHandler, workers=3):
        await soon(all_done)

    assert done == {thread: list(range(30)) for thread in "abcde"}
    assert await bench.dead(ExclusiveHandler) == []


async def test_one_worker_serves_several_handlers(bench: Bench) -> None:
    class FirstHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            served.add("first")

    class SecondHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            served.add("second")

    served: set[str] = set()
    await bench.queue.register(FirstHandler, Job(1))
    await bench.queue.register(SecondHandler, Job(1))
    await bench.worker(FirstHandler, SecondHandler).loop(2)

    assert served == {"first", "second"}


async def test_a_handler_over_several_shards_is_served_whole(bench: Bench) -> None:
    class SpreadHandler(JobHandler):
        shards = 4

        async def perform(self, *requests: Job) -> None:
            done.update(request.thread for request in requests)

    done: set[str] = set()
    threads = {str(n) for n in range(20)}
    await bench.queue.register(SpreadHandler, *[Job(1, thread) for thread in threads])
    spread = {state.depth for state in await bench.backend.storage.observe(SpreadHandler.all_shards())}
    await bench.worker(SpreadHandler).loop(20)

    assert done == threads
    assert spread != {0, 20}


async def test_a_handler_may_be_an_ordinary_function(bench: Bench) -> None:
    class SyncHandler(JobHandler):
        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            time.sleep(0.01)
            done.extend((request.number, current().sequences[place]) for place, request in enumerate(requests))

    done: list[tuple[int, int]] = []
    receipts = await bench.queue.register(SyncHandler, *jobs(range(3)))
    await bench.worker(SyncHandler).loop(3)

    assert done == [(number, receipt.sequence) for number, receipt in enumerate(receipts)]


async def test_an_ordinary_function_has_an_os_thread_for_each_thread(bench: Bench) -> None:
    """However few CPUs there are: asyncio's own executor has 32 OS threads at most."""

    class BlockingHandler(JobHandler):
        def perform(self, *requests: Job) -> None:  # type: ignore[override]
            meeting.wait(SOON)

    meeting = threading.Barrier(40)
    settings.worker_concurrency = 40
    await bench.queue.register(BlockingHandler, *[Job(1, str(thread)) for thread in range(40)])

    assert await bench.worker(BlockingHandler).loop(40) == 40
    assert not meeting.broken


async def test_the_context_tells_what_is_in_hand(bench: Bench) -> None:
    class CuriousHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            seen.append(current())

    seen: list[Context] = []
    receipts = await bench.queue.register(CuriousHandler, *jobs(range(2)), headers={"trace": "7"})
    await bench.worker(CuriousHandler).loop(2)
    (context,) = seen

    assert (context.tube, context.attempt) == (receipts[0].tube, 1)
    assert list(context.sequences) == [receipt.sequence for receipt in receipts]
    assert context.headers == [{"trace": "7"}, {"trace": "7"}]
    assert context.registered_ms[0] == pytest.approx(time.time() * 1000, abs=5000)
    assert context.lease.fence > 0


async def test_there_is_no_context_outside_a_handler() -> None:
    with pytest.raises(ShardedQueueError, match="no batch here"):
        current()


@pytest.mark.redis
async def test_a_worker_goes_on_when_redis_is_back(own_backend: Callable[..., Any]) -> None:
    class PatientHandler(JobHandler):
        async def perform(self, *requests: Job) -> None:
            done.extend(request.number for request in requests)
            more.set()

    done: list[int] = []
    more = asyncio.Event()
    settings.coordinator_delay = 0.1
    server, backend = own_backend(appendonly="yes")
    bench = Bench(backend)
    async with bench.working(PatientHandler):
        await bench.queue.register(PatientHandler, *jobs(range(3)))
        await soon(more)
        more.clear()
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await bench.queue.register(PatientHandler, *jobs(range(3, 6)))
        await soon(more)

    assert done == list(range(6))


async def test_a_worker_is_refused_a_name_that_a_lease_cannot_hold(backend: Backend) -> None:
    with pytest.raises(ValueError, match="name"):
        Worker(backend.coordinator, Queue(backend.storage), name="my worker")


async def test_a_coordinator_of_another_medium_is_refused(backend: Backend) -> None:
    other = RuntimeCoordinator() if isinstance(backend, RedisBackend) else None
    if other is None:
        from redis.asyncio import Redis

        from sharded_queue import RedisCoordinator

        other = RedisCoordinator(Redis())  # type: ignore[assignment]

    with pytest.raises(ValueError, match="Coordinator"):
        Worker(other, Queue(backend.storage))  # type: ignore[arg-type]
