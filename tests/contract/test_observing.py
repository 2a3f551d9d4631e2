"""What a storage reports of itself: depth, lag, threads, holders."""

import pytest

from tests.contract.medium import SHARD, Medium


async def test_an_empty_shard_is_all_zero_and_was_never_born(medium: Medium) -> None:
    state = await medium.observe()

    assert (state.depth, state.threads, state.ready, state.bound, state.born) == (0, 0, 0, 0, None)


async def test_the_marker_of_a_shard_stays_once_it_is_born(medium: Medium) -> None:
    await medium.register("a", "1")
    born = (await medium.observe()).born
    await medium.settle(await medium.bind_one(), release=True)
    await medium.advance(5)
    await medium.register("a", "2")

    assert born is not None
    assert (await medium.observe()).born == born


async def test_depth_counts_what_is_not_yet_settled(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    await medium.register("b", "4")
    batch = await medium.bind_one()
    held = (await medium.observe()).depth
    await medium.settle(batch, through=batch.first)

    assert (held, (await medium.observe()).depth) == (4, 3)


async def test_counters_add_up(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3", "4")
    batch = await medium.bind_one()
    await medium.settle(batch, through=batch.first + 1)
    await medium.fail(batch._replace(first=batch.first + 2), delay=None)
    state = await medium.observe()

    assert (state.registered, state.settled, state.dead, state.depth) == (4, 2, 1, 1)


async def test_the_handlers_time_is_added_up(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one(wanted=1)
    batch = (await medium.settle(batch, wanted=1, busy=0.25)).batch
    assert batch
    await medium.settle(batch, busy=0.5)

    assert (await medium.observe()).busy_seconds == pytest.approx(0.75)


async def test_a_settlement_sent_again_adds_no_time(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()
    await medium.settle(batch, busy=0.25)
    await medium.settle(batch, busy=0.25)

    assert (await medium.observe()).busy_seconds == pytest.approx(0.25)


async def test_threads_are_counted_as_ready_bound_and_blocked(medium: Medium) -> None:
    for thread in "abcde":
        await medium.register(thread, "1")
    await medium.fail(await medium.bind_one(), delay=60)
    await medium.bind(threads=2)
    state = await medium.observe()

    assert (state.threads, state.ready, state.bound, state.blocked) == (5, 2, 2, 1)


async def test_the_deepest_threads_are_listed_deepest_first(medium: Medium) -> None:
    for thread, depth in (("a", 2), ("b", 4), ("c", 3), ("single", 1)):
        await medium.register(thread, *map(str, range(depth)))

    assert (await medium.observe(worst=2)).deepest == [("b", 4), ("c", 3)]


async def test_a_thread_with_one_request_left_is_not_among_the_deepest(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one(wanted=1)
    batch = (await medium.settle(batch, wanted=1)).batch
    two_left = (await medium.observe()).deepest
    assert batch
    await medium.settle(batch)

    assert (two_left, (await medium.observe()).deepest) == ([("a", 2)], [])


async def test_a_threads_depth_spans_its_priorities(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.register("a", "3", priority=5)

    assert (await medium.observe()).deepest == [("a", 3)]


async def test_lag_is_the_age_of_the_oldest_request(medium: Medium) -> None:
    await medium.register("old", "1")
    await medium.advance(10)
    await medium.register("new", "2", "3")
    state = await medium.observe()

    assert state.lag_seconds == pytest.approx(10, abs=1)
    assert [(tube.thread, tube.depth) for tube in state.oldest] == [("old", 1), ("new", 2)]


async def test_a_tube_whose_head_was_settled_is_as_old_as_the_next_request(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.advance(10)
    await medium.register("a", "2")
    batch = await medium.bind_one(wanted=1)
    await medium.settle(batch)

    assert (await medium.observe()).lag_seconds == pytest.approx(0, abs=1)


async def test_a_drained_tube_has_no_lag(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.advance(10)
    await medium.settle(await medium.bind_one())
    state = await medium.observe()

    assert (state.lag_seconds, state.oldest) == (0.0, [])


async def test_holders_are_listed_with_owner_and_fence(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one("pod-7/abc")
    (hold,) = (await medium.observe()).held

    assert (hold.thread, hold.owner, hold.fence) == ("a", "pod-7/abc", batch.lease.fence)


async def test_the_oldest_tubes_are_told_with_what_becomes_of_their_threads(medium: Medium) -> None:
    threads = ["bound", "blocked", "paused", "ready"]
    for thread in threads:
        await medium.register(thread, "1")
        await medium.advance(1)
    _, failed = await medium.bind(threads=2)
    await medium.fail(failed, delay=60)
    await medium.storage.pause(SHARD, "paused", True)
    before = (await medium.observe()).oldest
    await medium.storage.pause(SHARD, None, True)

    assert [(tube.thread, tube.state) for tube in before] == [(name, name) for name in threads]
    assert [tube.state for tube in (await medium.observe()).oldest] == ["bound", "paused", "paused", "paused"]


async def test_a_holder_of_a_drained_thread_is_not_busy(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()
    await medium.settle(batch)
    (hold,) = (await medium.observe()).held

    assert hold.busy_seconds == 0.0


async def test_a_look_of_a_worker_is_remembered(medium: Medium) -> None:
    never = (await medium.observe()).polled_seconds
    await medium.bind()

    polled_seconds = (await medium.observe()).polled_seconds
    assert never is None
    assert polled_seconds is not None
    assert polled_seconds < 10


async def test_a_look_without_room_is_none(medium: Medium) -> None:
    await medium.bind(threads=0)
    await medium.bind(wanted=0)

    assert (await medium.observe()).polled_seconds is None


async def test_requests_are_unconsumed_once_nobody_asked_for_them_in_a_minute(medium: Medium) -> None:
    await medium.register("a", "1")
    fresh = (await medium.observe()).is_unconsumed
    await medium.advance(61)
    old = (await medium.observe()).is_unconsumed
    await medium.bind_one()

    assert (fresh, old, (await medium.observe()).is_unconsumed) == (False, True, False)


async def test_few_of_many_holds_are_listed_and_those_of_the_oldest_tubes(medium: Medium) -> None:
    for number in range(6):
        await medium.register(f"{number}", "1")
        await medium.advance(1)
    await medium.bind("w/1", threads=6)

    (state,) = await medium.storage.observe([SHARD], worst=1, holds=3)
    (none,) = await medium.storage.observe([SHARD], worst=2, holds=0)

    assert len(state.held) in (3, 4)
    assert state.bound == 6
    assert state.unlisted_holds == 6 - len(state.held)
    assert "0" in {hold.thread for hold in state.held}
    assert {hold.thread for hold in none.held} == {"0", "1"}
    assert [tube.state for tube in none.oldest] == ["bound", "bound"]
