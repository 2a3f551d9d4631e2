"""A person runs a schedule or a delayed request now: one request more in its tube, and no plan changes."""

import pytest

from sharded_queue.backends.redis import storage as redis_storage
from sharded_queue.steps import in_steps
from sharded_queue.storage import Entry, First, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout
from tests.contract.backend import SHARD, Backend, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, make_lossy

PULSE = Schedule("pulse", every(600), "a", 0, b"pulse")


async def put_off(backend: Backend, *requests: str, thread: str = "a") -> list[int]:
    entry = Entry(thread, 0, [request.encode() for request in requests])
    (first,) = (await backend.storage.register(SHARD, Registration([entry], delay_seconds=60))).firsts
    return list(range(first, first + len(requests)))


async def test_a_schedule_that_is_run_registers_its_request_behind_the_others(backend: Backend) -> None:
    await backend.register("a", "1")
    next_ms = await backend.storage.schedule(SHARD, PULSE)
    first = await backend.storage.run_schedule(SHARD, "pulse")
    batch = await backend.bind_one()

    assert first == First("a", 0, batch.last)
    assert handed(batch) == ["1", "pulse"]
    assert [schedule.next_ms for schedule in await backend.storage.schedules(SHARD)] == [next_ms]
    assert (await backend.observe()).registered == 2


async def test_a_schedule_that_was_run_occurs_at_its_time_all_the_same(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, PULSE)
    await backend.storage.run_schedule(SHARD, "pulse")
    await backend.advance(601)
    await backend.storage.register_due(SHARD)

    assert await backend.waiting("a") == ["pulse", "pulse"]


async def test_a_schedule_that_does_not_exist_is_not_run(backend: Backend) -> None:
    assert await backend.storage.run_schedule(SHARD, "pulse") is None
    assert (await backend.observe()).depth == 0


async def test_a_schedule_is_run_on_the_thread_that_its_key_has_now(backend: Backend) -> None:
    schedule = PULSE._replace(thread="1:1", body=b"#00000003pulse")
    await backend.storage.schedule(SHARD, schedule, Layout(1, 2))
    await backend.storage.reshard(SHARD, 4)

    first = await backend.storage.run_schedule(SHARD, "pulse")
    assert first
    assert first.thread == "2:3"


async def test_delayed_requests_that_are_run_join_their_tube_in_the_order_that_was_asked_for(backend: Backend) -> None:
    first, second, third = await put_off(backend, "d1", "d2", "d3")
    ran = await backend.storage.run_delayed(SHARD, [third, first, first, 10**9])
    state = await backend.observe()

    assert ran == [third, first]
    assert await backend.waiting("a") == ["d3", "d1"]
    assert (state.delayed, state.depth, state.registered) == (1, 2, 3)
    assert [each.sequence for each in await backend.storage.delayed(SHARD)] == [second]
    assert state.lag_seconds < 30, "they count as registered now"


async def test_a_delayed_request_that_was_run_is_neither_run_nor_cancelled_again(backend: Backend) -> None:
    numbers = await put_off(backend, "d1")
    await backend.storage.run_delayed(SHARD, numbers)

    assert await backend.storage.run_delayed(SHARD, numbers) == []
    assert await backend.storage.cancel(SHARD, numbers) == []
    await backend.advance(61)
    assert handed(await backend.bind_one()) == ["d1"]


async def test_a_delayed_request_that_is_run_wakes_a_worker(backend: Backend) -> None:
    numbers = await put_off(backend, "d1")
    await backend.coordinator.wait([SHARD], "w/1", 0.01)  # what the registration announced
    await backend.storage.run_delayed(SHARD, numbers)

    assert await backend.coordinator.wait([SHARD], "w/1", 5) == SHARD


@pytest.mark.redis
async def test_an_answer_that_was_lost_comes_again_and_nothing_is_run_twice(on_redis: RedisBackend) -> None:
    numbers = await put_off(on_redis, "d1")
    await on_redis.storage.schedule(SHARD, PULSE)
    for run in (
        lambda: on_redis.storage.run_delayed(SHARD, numbers),
        lambda: on_redis.storage.run_schedule(SHARD, "pulse"),
    ):
        link = make_lossy(on_redis.redis_storage)
        link.fates.append(ANSWER_LOST)
        assert await run()

    assert await on_redis.waiting("a") == ["d1", "pulse"]


@pytest.mark.parametrize("act", ["cancel", "run_delayed", "move_delayed"])
async def test_a_step_takes_five_hundred_delayed_requests_at_most(backend: Backend, act: str) -> None:
    arguments = [SHARD, range(501), *([2_000_000_000_000] if act == "move_delayed" else [])]
    with pytest.raises(ValueError, match="501 numbers are given: at most 500 at once"):
        await getattr(backend.storage, act)(*arguments)


async def test_numbers_of_delayed_requests_come_the_next_due_first(backend: Backend) -> None:
    numbers = await put_off(backend, *map(str, range(200)))
    (soon,) = (await backend.storage.register(SHARD, Registration([Entry("b", 0, [b"1"])], delay_seconds=30))).firsts

    assert await backend.storage.delayed_numbers(SHARD) == [soon, *numbers]


async def test_delayed_requests_are_listed_in_pages(on_redis: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_storage, "STEP_NUMBERS", 3)
    numbers = await put_off(on_redis, *map(str, range(8)))

    assert [each.sequence for each in await on_redis.storage.delayed(SHARD, 7)] == numbers[:7]
    assert [each.sequence for each in await on_redis.storage.delayed(SHARD, 100)] == numbers


async def test_a_step_runs_no_more_than_its_bytes(on_redis: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_storage, "STEP_BYTES", 100)
    numbers = await put_off(on_redis, "1" * 100, "2" * 100, "3" * 100)
    ran = [step async for step in in_steps(numbers, lambda part: on_redis.storage.run_delayed(SHARD, part))]

    assert ran == [[number] for number in numbers]
    assert [request[0] for request in await on_redis.waiting("a")] == ["1", "2", "3"]
