"""Tubes: what goes in comes out in order, is removed by name, and is counted."""

import pytest

from sharded_queue import QueueFull
from sharded_queue.storage import Entry, Registration, Settlement
from sharded_queue.tube import Shard, Tube
from tests.contract.medium import SHARD, Medium, bodies, handed


async def test_requests_of_a_tube_come_out_in_the_order_of_registration(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.register("a", "3")

    assert handed(await medium.bind_one()) == ["1", "2", "3"]


async def test_sequence_numbers_of_a_tube_follow_each_other(medium: Medium) -> None:
    first = await medium.register("a", "1", "2")

    assert await medium.register("a", "3") == first + 2


async def test_a_registration_answers_for_each_of_its_tubes(medium: Medium) -> None:
    entries = [Entry("a", 0, [b"1", b"2"]), Entry("b", 0, [b"3"]), Entry("a", 1, [b"4"])]
    firsts, _ = await medium.storage.register(SHARD, Registration(entries))

    tubes = [("a", 0), ("b", 0), ("a", 1)]
    assert firsts == [(await medium.storage.peek(Tube(SHARD, *tube)))[0][0] for tube in tubes]


async def test_a_tube_that_was_drained_never_gives_a_number_again(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    drained = await medium.bind_one()
    await medium.settle(drained)

    assert await medium.register("a", "4") > drained.last


async def test_registering_is_all_or_nothing(medium: Medium) -> None:
    await medium.register("full", "1")
    entries = [Entry("empty", 0, [b"2"]), Entry("full", 0, [b"3", b"4"])]

    with pytest.raises(QueueFull):
        await medium.storage.register(SHARD, Registration(entries, capacity=2))

    assert await medium.waiting("empty") == []
    assert (await medium.observe()).depth == 1


async def test_a_full_tube_refuses_and_says_which(medium: Medium) -> None:
    await medium.register("a", "1", "2", capacity=2)

    with pytest.raises(QueueFull, match=r"tests\.Handler/a/0 holds 2 of 2 requests"):
        await medium.register("a", "3", capacity=2)


async def test_more_requests_than_an_empty_tube_may_hold_are_refused(medium: Medium) -> None:
    with pytest.raises(QueueFull, match="holds 0 of 1"):
        await medium.register("a", "1", "2", capacity=1)


async def test_a_full_tube_takes_requests_again_once_it_was_drained(medium: Medium) -> None:
    await medium.register("a", "1", "2", capacity=2)
    await medium.settle(await medium.bind_one())

    await medium.register("a", "3", capacity=2)

    assert await medium.waiting("a") == ["3"]


async def test_peek_leaves_requests_where_they_are(medium: Medium) -> None:
    first = await medium.register("a", "1", "2", "3")

    peeked = await medium.storage.peek(Tube(SHARD, "a", 0), 2)

    assert [sequence for sequence, _ in peeked] == [first, first + 1]
    assert bodies([message for _, message in peeked]) == ["1", "2"]
    assert (await medium.observe()).depth == 3


async def test_peek_into_a_tube_that_does_not_exist_is_empty(medium: Medium) -> None:
    assert await medium.storage.peek(Tube(SHARD, "nobody", 0)) == []


async def test_settling_removes_what_was_handled_and_hands_out_what_comes_next(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one(wanted=2)

    settled = await medium.settle(batch, wanted=2)

    assert handed(settled.batch) == ["3"]
    assert await medium.waiting("a") == ["3"]


async def test_settling_a_part_leaves_the_rest_at_the_head(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one()

    settled = await medium.settle(batch, through=batch.first, wanted=2)

    assert handed(settled.batch) == ["2", "3"]


async def test_settling_twice_removes_once_and_answers_the_same(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3", "4")
    batch = await medium.bind_one(wanted=2)

    answers = [await medium.settle(batch, wanted=2), await medium.settle(batch, wanted=2)]

    assert answers[0] == answers[1]
    assert await medium.waiting("a") == ["3", "4"]


@pytest.mark.parametrize("release", [False, True])
async def test_what_was_never_handed_out_cannot_be_settled(medium: Medium, release: bool) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one(wanted=1)

    settled = await medium.settle(batch, through=batch.first + 2, release=release)

    assert settled.is_lost
    assert await medium.waiting("a") == ["1", "2", "3"]


async def test_another_tube_than_the_one_handed_out_cannot_be_settled(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()
    sequence = await medium.register("a", "2", priority=1)

    (settled,) = await medium.storage.settle([Settlement(batch.lease, 1, sequence)])

    assert settled.is_lost
    assert await medium.waiting("a", 1) == ["2"]


async def test_a_settlement_with_release_frees_a_drained_thread(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()

    settled = await medium.settle(batch, wanted=2, release=True)

    assert settled.is_released
    assert (await medium.observe()).bound == 0


async def test_a_settlement_with_release_keeps_a_thread_that_has_more(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one(wanted=1)

    settled = await medium.settle(batch, wanted=1, release=True)

    assert handed(settled.batch) == ["2"]
    assert (await medium.observe()).bound == 1


async def test_a_settlement_with_release_hands_out_the_next_tube(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.register("a", "2", priority=1)

    settled = await medium.settle(await medium.bind_one(), wanted=1, release=True)

    assert handed(settled.batch) == ["2"]


@pytest.mark.parametrize("release", [False, True])
async def test_a_lease_that_comes_twice_in_one_call_settles_once(medium: Medium, release: bool) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()
    settlement = Settlement(batch.lease, through=batch.last, release=release)
    first, second = await medium.storage.settle([settlement, settlement])
    state = await medium.observe()

    assert (first.is_released, second.is_lost) == (release, release)
    assert (state.settled, state.depth) == (1, 0)


async def test_a_thread_released_with_requests_left_is_bound_by_the_next(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one("w/1", wanted=1)
    await medium.settle(batch, wanted=0, release=True)

    assert handed(await medium.bind_one("w/2")) == ["2"]


async def test_one_lost_lease_in_a_call_does_not_spoil_the_others(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.register("b", "2")
    lost, good = await medium.bind(threads=2)
    await medium.release(lost.lease)

    settled = await medium.storage.settle([Settlement(lost.lease, 0, lost.last), Settlement(good.lease, 0, good.last)])

    assert [one.is_lost for one in settled] == [True, False]
    assert (await medium.waiting("a"), await medium.waiting("b")) == (["1"], [])


async def test_lower_priority_number_goes_first(medium: Medium) -> None:
    await medium.register("a", "late", priority=7)
    await medium.register("a", "default")
    await medium.register("a", "urgent", priority=-3)
    batch = await medium.bind_one()
    order = [handed(batch)]
    while batch := (await medium.settle(batch, wanted=9)).batch:
        order.append(handed(batch))

    assert order == [["urgent"], ["default"], ["late"]]


async def test_priorities_are_compared_as_numbers(medium: Medium) -> None:
    await medium.register("a", "ten", priority=10)
    await medium.register("a", "nine", priority=9)

    assert handed(await medium.bind_one()) == ["nine"]


async def test_priorities_are_read_anew_before_each_batch(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one(wanted=1)
    await medium.register("a", "urgent", priority=-1)

    batch = (await medium.settle(batch, wanted=1)).batch

    assert handed(batch) == ["urgent"]
    assert handed((await medium.settle(batch, wanted=2)).batch) == ["2", "3"]


async def test_without_ageing_a_low_priority_waits_as_long_as_there_are_others(medium: Medium) -> None:
    await medium.register("a", "low", priority=1)
    await medium.advance(86_400)
    await medium.register("a", "high")

    assert handed(await medium.bind_one()) == ["high"]


@pytest.mark.parametrize(("waited", "first"), [(15, "high"), (25, "high"), (35, "low")])
async def test_a_priority_counts_one_step_less_for_each_time_of_ageing(
    medium: Medium, waited: float, first: str
) -> None:
    """Two steps below, after two of its own the lower number still goes first, and after three it does not."""
    await medium.register("a", "low", "low too", priority=2)
    await medium.advance(waited)
    await medium.register("a", "high")
    (batch,) = await medium.bind(wanted=1, ageing_seconds=10)

    assert handed(batch) == [first]


async def test_priorities_age_while_their_thread_is_held(medium: Medium) -> None:
    await medium.register("a", "low", "low too", priority=1)
    await medium.register("a", "1")
    (batch,) = await medium.bind(wanted=1, ageing_seconds=2)
    order = [handed(batch)]
    await medium.advance(5)
    await medium.register("a", "2", "3")
    while batch := (await medium.settle(batch, wanted=1)).batch:
        order.append(handed(batch))

    assert order[:2] == [["1"], ["low"]]
    assert order.index(["low"]) < order.index(["low too"])
    assert order.index(["2"]) < order.index(["3"])


async def test_a_request_put_off_blocks_its_whole_thread(medium: Medium) -> None:
    await medium.register("a", "1")
    batch = await medium.bind_one()
    await medium.register("a", "2", priority=-1)
    await medium.fail(batch, delay=30)

    assert await medium.bind() == []


async def test_other_threads_do_not_wait_for_one_that_failed(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.fail(await medium.bind_one(), delay=30)
    await medium.register("b", "2")

    assert handed(await medium.bind_one()) == ["2"]


async def test_a_request_registered_during_the_back_off_waits_too(medium: Medium) -> None:
    await medium.register("a", "1")
    await medium.fail(await medium.bind_one(), delay=30)
    await medium.register("a", "2")

    assert await medium.bind() == []


async def test_a_thread_is_bound_again_after_its_back_off(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.fail(await medium.bind_one(), delay=30)
    await medium.advance(29)
    before = await medium.bind()
    await medium.advance(2)

    assert before == []
    assert handed(await medium.bind_one()) == ["1"]


async def test_attempts_are_counted_over_back_offs(medium: Medium) -> None:
    await medium.register("a", "1")
    attempts = []
    for _ in range(3):
        batch = await medium.bind_one()
        attempts.append(batch.attempt)
        await medium.fail(batch, delay=1)
        await medium.advance(2)

    assert attempts == [1, 2, 3]


async def test_attempts_begin_anew_with_the_next_request(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    await medium.fail(await medium.bind_one(), delay=1)
    await medium.advance(2)
    batch = (await medium.settle(await medium.bind_one(), wanted=2)).batch

    assert batch is not None
    assert (handed(batch), batch.attempt) == (["2"], 1)


async def test_failing_a_request_that_is_not_the_head_changes_no_request(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one()
    await medium.fail(batch._replace(first=batch.first + 1), delay=None)

    assert await medium.waiting("a") == ["1", "2"]
    assert await medium.storage.dead(SHARD) == []


async def test_a_dead_letter_keeps_its_message_reason_and_attempts(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one()
    await medium.fail(batch, delay=None, error="ValueError: “no” 13")

    (dead,) = await medium.storage.dead(SHARD)
    assert (dead.thread, dead.priority, dead.sequence) == ("a", 0, batch.first)
    assert (dead.error, dead.attempts, bodies([dead.message])) == ("ValueError: “no” 13", 1, ["1"])


async def test_a_thread_goes_on_behind_a_dead_letter(medium: Medium) -> None:
    await medium.register("a", "1", "2", "3")
    batch = await medium.bind_one()
    await medium.fail(batch, delay=None)

    (settled,) = await medium.storage.settle([Settlement(batch.lease, wanted=9)])

    assert handed(settled.batch) == ["2", "3"]


async def test_burying_twice_buries_once(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one()
    answers = [await medium.fail(batch, delay=None), await medium.fail(batch, delay=None)]

    assert answers == [True, True]
    assert await medium.waiting("a") == ["2"]
    assert (await medium.observe()).dead == 1


async def test_the_newest_dead_letter_is_listed_first(medium: Medium) -> None:
    await medium.register("a", "1", "2")
    batch = await medium.bind_one()
    await medium.fail(batch, delay=None)
    (settled,) = await medium.storage.settle([Settlement(batch.lease, wanted=1)])
    await medium.advance(1)
    assert settled.batch
    await medium.fail(settled.batch, delay=None)

    assert [bodies([dead.message]) for dead in await medium.storage.dead(SHARD)] == [["2"], ["1"]]


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


@pytest.mark.parametrize("thread", ["with space", "slash/1", "колесо", "{brace}", "a:b", "-1", "x" * 256, "%d", "*"])
async def test_any_printable_text_is_a_thread(medium: Medium, thread: str) -> None:
    await medium.register(thread, "1", "2", priority=-2)
    batch = await medium.bind_one(wanted=1)
    state = await medium.observe()
    await medium.settle(batch, release=True)

    assert batch.lease.thread == thread
    assert [(tube.thread, tube.priority, tube.depth) for tube in state.oldest] == [(thread, -2, 2)]
    assert await medium.waiting(thread, -2) == ["2"]


async def test_any_bytes_are_a_message(medium: Medium) -> None:
    body = bytes(range(256))
    await medium.storage.register(SHARD, Registration([Entry("a", 0, [body])]))

    assert (await medium.bind_one()).messages[0][13:] == body


async def test_shards_know_nothing_of_each_other(medium: Medium) -> None:
    await medium.storage.register(Shard("tests.Other"), Registration([Entry("a", 0, [b"1"])]))
    await medium.register("a", "2")

    assert handed(await medium.bind_one()) == ["2"]
    assert [state.depth for state in await medium.storage.observe([SHARD, Shard("tests.Other")])] == [1, 1]


async def test_ten_thousand_requests_in_one_registration_keep_their_order(medium: Medium) -> None:
    numbers = [str(n) for n in range(10_000)]
    await medium.register("a", *numbers)

    assert handed(await medium.bind_one(wanted=10_000)) == numbers


async def test_what_was_never_handed_out_cannot_fail(medium: Medium) -> None:
    """It would pass for handed out from then on, and be settled unseen."""
    await medium.register("a", "1", "2")
    batch = await medium.bind_one(wanted=1)
    unseen = batch._replace(first=batch.first + 1)

    assert not await medium.fail(unseen, delay=None)
    assert (await medium.settle(batch, through=batch.first + 1)).is_lost
    assert await medium.waiting("a") == ["1", "2"]


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
