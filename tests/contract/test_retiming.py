"""A person gives a delayed request or a schedule another time: it comes then, once, and all others as before."""

import time

import pytest

from sharded_queue.storage import Entry, Registration, Schedule
from sharded_queue.timing import by_cron, every
from tests.contract.backend import SHARD, Backend, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, make_lossy

PULSE = Schedule("pulse", every(600), "a", 0, b"pulse")
TEN_YEARS_MS = 315_360_000_000


def ms_from_now(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


async def put_off(backend: Backend, *requests: str) -> list[int]:
    entry = Entry("a", 0, [request.encode() for request in requests])
    (first,) = (await backend.storage.register(SHARD, Registration([entry], delay_seconds=600))).firsts
    return list(range(first, first + len(requests)))


async def test_a_delayed_request_that_is_moved_comes_at_its_new_time(backend: Backend) -> None:
    first, second, third = await put_off(backend, "d1", "d2", "d3")
    due_ms = ms_from_now(60)
    moved = await backend.storage.move_delayed(SHARD, [third, second, second, 10**9], due_ms)

    assert moved == [third, second]
    assert [each.sequence for each in await backend.storage.delayed(SHARD)] == [second, third, first]
    assert [each.due_ms for each in await backend.storage.delayed(SHARD, 2)] == [due_ms, due_ms]
    await backend.advance(61)
    assert handed(await backend.bind_one()) == ["d2", "d3"]
    assert (await backend.observe()).delayed == 1


async def test_a_delayed_request_that_is_put_off_does_not_come_before(backend: Backend) -> None:
    numbers = await put_off(backend, "d1")
    await backend.storage.move_delayed(SHARD, numbers, ms_from_now(1200))
    await backend.advance(601)

    assert await backend.bind() == []
    await backend.advance(600)
    assert handed(await backend.bind_one()) == ["d1"]


async def test_a_request_that_is_in_its_tube_or_cancelled_is_not_moved(backend: Backend) -> None:
    ran, cancelled = await put_off(backend, "d1", "d2")
    await backend.storage.run_delayed(SHARD, [ran])
    await backend.storage.cancel(SHARD, [cancelled])

    assert await backend.storage.move_delayed(SHARD, [ran, cancelled], ms_from_now(60)) == []
    assert await backend.storage.delayed(SHARD) == []
    assert await backend.waiting("a") == ["d1"]


@pytest.mark.parametrize("off_ms", [-1000, TEN_YEARS_MS + 3_600_000])
async def test_a_time_that_has_passed_or_is_too_far_is_refused(backend: Backend, off_ms: int) -> None:
    numbers = await put_off(backend, "d1")
    (before,) = await backend.storage.delayed(SHARD)
    with pytest.raises(ValueError, match=r"the new time is 2\S+Z: .* after \S+Z, the present, and at most ten years"):
        await backend.storage.move_delayed(SHARD, numbers, ms_from_now(0) + off_ms)

    assert await backend.storage.delayed(SHARD) == [before]


async def test_a_delayed_request_that_is_moved_wakes_a_worker(backend: Backend) -> None:
    """It may come before what the workers wait for."""
    numbers = await put_off(backend, "d1")
    await backend.coordinator.wait([SHARD], "w/1", 0.01)  # what the registration announced
    await backend.storage.move_delayed(SHARD, numbers, ms_from_now(60))

    assert await backend.coordinator.wait([SHARD], "w/1", 5) == SHARD


async def test_a_schedule_that_is_edited_occurs_by_its_new_timing(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, PULSE)
    next_ms = await backend.storage.edit_schedule(SHARD, "pulse", every(60))
    (found,) = await backend.storage.schedules(SHARD)

    assert next_ms == pytest.approx(ms_from_now(60), abs=5000)
    assert (found.timing, found.next_ms, found.thread, found.body) == ("every 60 s", next_ms, "a", b"pulse")
    await backend.advance(61)
    await backend.storage.register_due(SHARD)
    assert await backend.waiting("a") == ["pulse"]


async def test_a_schedule_can_change_from_an_interval_to_a_cron_line(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, PULSE)
    timing = by_cron("0 3 * * *", "Europe/Berlin")
    next_ms = await backend.storage.edit_schedule(SHARD, "pulse", timing)

    assert next_ms == timing.after(ms_from_now(0))
    assert [each.timing for each in await backend.storage.schedules(SHARD)] == [str(timing)]


async def test_a_schedule_that_is_edited_to_the_timing_that_it_has_occurs_when_it_would_have(backend: Backend) -> None:
    next_ms = await backend.storage.schedule(SHARD, PULSE)
    await backend.advance(100)

    assert await backend.storage.edit_schedule(SHARD, "pulse", PULSE.timing) == next_ms - 100_000 * is_shifted(backend)


def is_shifted(backend: Backend) -> bool:
    """On Redis, time goes by because the moments come nearer."""
    return isinstance(backend, RedisBackend)


async def test_a_schedule_that_is_gone_is_not_edited(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, PULSE)
    await backend.storage.unschedule(SHARD, "pulse")

    assert await backend.storage.edit_schedule(SHARD, "pulse", every(60)) is None
    assert await backend.storage.schedules(SHARD) == []


async def test_a_schedule_that_is_edited_wakes_a_worker(backend: Backend) -> None:
    await backend.storage.schedule(SHARD, PULSE)
    await backend.coordinator.wait([SHARD], "w/1", 0.01)  # what the schedule announced
    await backend.storage.edit_schedule(SHARD, "pulse", every(60))

    assert await backend.coordinator.wait([SHARD], "w/1", 5) == SHARD


@pytest.mark.redis
async def test_an_answer_that_was_lost_comes_again(on_redis: RedisBackend) -> None:
    numbers = await put_off(on_redis, "d1")
    await on_redis.storage.schedule(SHARD, PULSE)
    due_ms = ms_from_now(60)
    for change in (
        lambda: on_redis.storage.move_delayed(SHARD, numbers, due_ms),
        lambda: on_redis.storage.edit_schedule(SHARD, "pulse", every(60)),
    ):
        link = make_lossy(on_redis.redis_storage)
        link.fates.append(ANSWER_LOST)
        assert await change()
