"""What a storage reports of itself: depth, lag, threads, holders."""

import math
import time

import pytest

from sharded_queue.coordinator import BindRequest
from sharded_queue.state import About
from sharded_queue.storage import Entry, Failure, Registration, Schedule
from sharded_queue.timing import every
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, assert_went_by


async def test_an_empty_shard_is_all_zero_and_was_never_born(backend: Backend) -> None:
    state = await backend.observe()

    assert (state.depth, state.threads, state.ready, state.bound, state.born) == (0, 0, 0, 0, None)


async def test_the_marker_of_a_shard_stays_once_it_is_born(backend: Backend) -> None:
    await backend.register("a", "1")
    born = (await backend.observe()).born
    await backend.settle(await backend.bind_one(), release=True)
    await backend.advance(5)
    await backend.register("a", "2")

    assert born is not None
    assert (await backend.observe()).born == born


async def test_depth_counts_what_is_not_yet_settled(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    await backend.register("b", "4")
    batch = await backend.bind_one()
    held = (await backend.observe()).depth
    await backend.settle(batch, through=batch.first)

    assert (held, (await backend.observe()).depth) == (4, 3)


async def test_counters_add_up(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3", "4")
    batch = await backend.bind_one()
    await backend.settle(batch, through=batch.first + 1)
    await backend.fail(batch._replace(first=batch.first + 2), delay=None)
    state = await backend.observe()

    assert (state.registered, state.settled, state.dead, state.depth) == (4, 2, 1, 1)


async def test_the_handlers_time_is_added_up(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    batch = (await backend.settle(batch, wanted=1, busy=0.25)).batch
    assert batch
    await backend.settle(batch, busy=0.5)

    assert (await backend.observe()).busy_seconds == pytest.approx(0.75)


async def test_a_settlement_sent_again_adds_no_time(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.settle(batch, busy=0.25)
    await backend.settle(batch, busy=0.25)

    assert (await backend.observe()).busy_seconds == pytest.approx(0.25)


async def test_threads_are_counted_as_ready_bound_and_blocked(backend: Backend) -> None:
    for thread in "abcde":
        await backend.register(thread, "1")
    await backend.fail(await backend.bind_one(), delay=60)
    await backend.bind(threads=2)
    state = await backend.observe()

    assert (state.threads, state.ready, state.bound, state.blocked) == (5, 2, 2, 1)


async def test_blocked_threads_are_listed_with_when_they_are_free_and_hide_no_others(backend: Backend) -> None:
    for thread, depth in (("late", 4), ("soon", 1), ("paused", 3), ("free", 2)):
        await backend.register(thread, *map(str, range(depth)))
        if thread in ("late", "soon"):
            await backend.fail(await backend.bind_one(), delay=60 if thread == "late" else 5)
    for thread in ("paused", "empty"):
        await backend.storage.pause(SHARD, thread, True)
    state = await backend.observe(worst=1)

    assert [(blocked.thread, blocked.depth) for blocked in state.blocked_threads] == [
        *(("soon", 1), ("late", 4), ("paused", 3)),
    ]
    soon, late, paused = (blocked.seconds for blocked in state.blocked_threads)
    assert soon <= 5 < late <= 60 < paused == math.inf
    assert state.blocked == 4
    assert ("free", 2) in state.deepest


async def test_the_deepest_threads_are_listed_deepest_first(backend: Backend) -> None:
    for thread, depth in (("a", 2), ("b", 4), ("c", 3), ("single", 1)):
        await backend.register(thread, *map(str, range(depth)))

    assert (await backend.observe(worst=2)).deepest == [("b", 4), ("c", 3)]


async def test_a_thread_with_one_request_left_is_not_among_the_deepest(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one(wanted=1)
    batch = (await backend.settle(batch, wanted=1)).batch
    two_left = (await backend.observe()).deepest
    assert batch
    await backend.settle(batch)

    assert (two_left, (await backend.observe()).deepest) == ([("a", 2)], [])


async def test_a_threads_depth_spans_its_priorities(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.register("a", "3", priority=5)

    assert (await backend.observe()).deepest == [("a", 3)]


async def test_lag_is_the_age_of_the_oldest_request(backend: Backend) -> None:
    began = time.monotonic()
    await backend.register("old", "1")
    await backend.advance(10)
    await backend.register("new", "2", "3")
    state = await backend.observe()

    assert_went_by(began, state.lag_seconds - 10)
    assert [(tube.thread, tube.depth) for tube in state.oldest] == [("old", 1), ("new", 2)]


async def test_a_tube_whose_head_was_settled_is_as_old_as_the_next_request(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.advance(10)
    began = time.monotonic()
    await backend.register("a", "2")
    batch = await backend.bind_one(wanted=1)
    await backend.settle(batch)

    assert_went_by(began, (await backend.observe()).lag_seconds)


async def test_a_drained_tube_has_no_lag(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.advance(10)
    await backend.settle(await backend.bind_one())
    state = await backend.observe()

    assert (state.lag_seconds, state.oldest) == (0.0, [])


async def test_holders_are_listed_with_owner_and_fence(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one("pod-7/abc")
    (hold,) = (await backend.observe()).held

    assert (hold.thread, hold.owner, hold.fence) == ("a", "pod-7/abc", batch.lease.fence)


async def test_the_oldest_tubes_are_told_with_what_becomes_of_their_threads(backend: Backend) -> None:
    threads = ["bound", "blocked", "paused", "ready"]
    for thread in threads:
        await backend.register(thread, "1")
        await backend.advance(1)
    _, failed = await backend.bind(threads=2)
    await backend.fail(failed, delay=60)
    await backend.storage.pause(SHARD, "paused", True)
    before = (await backend.observe()).oldest
    await backend.storage.pause(SHARD, None, True)

    assert [(tube.thread, tube.state) for tube in before] == [(name, name) for name in threads]
    assert [tube.state for tube in (await backend.observe()).oldest] == ["bound", "paused", "paused", "paused"]


async def test_a_holder_of_a_drained_thread_is_not_busy(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.settle(batch)
    (hold,) = (await backend.observe()).held

    assert hold.busy_seconds == 0.0


async def test_what_a_holder_has_in_hand_is_counted(backend: Backend) -> None:
    """The batch of its handler, not all that waits in the thread; nothing once the batch is settled."""
    await backend.register("a", *"12345")
    batch = await backend.bind_one(wanted=2)
    (handed,) = (await backend.observe()).held
    await backend.settle(batch)
    (settled,) = (await backend.observe()).held

    assert (handed.in_hand, settled.in_hand) == (2, 0)


async def test_a_look_of_a_worker_is_remembered(backend: Backend) -> None:
    never = (await backend.observe()).polled_seconds
    await backend.bind()

    polled_seconds = (await backend.observe()).polled_seconds
    assert never is None
    assert polled_seconds is not None
    assert polled_seconds < 10


async def test_a_look_without_room_is_none(backend: Backend) -> None:
    await backend.bind(threads=0)
    await backend.bind(wanted=0)

    assert (await backend.observe()).polled_seconds is None


async def test_requests_are_unconsumed_once_nobody_asked_for_them_in_a_minute(backend: Backend) -> None:
    await backend.register("a", "1")
    fresh = (await backend.observe()).is_unconsumed
    await backend.advance(61)
    old = (await backend.observe()).is_unconsumed
    await backend.bind_one()

    assert (fresh, old, (await backend.observe()).is_unconsumed) == (False, True, False)


async def test_each_of_the_oldest_tubes_has_its_own_depth(backend: Backend) -> None:
    """Whatever numbers stand beside it in the record of its thread: here priorities are numbers of requests too."""
    for priority in range(12):
        await backend.register("a", *["x"] * (priority + 1), priority=priority)

    told = {tube.priority: tube.depth for tube in (await backend.observe(worst=20)).oldest}
    assert told == {priority: priority + 1 for priority in range(12)}


async def test_a_thread_whose_first_request_is_tried_again_is_failing(backend: Backend) -> None:
    """Only the tube whose first request failed, and only while a worker tries it."""
    await backend.register("a", "1", "2", priority=-3)
    await backend.register("a", "3", priority=7)

    async def states() -> list[str]:
        return [tube.state for tube in sorted((await backend.observe()).oldest, key=lambda tube: tube.priority)]

    seen = []
    for attempt in (1, 2):
        batch = await backend.bind_one()
        seen.append(await states())
        await backend.storage.fail(Failure(batch.lease, -3, batch.first, attempt, "oops", 1.0))
        seen.append(await states())
        await backend.advance(1)
    again = await backend.bind_one()
    await backend.settle(again, through=again.first, wanted=1)
    seen.append(await states())

    assert seen == [["bound"] * 2, ["blocked"] * 2, ["failing", "bound"], ["blocked"] * 2, ["bound"] * 2]


async def test_a_shard_at_rest_says_all_that_has_become_of_it(backend: Backend) -> None:
    """Nothing waits and nothing is held; it was worked on, a letter died, it is paused, and a worker is there."""
    await backend.register("a", "1", "2")
    await backend.settle(await backend.bind_one(wanted=1), busy=0.5, release=True)
    last = await backend.bind_one()
    await backend.fail(last, delay=None)
    await backend.release(last.lease)
    await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS, about=About("1", 4, 0, 5)))
    await backend.storage.pause(SHARD, None, True)
    state = await backend.observe()
    assert (state.depth, state.threads, state.held, state.oldest) == (0, 0, [], [])
    assert (state.registered, state.settled, state.dead, state.letters) == (2, 1, 1, 1)
    assert (state.is_paused, state.concurrencies, state.is_served) == (True, [4], True)
    assert state.busy_seconds == pytest.approx(0.5)
    assert None not in (state.born, state.polled_seconds, state.told_seconds)


@pytest.mark.parametrize("what", ["delayed", "scheduled", "paused"])
async def test_a_shard_in_which_something_is_to_come_is_not_at_rest(backend: Backend, what: str) -> None:
    if what == "delayed":
        await backend.storage.register(SHARD, Registration([Entry("a", 0, [b"x"])], delay_seconds=60))
    elif what == "scheduled":
        await backend.storage.schedule(SHARD, Schedule("beat", every(60), "a", 0, b"x"))
    else:
        await backend.storage.pause(SHARD, "a", True)
    state = await backend.observe()
    assert (state.delayed, state.schedules, state.paused) == tuple(
        int(what == each) for each in ("delayed", "scheduled", "paused")
    )


async def test_few_of_many_holds_are_listed_and_those_of_the_oldest_tubes(backend: Backend) -> None:
    for number in range(6):
        await backend.register(f"{number}", "1")
        await backend.advance(1)
    await backend.bind("w/1", threads=6)

    (state,) = await backend.storage.observe([SHARD], worst=1, holds=3)
    (none,) = await backend.storage.observe([SHARD], worst=2, holds=0)

    assert len(state.held) in (3, 4)
    assert state.bound == 6
    assert state.unlisted_holds == 6 - len(state.held)
    assert "0" in {hold.thread for hold in state.held}
    assert {hold.thread for hold in none.held} == {"0", "1"}
    assert [tube.state for tube in none.oldest] == ["bound", "bound"]
