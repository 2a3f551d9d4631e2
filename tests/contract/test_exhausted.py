"""A thread stops at a request without tries, with the request in its place, until a person resumes it."""

import pytest

from sharded_queue.coordinator import BindRequest
from sharded_queue.state import Blocked, Exhausted
from sharded_queue.storage import Batch, Cause, Failure, Part, Waiting, digest_of
from sharded_queue.tube import Tube
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, RedisBackend
from tests.contract.lossy import ANSWER_LOST, FINE, make_lossy

ANNA = Cause("anna", "no such account")


async def exhaust(backend: Backend, thread: str = "a", error: str = "Refused: no cover", attempt: int = 3) -> Batch:
    """The first request of the oldest thread that is free is tried for the last time."""
    batch = await backend.bind_one(wanted=1)
    assert batch.lease.thread == thread
    failure = Failure(batch.lease, batch.tube.priority, batch.first, attempt, error, stops=True)
    assert await backend.storage.fail(failure)
    return batch


async def stopped(backend: Backend) -> list[Exhausted]:
    found, page = await backend.storage.exhausted(SHARD)
    assert not page
    return found


async def state_of(backend: Backend, thread: str = "a") -> str:
    return next(tube.state for tube in (await backend.observe()).oldest if tube.thread == thread)


async def test_no_worker_gets_a_thread_that_stands_still(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await exhaust(backend)
    await backend.register("a", "urgent", priority=-1)
    await backend.register("b", "1")

    assert [batch.lease.thread for batch in await backend.bind(threads=10)] == ["b"]
    assert await backend.waiting("a") == ["1", "2"]
    assert await backend.waiting("a", -1) == ["urgent"]
    state = await backend.observe()
    assert (state.exhausted, state.blocked, state.paused, state.depth, state.letters) == (1, 1, 0, 4, 0)
    assert state.blocked_threads == [Blocked("a", 3, float("inf"))]
    assert await state_of(backend) == "exhausted"


async def test_it_says_why_it_stands_still(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await exhaust(backend)
    (found,) = await stopped(backend)
    assert (found.thread, found.priority, found.attempts, found.crashes) == ("a", 0, 3, 0)
    assert found.error == "Refused: no cover"
    told = await backend.storage.explain(SHARD, "a")
    assert (told.exhausted, told.blocked_seconds, told.paused_by) == (found, None, None)
    assert [failure.error for failure in told.failures] == ["Refused: no cover"]


async def test_requests_that_come_wait_behind_it(backend: Backend) -> None:
    await backend.register("a", "1")
    await exhaust(backend)
    await backend.register("a", "2")
    await backend.register("a", "3", priority=-1)
    assert await backend.bind(threads=10) == []


async def test_resumed_it_is_tried_anew(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await exhaust(backend)
    assert await backend.storage.pause(SHARD, "a", False)

    assert await stopped(backend) == []
    batch = await backend.bind_one(wanted=10)
    assert (batch.attempt, batch.first, len(batch.messages)) == (1, 0, 1)
    assert not await backend.storage.pause(SHARD, "a", False)


@pytest.mark.parametrize("paused_first", [True, False])
async def test_neither_a_pause_nor_a_stop_ends_the_other(backend: Backend, paused_first: bool) -> None:
    await backend.register("a", "1")
    if paused_first:
        batch = await backend.bind_one()
        await backend.storage.pause(SHARD, "a", True, ANNA)
        await backend.storage.fail(Failure(batch.lease, 0, batch.first, 3, "E", stops=True))
    else:
        await exhaust(backend)
        await backend.storage.pause(SHARD, "a", True, ANNA)
    assert await state_of(backend) == "paused"
    told = await backend.storage.explain(SHARD, "a")
    assert told.exhausted
    assert told.paused_by
    assert told.blocked_seconds == float("inf")

    assert await backend.storage.pause(SHARD, "a", False)
    assert await state_of(backend) == "exhausted"
    assert await backend.bind() == []
    assert await backend.storage.pause(SHARD, "a", False)
    assert await state_of(backend) == "ready"


async def test_threads_that_are_tried_anew_stay_paused(backend: Backend) -> None:
    await backend.register("a", "1")
    await exhaust(backend)
    await backend.storage.pause(SHARD, "a", True, ANNA)
    assert await backend.storage.try_anew(SHARD, await stopped(backend)) == ["a"]
    assert await state_of(backend) == "paused"
    assert (await backend.observe()).exhausted == 0
    assert await backend.storage.pause(SHARD, "a", False)
    assert (await backend.bind_one()).attempt == 1


async def test_a_pause_that_ends_by_itself_ends_no_stop(backend: Backend) -> None:
    await backend.register("a", "1")
    await exhaust(backend)
    await backend.storage.pause(SHARD, "a", True, ANNA, 60)
    await backend.advance(61)
    assert (await backend.storage.explain(SHARD, "a")).blocked_seconds is None
    assert await state_of(backend) == "exhausted"
    assert (await backend.observe()).blocked_threads == [Blocked("a", 1, float("inf"))]
    assert await backend.bind() == []
    assert await state_of(backend) == "exhausted"


async def test_what_is_tried_anew_is_what_was_listed(backend: Backend) -> None:
    """One that failed again since is another matter: its error may be another one."""
    await backend.register("a", "1")
    await exhaust(backend)
    listed = await stopped(backend)
    assert await backend.storage.try_anew(SHARD, listed) == ["a"]
    assert await backend.storage.try_anew(SHARD, listed) == []
    await backend.advance(1)
    await exhaust(backend, error="Closed")
    earlier = [each._replace(since_ms=each.since_ms - 1) for each in await stopped(backend)]
    assert await backend.storage.try_anew(SHARD, earlier) == []
    assert await state_of(backend) == "exhausted"


async def test_dropping_the_request_ends_its_stop(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    await exhaust(backend)
    place, message = (await backend.storage.peek(Tube(SHARD, "a", 0), 1))[0]
    dropped = await backend.storage.drop(SHARD, "a", ANNA, [Waiting(0, place, digest_of(message))])
    assert len(dropped.letters) == 1
    assert await stopped(backend) == []
    batch = await backend.bind_one(wanted=10)
    assert (batch.first, batch.attempt) == (place + 1, 1)
    assert [letter.attempts for letter in await backend.storage.dead(SHARD)] == [3]


async def test_dropping_others_does_not(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    await exhaust(backend)
    place, message = (await backend.storage.peek(Tube(SHARD, "a", 0), 2))[1]
    assert len((await backend.storage.drop(SHARD, "a", ANNA, [Waiting(0, place, digest_of(message))])).letters) == 1
    assert [each.attempts for each in await stopped(backend)] == [3]
    assert await backend.bind() == []


async def test_dropping_the_request_ends_no_pause(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await exhaust(backend)
    await backend.storage.pause(SHARD, "a", True, ANNA)
    place, message = (await backend.storage.peek(Tube(SHARD, "a", 0), 1))[0]
    await backend.storage.drop(SHARD, "a", ANNA, [Waiting(0, place, digest_of(message))])
    assert await state_of(backend) == "paused"
    assert (await backend.observe()).exhausted == 0
    assert await backend.storage.pause(SHARD, "a", False)
    assert await state_of(backend) == "ready"


async def test_dropping_all_leaves_nothing(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await exhaust(backend)
    assert len((await backend.storage.drop(SHARD, "a", ANNA)).letters) == 2
    state = await backend.observe()
    assert (state.exhausted, state.blocked, state.depth) == (0, 0, 0)


@pytest.mark.parametrize("is_tried_anew", [True, False])
async def test_letters_go_to_the_head_of_a_thread_that_stands_still(backend: Backend, is_tried_anew: bool) -> None:
    """In steps, and it stays where it was: a person who resumes it between two steps begins with none of them."""
    await backend.register("a", "0", "1")
    batch = await backend.bind_one(wanted=1)
    await backend.fail(batch, None)
    await backend.release(batch.lease)
    await exhaust(backend)
    (letter,) = await backend.storage.dead(SHARD)
    assert await backend.storage.settle_dead(SHARD, [letter.number], "head", Part(is_first=True, is_last=False))
    assert await state_of(backend) == "paused"
    if is_tried_anew:
        assert await backend.storage.try_anew(SHARD, await stopped(backend)) == ["a"]
        assert await backend.bind() == []
    await backend.register("b", "0")
    other = await backend.bind_one(wanted=1)
    await backend.fail(other, None)
    await backend.release(other.lease)
    (second,) = await backend.storage.dead(SHARD)
    await backend.register("a", "2")
    second_part = Part(is_first=False, is_last=True)
    await backend.storage.settle_dead(SHARD, [second.number], "head", second_part)
    assert await backend.waiting("a") == ["0", "1", "2"]


async def test_a_request_that_kills_its_workers_stops_its_thread(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    for _ in range(5):
        await backend.crash_with(1, is_alone=True)
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS, stops_exhausted=True))
    assert bound.batches == []
    (found,) = await stopped(backend)
    assert (found.crashes, found.attempts) == (5, 0)
    assert found.error == "5 workers died with this request in hand, the last one while it handled nothing else"
    assert await backend.waiting("a") == ["1", "2"]


async def test_a_drop_decides_nothing_about_a_request_that_kills_its_workers(backend: Backend) -> None:
    """It knows no policy. The request is tried once more, and the next bind decides."""
    await backend.register("a", "1", "2")
    for _ in range(5):
        await backend.crash_with(1, is_alone=True)
    place, message = (await backend.storage.peek(Tube(SHARD, "a", 0), 2))[1]
    assert len((await backend.storage.drop(SHARD, "a", ANNA, [Waiting(0, place, digest_of(message))])).letters) == 1
    assert await stopped(backend) == []
    assert await backend.waiting("a") == ["1"]
    await backend.crash_with(1, is_alone=True)
    await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS, stops_exhausted=True))
    assert [each.crashes for each in await stopped(backend)] == [6]


async def test_many_threads_are_listed_in_pages(backend: Backend) -> None:
    names = [f"t{number:04}" for number in range(700)]
    for name in names:
        await backend.register(name, "1")
    while batches := await backend.bind("w/1", 500, 1):
        for batch in batches:
            await backend.storage.fail(Failure(batch.lease, 0, batch.first, 3, "E", stops=True))
    listed, page, pages = set[str](), "", 0
    while page or not pages:
        found, page = await backend.storage.exhausted(SHARD, page)
        pages += 1
        listed |= {each.thread for each in found}
        assert set(await backend.storage.try_anew(SHARD, found)) <= set(names)
    assert listed == set(names)
    assert (await backend.observe()).exhausted == 0
    assert (await backend.observe()).ready == 700


async def test_a_stop_whose_answer_was_lost_is_no_loss(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    make_lossy(on_redis.storage).fates.extend([ANSWER_LOST, FINE])
    await exhaust(on_redis)
    assert [each.attempts for each in await stopped(on_redis)] == [3]
