"""What people do to a queue: pause and resume, and settle its dead letters."""

import time
from math import inf

import pytest

from sharded_queue.coordinator import BindRequest
from sharded_queue.settings import settings
from sharded_queue.state import Delayed
from sharded_queue.storage import Cause, Entry, Part, Registration, Settlement
from sharded_queue.tube import Tube
from tests.contract.backend import LEASE_SECONDS, SHARD, STALL_SECONDS, Backend, MemoryBackend, assert_went_by, handed


async def bury(backend: Backend, thread: str, *bodies: str) -> None:
    """Register requests and let the first one die."""
    await backend.register(thread, *bodies)
    batch = await backend.bind_one()
    await backend.fail(batch, delay=None)
    await backend.release(batch.lease)


async def test_a_paused_thread_is_not_bound(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", "2")
    await backend.storage.pause(SHARD, "a", True)

    assert [batch.tube.thread for batch in await backend.bind(threads=9)] == ["b"]


async def test_a_thread_paused_while_empty_is_not_bound_when_requests_come(backend: Backend) -> None:
    await backend.storage.pause(SHARD, "a", True)
    await backend.register("a", "1")

    assert await backend.bind(threads=9) == []


async def test_a_resumed_thread_goes_on_where_it_was(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.storage.pause(SHARD, "a", True)
    await backend.storage.pause(SHARD, "a", False)

    assert handed(await backend.bind_one()) == ["1", "2"]


async def test_pausing_lets_a_running_batch_settle_and_takes_the_thread(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await backend.storage.pause(SHARD, "a", True)

    settled = await backend.settle(batch, wanted=1)

    assert (settled.batch, settled.is_released, await backend.waiting("a")) == (None, True, ["2"])
    assert await backend.bind(threads=9) == []


async def test_a_failure_does_not_end_a_pause(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.storage.pause(SHARD, "a", True)
    await backend.fail(batch, delay=1)
    await backend.advance(60)

    assert await backend.bind(threads=9) == []


async def test_a_paused_handler_hands_out_nothing(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.register("b", "3")
    batch = await backend.bind_one(wanted=1)
    await backend.storage.pause(SHARD, None, True)

    assert (await backend.settle(batch, wanted=1)).is_released
    assert await backend.bind(threads=9) == []
    assert (await backend.observe()).is_paused


async def test_a_resumed_handler_hands_out_all_again(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", "2")
    await backend.storage.pause(SHARD, None, True)
    await backend.storage.pause(SHARD, None, False)

    assert [batch.tube.thread for batch in await backend.bind(threads=9)] == ["a", "b"]


async def test_pausing_says_whether_it_changed_something(backend: Backend) -> None:
    answers = [
        await backend.storage.pause(SHARD, thread, on) for thread in (None, "a") for on in (True, True, False, False)
    ]

    assert answers == [True, False, True, False] * 2


async def test_a_dead_letter_returns_to_the_tail(backend: Backend) -> None:
    await bury(backend, "a", "1", "2")
    (dead,) = await backend.storage.dead(SHARD)

    assert await backend.storage.settle_dead(SHARD, [dead.number], "tail") == [dead.number]
    assert await backend.waiting("a") == ["2", "1"]
    assert await backend.storage.dead(SHARD) == []


async def test_a_dead_letter_returns_to_the_head(backend: Backend) -> None:
    await bury(backend, "a", "1", "2")
    (dead,) = await backend.storage.dead(SHARD)
    await backend.storage.settle_dead(SHARD, [dead.number], "head")

    assert handed(await backend.bind_one()) == ["1", "2"]


async def test_a_dead_letter_does_not_get_before_what_is_in_a_workers_hands(backend: Backend) -> None:
    await bury(backend, "a", "1", "2")
    (dead,) = await backend.storage.dead(SHARD)
    batch = await backend.bind_one()

    assert await backend.storage.settle_dead(SHARD, [dead.number], "head") == []
    await backend.settle(batch)
    assert len(await backend.storage.dead(SHARD)) == 1


async def test_a_dead_letter_makes_its_drained_thread_ready(backend: Backend) -> None:
    await bury(backend, "a", "1")
    (dead,) = await backend.storage.dead(SHARD)
    await backend.storage.settle_dead(SHARD, [dead.number], "head")

    assert handed(await backend.bind_one()) == ["1"]
    assert (await backend.observe()).depth == 1


async def test_a_letter_with_the_number_of_a_handled_request_is_not_taken_for_it(backend: Backend) -> None:
    """The handler of that one repeats all of its writes, and its identity is registered again."""
    entry = Entry("a", 0, [b"1", b"2", b"3"], ["1", "2", "3"])
    await backend.storage.register(SHARD, Registration([entry], window_seconds=60))
    died = await backend.bind_one("w/1", wanted=1)
    await backend.fail(died, delay=None)
    (settled,) = await backend.storage.settle([Settlement(died.lease, wanted=1)])
    handled = settled.batch
    assert handled
    await backend.settle(handled, release=True)
    await backend.storage.settle_dead(SHARD, [1], "head")
    letter = await backend.bind_one("w/2", wanted=1)
    late = await backend.settle(handled, wanted=1), await backend.fail(handled, delay=None)
    again = await backend.storage.register(SHARD, Registration([entry], window_seconds=60))

    assert (letter.first, letter.attempt, handed(letter)) == (handled.first, 1, ["1"])
    assert (late[0].is_lost, late[1]) == (True, False)
    assert await backend.waiting("a") == ["1", "3"]
    assert len(again.duplicates) == 3
    assert letter.lease.fence > handled.lease.fence


async def test_a_request_may_die_twice_from_the_head_and_stays_one_letter(backend: Backend) -> None:
    await bury(backend, "a", "1", "2")
    (dead,) = await backend.storage.dead(SHARD)
    await backend.storage.settle_dead(SHARD, [dead.number], "head")
    await backend.fail(await backend.bind_one(), delay=None)

    (again,) = await backend.storage.dead(SHARD)
    assert (again.message, again.number) == (dead.message, dead.number + 1)


async def test_a_dropped_dead_letter_is_gone(backend: Backend) -> None:
    await bury(backend, "a", "1", "2")
    (dead,) = await backend.storage.dead(SHARD)

    assert await backend.storage.settle_dead(SHARD, [dead.number, 999], "drop") == [dead.number]
    assert (await backend.storage.dead(SHARD), await backend.waiting("a")) == ([], ["2"])


async def delay(backend: Backend, thread: str, seconds: float, *bodies: str) -> int:
    entry = Entry(thread, 0, [body.encode() for body in bodies])
    ((first,), _) = await backend.storage.register(SHARD, Registration([entry], delay_seconds=seconds))
    return first


async def test_a_delayed_request_waits_for_its_time(backend: Backend) -> None:
    await delay(backend, "a", 10, "1")

    assert await backend.bind(threads=9) == []
    await backend.advance(11)
    assert handed(await backend.bind_one()) == ["1"]


async def test_a_delayed_request_stops_nobody(backend: Backend) -> None:
    await delay(backend, "a", 10, "1")
    await backend.register("a", "2")

    assert handed(await backend.bind_one()) == ["2"]


async def test_delayed_requests_come_in_the_order_of_their_times(backend: Backend) -> None:
    await delay(backend, "a", 30, "3")
    for number in range(12):
        await delay(backend, "a", 20, f"2.{number}")
    await delay(backend, "a", 10, "1")
    await backend.advance(31)

    assert handed(await backend.bind_one()) == ["1", *(f"2.{number}" for number in range(12)), "3"]


async def test_the_number_of_a_delayed_request_is_never_given_again(backend: Backend) -> None:
    await delay(backend, "a", 10, "1")
    await backend.advance(11)
    batch = await backend.bind_one()
    await backend.settle(batch, release=True)

    assert await backend.register("a", "2") > batch.first


async def test_a_delayed_request_joins_a_thread_that_is_held(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await delay(backend, "a", 5, "2")
    await backend.advance(6)

    assert handed((await backend.settle(batch, wanted=9)).batch) == ["2"]


async def test_the_next_look_is_due_with_the_next_delayed_request(backend: Backend) -> None:
    began = time.monotonic()
    await delay(backend, "a", 10, "1")
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 15.0))

    assert bound.next_seconds is not None
    assert_went_by(began, 10 - bound.next_seconds)


async def test_delayed_requests_are_counted_apart_until_their_time(backend: Backend) -> None:
    began = time.monotonic()
    await delay(backend, "a", 10, "1", "2")
    before = await backend.observe()
    await backend.advance(11)
    due = await backend.observe()
    await backend.bind()
    after = await backend.observe()

    assert [(state.delayed, state.overdue, state.depth) for state in (before, due, after)] == [
        (2, 0, 0),
        (2, 2, 0),
        (0, 0, 2),
    ]
    assert (before.overdue_seconds, after.overdue_seconds) == (0, 0)
    assert_went_by(began, due.overdue_seconds - 1)


async def test_a_thread_that_had_its_turn_lines_up_behind_those_that_wait(backend: Backend) -> None:
    await backend.register("hot", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await backend.advance(1)
    await backend.register("other", "3")
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True)])

    assert settled.is_released
    assert [each.tube.thread for each in await backend.bind(threads=2)] == ["other", "hot"]


async def test_a_thread_that_had_its_turn_goes_on_when_nobody_waits(backend: Backend) -> None:
    await backend.register("hot", "1", "2")
    batch = await backend.bind_one(wanted=1)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True)])

    assert handed(settled.batch) == ["2"]


async def test_a_turn_ends_for_a_thread_whose_back_off_is_over(backend: Backend) -> None:
    """Busy workers do not look for threads, so that it would never be among those that wait."""
    await backend.register("failed", "1")
    await backend.fail(await backend.bind_one(), delay=5)
    await backend.register("hot", "2", "3")
    batch = await backend.bind_one(wanted=1)
    await backend.advance(6)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True)])

    assert settled.is_released
    assert [each.tube.thread for each in await backend.bind(threads=2)] == ["failed", "hot"]


async def test_a_turn_ends_for_a_thread_whose_lease_expired(backend: Backend) -> None:
    await backend.register("lost", "1")
    await backend.bind_one("gone/1")
    await backend.register("hot", "2", "3")
    batch = await backend.bind_one("here/1", wanted=1)
    await backend.advance(LEASE_SECONDS + 1)
    await backend.coordinator.renew([batch.lease], LEASE_SECONDS)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True)])

    assert settled.is_released
    assert [each.tube.thread for each in await backend.bind("here/1", threads=2)] == ["lost", "hot"]


async def test_a_turn_does_not_end_for_its_own_lease_that_was_not_renewed_yet(backend: Backend) -> None:
    await backend.register("hot", "1", "2")
    batch = await backend.bind_one(wanted=1)
    await backend.advance(LEASE_SECONDS + 1)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, batch.last, wanted=1, is_over=True)])

    assert handed(settled.batch) == ["2"]


async def test_threads_of_a_worker_that_is_gone_are_free_at_once(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.register("b", "3")
    lost = await backend.bind_one("gone/1", wanted=1)
    await backend.bind_one("here/1")

    assert await backend.coordinator.evict(SHARD, ["gone", "gon", "her"]) == ["a"]
    assert (await backend.settle(lost)).is_lost
    assert handed(await backend.bind_one("here/2", wanted=9)) == ["1", "2"]


async def test_an_eviction_is_no_crash_of_what_the_worker_held(backend: Backend) -> None:
    """The worker was taken away on purpose; a request that outlived this often enough was once buried for it."""
    settings.crash_limit = 1
    await backend.register("a", "1", "2")
    for _ in range(3):
        await backend.bind_one("gone/1", wanted=1)
        assert await backend.coordinator.evict(SHARD, ["gone"]) == ["a"]

    batch = await backend.bind_one("here/1", wanted=9)
    assert (handed(batch), batch.attempt) == (["1", "2"], 1)
    assert await backend.storage.dead(SHARD) == []


async def test_a_thread_that_failed_while_its_handler_was_paused_goes_on_after_it(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.storage.pause(SHARD, None, True)
    await backend.fail(batch, delay=1)
    await backend.storage.pause(SHARD, None, False)
    await backend.advance(2)

    assert handed(await backend.bind_one()) == ["1"]


async def test_a_thread_can_be_paused_in_a_paused_handler(backend: Backend) -> None:
    await backend.storage.pause(SHARD, None, True)

    assert await backend.storage.pause(SHARD, "a", True)
    assert not await backend.storage.pause(SHARD, "a", True)


async def test_a_holder_whose_only_request_died_is_not_busy(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.fail(await backend.bind_one(), delay=None)
    await backend.advance(5)
    (hold,) = (await backend.observe()).held

    assert hold.busy_seconds == 0.0


async def test_a_ready_thread_is_explained_by_those_before_it(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.advance(1)
    await backend.register("b", "2", "3")
    state = await backend.storage.explain(SHARD, "b")

    assert (state.ahead, state.owner, state.blocked_seconds, state.is_handler_paused) == (1, None, None, False)
    assert [(tube.priority, tube.depth) for tube in state.tubes] == [(0, 2)]


async def test_a_held_thread_is_explained_by_its_holder(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.bind_one("w/1")
    state = await backend.storage.explain(SHARD, "a")

    assert (state.owner, state.ahead) == ("w/1", None)
    assert state.lease_seconds is not None
    assert LEASE_SECONDS - STALL_SECONDS < state.lease_seconds <= LEASE_SECONDS


async def test_a_failing_thread_is_explained_by_its_failure(backend: Backend) -> None:
    await backend.register("a", "1")
    began = time.monotonic()
    await backend.fail(await backend.bind_one(), delay=30, error="ValueError: 13 is no lucky number")
    state = await backend.storage.explain(SHARD, "a")

    assert state.blocked_seconds is not None
    assert_went_by(began, 30 - state.blocked_seconds)
    assert [(tube.attempts, tube.error) for tube in state.tubes] == [(1, "ValueError: 13 is no lucky number")]


async def test_a_paused_thread_is_explained_by_its_pause(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, "a", True)

    assert (await backend.storage.explain(SHARD, "a")).blocked_seconds == inf


async def test_a_failure_backs_off_also_while_its_handler_is_paused(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.storage.pause(SHARD, None, True)
    await backend.fail(batch, delay=30)
    await backend.storage.pause(SHARD, None, False)

    assert await backend.bind() == []


async def test_a_cordoned_worker_keeps_its_thread_and_gets_no_other(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.register("b", "3")
    batch = await backend.bind_one("leaving/1", wanted=1)
    await backend.coordinator.cordon(SHARD, ["leaving"], 60)

    assert await backend.bind("leaving/1") == []
    assert handed((await backend.settle(batch, wanted=1)).batch) == ["2"]
    assert handed(await backend.bind_one("staying/1")) == ["3"]


async def test_a_cordon_ends(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.coordinator.cordon(SHARD, ["w"], 60)
    await backend.coordinator.cordon(SHARD, ["w"], 0)

    assert handed(await backend.bind_one("w/1")) == ["1"]


async def test_crashes_of_another_request_are_not_counted_against_one_replayed_to_the_head(backend: Backend) -> None:
    await backend.register("a", "replayed", "crashing")
    batch = await backend.bind_one(wanted=1)
    await backend.fail(batch, delay=None)
    await backend.release(batch.lease)
    for _ in range(4):
        await backend.crash_with(wanted=1)
    await backend.release((await backend.bind_one()).lease)
    await backend.storage.settle_dead(SHARD, [1], "head")
    await backend.crash_with(wanted=1)
    await backend.bind_one()

    assert await backend.storage.dead(SHARD) == []


async def test_nobody_holds_a_thread_whose_lease_has_ended(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.crash_with(wanted=1)
    thread, state = await backend.storage.explain(SHARD, "a"), await backend.observe()

    assert (thread.owner, thread.is_held) == ("dead/1", False)
    assert (state.ready, state.bound, state.oldest[0].state) == (1, 0, "ready")
    assert state.held[0].lease_seconds < 0


async def test_a_paused_thread_whose_lease_has_ended_is_paused(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.crash_with()
    await backend.storage.pause(SHARD, "a", True)
    state = await backend.observe()

    assert (state.ready, state.bound, state.blocked, state.oldest[0].state) == (0, 0, 1, "paused")


async def test_requests_whose_only_holder_died_are_unconsumed(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.crash_with()
    await backend.advance(100)

    assert (await backend.observe()).is_unconsumed


async def test_a_held_thread_says_what_is_in_hand_and_who_else_works(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    await backend.register("b", "4")
    await backend.bind(threads=2, wanted=2)
    state = await backend.storage.explain(SHARD, "a")

    assert (state.in_hand, state.bound) == (2, 2)
    assert state.polled_seconds is not None
    assert state.busy_seconds is not None


async def test_what_is_paused_can_be_listed(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.register("b", "2")
    await backend.fail(await backend.bind_one(), delay=60)
    assert (await backend.storage.paused(SHARD), (await backend.observe()).paused) == ([], 0)
    await backend.storage.pause(SHARD, "b", True)
    await backend.storage.pause(SHARD, "empty", True)

    assert (await backend.storage.paused(SHARD), (await backend.observe()).paused) == (["b", "empty"], 2)


async def test_who_paused_a_thread_and_why_is_kept_until_it_is_resumed(backend: Backend) -> None:
    await backend.register("a", "1")
    began = time.time()
    await backend.storage.pause(SHARD, "a", True, Cause("anna", "the bank asks us to"))
    by = (await backend.storage.explain(SHARD, "a")).paused_by

    assert by
    assert by[1:3] == ("anna", "the bank asks us to")
    assert await backend.storage.pauses(SHARD) == {"a": by}
    assert isinstance(backend, MemoryBackend) or began - 1 <= by.paused_ms / 1000 <= time.time() + 1
    assert not await backend.storage.pause(SHARD, "a", True), "it was paused already"
    assert (await backend.storage.pauses(SHARD))["a"][1:3] == ("anna", "the bank asks us to"), "nobody said otherwise"
    await backend.storage.pause(SHARD, "a", True, Cause("otto", "it is still down"))
    assert (await backend.storage.pauses(SHARD))["a"][1:3] == ("otto", "it is still down")
    await backend.storage.pause(SHARD, "a", False)
    await backend.storage.pause(SHARD, "a", True)
    assert (await backend.storage.pauses(SHARD), (await backend.storage.explain(SHARD, "a")).paused_by) == ({}, None)


async def test_who_paused_a_handler_is_known_of_each_of_its_threads(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, None, True, Cause("anna", "Ä: the bank"))
    by = (await backend.storage.explain(SHARD, "a")).paused_by

    assert by
    assert by[1:3] == ("anna", "Ä: the bank")
    await backend.storage.pause(SHARD, "a", True, Cause("otto", "only this one"))
    own = (await backend.storage.explain(SHARD, "a")).paused_by
    assert own
    assert own.actor == "otto"
    await backend.storage.pause(SHARD, None, False)
    assert [*await backend.storage.pauses(SHARD)] == ["a"]


@pytest.mark.parametrize("by", [Cause("", "why"), Cause("ann", ""), Cause("ann", "a\nb"), Cause("ann", "x" * 501)])
async def test_a_pause_that_says_why_says_it_in_a_line(backend: Backend, by: Cause) -> None:
    with pytest.raises(ValueError, match="printable characters"):
        await backend.storage.pause(SHARD, "a", True, by)

    assert await backend.storage.paused(SHARD) == []


BANK = Cause("anna", "the bank is down")


async def test_a_pause_with_an_end_ends_by_itself(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    assert await backend.storage.pause(SHARD, "a", True, BANK, 60)
    by = (await backend.storage.pauses(SHARD))["a"]
    await backend.advance(59)
    early, state = await backend.bind(threads=9), await backend.observe()
    await backend.advance(2)
    over, explained = await backend.observe(), await backend.storage.explain(SHARD, "a")

    assert by.until_ms == by.paused_ms + 60_000
    assert early == []
    assert (state.paused, [tube.state for tube in state.oldest]) == (1, ["paused"])
    (blocked,) = state.blocked_threads
    assert 0 < blocked.seconds <= 1
    assert (over.paused, [tube.state for tube in over.oldest]) == (0, ["ready"])
    assert (explained.blocked_seconds, explained.paused_by) == (None, None)
    assert handed(await backend.bind_one()) == ["1", "2"]
    assert await backend.storage.pauses(SHARD) == {}


async def test_a_pause_of_a_handler_with_an_end_ends_by_itself(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, None, True, BANK, 60)
    assert await backend.bind() == []
    assert (await backend.observe()).is_paused
    await backend.advance(61)

    assert not (await backend.observe()).is_paused
    assert not (await backend.storage.explain(SHARD, "a")).is_handler_paused
    assert handed(await backend.bind_one()) == ["1"]
    assert not (await backend.observe()).is_paused


@pytest.mark.parametrize("thread", ["a", None])
async def test_a_worker_learns_when_a_pause_will_end(backend: Backend, thread: str | None) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, thread, True, BANK, 60)
    bound = await backend.coordinator.bind(SHARD, BindRequest("w/1", 1, 1, LEASE_SECONDS))
    look = (await backend.coordinator.look([SHARD], 5))[SHARD]
    await backend.advance(61)

    assert bound.next_seconds is not None
    assert 59 < bound.next_seconds <= 60
    assert look.waiting == 0
    assert look.next_seconds is not None
    assert 59 < look.next_seconds <= 60
    assert (await backend.coordinator.look([SHARD], 5))[SHARD].waiting > 0


async def test_the_last_person_says_until_when_a_pause_lasts(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, "a", True, BANK, 60)
    await backend.storage.pause(SHARD, "a", True)  # says nothing
    assert (await backend.storage.pauses(SHARD))["a"].until_ms
    await backend.storage.pause(SHARD, "a", True, Cause("otto", "for good"))
    await backend.advance(100)

    assert await backend.bind() == []
    assert (await backend.storage.pauses(SHARD))["a"][1:] == ("otto", "for good", None)


async def test_the_end_of_a_pause_that_was_resumed_ends_nothing(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.storage.pause(SHARD, "a", True, BANK, 60)
    await backend.storage.pause(SHARD, "a", False)
    await backend.fail(await backend.bind_one(), delay=200)
    await backend.advance(100)

    assert await backend.bind() == []


async def test_the_end_of_a_pause_takes_no_thread_out_of_an_act(backend: Backend) -> None:
    """Letters are put back in two steps: between them, the pause of a person ends."""
    for body in ("1", "2"):
        await bury(backend, "a", body)
    await backend.storage.pause(SHARD, "a", True, BANK, 60)
    await backend.storage.settle_dead(SHARD, [2], "head", Part(True, False))
    await backend.advance(61)
    between = await backend.bind()
    acts = await backend.storage.acts(SHARD)
    await backend.storage.settle_dead(SHARD, [1], "head", Part(False, True))

    assert between == []
    assert [*acts] == ["a"]
    assert handed(await backend.bind_one()) == ["1", "2"]


async def test_a_pause_that_is_to_end_outlasts_an_act(backend: Backend) -> None:
    for body in ("1", "2"):
        await bury(backend, "a", body)
    await backend.storage.pause(SHARD, "a", True, BANK, 60)
    await backend.storage.settle_dead(SHARD, [2], "head", Part(True, False))
    await backend.storage.settle_dead(SHARD, [1], "head", Part(False, True))

    assert await backend.bind() == []
    await backend.advance(61)
    assert handed(await backend.bind_one()) == ["1", "2"]


async def test_a_person_may_pause_for_a_time_what_an_act_has_paused(backend: Backend) -> None:
    for body in ("1", "2"):
        await bury(backend, "a", body)
    await backend.storage.settle_dead(SHARD, [2], "head", Part(True, False))
    await backend.storage.pause(SHARD, "a", True, BANK, 60)
    await backend.advance(61)

    assert await backend.bind() == []
    await backend.storage.settle_dead(SHARD, [1], "head", Part(False, True))
    assert handed(await backend.bind_one()) == ["1", "2"]


@pytest.mark.parametrize(
    ("by", "seconds", "words"), [(None, 60, "needs a cause"), (BANK, 0.5, "from 1 s"), (BANK, 4e7, "365 days")]
)
async def test_a_pause_cannot_end_at_any_time(backend: Backend, by: Cause | None, seconds: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await backend.storage.pause(SHARD, "a", True, by, seconds)

    assert await backend.storage.paused(SHARD) == []


async def test_dead_letters_that_were_dropped_are_not_there_and_stay_counted(backend: Backend) -> None:
    await bury(backend, "a", "1")
    await bury(backend, "b", "2")
    before = await backend.observe()
    await backend.storage.settle_dead(SHARD, [1, 2], "drop")
    after = await backend.observe()

    assert [(state.letters, state.dead) for state in (before, after)] == [(2, 2), (0, 2)]


async def test_a_shard_is_known_from_the_first_registration_look_or_pause_on(backend: Backend) -> None:
    assert not (await backend.observe()).is_known
    await backend.bind()

    assert (await backend.observe()).is_known


async def test_delayed_requests_are_listed_the_next_to_be_due_first(backend: Backend) -> None:
    late = await delay(backend, "a", 600, "late")
    first = await delay(backend, "b", 60, "soon", "soon too")
    listed = await backend.storage.delayed(SHARD)

    assert [each._replace(due_ms=0) for each in listed] == [
        Delayed(Tube(SHARD, "b", 0), first, 0, b"soon"),
        Delayed(Tube(SHARD, "b", 0), first + 1, 0, b"soon too"),
        Delayed(Tube(SHARD, "a", 0), late, 0, b"late"),
    ]
    assert await backend.storage.delayed(SHARD, 1) == listed[:1]


async def test_a_cancelled_request_is_never_handed_out(backend: Backend) -> None:
    first = await delay(backend, "a", 60, "1", "2")
    assert await backend.storage.cancel(SHARD, [first]) == [first]
    await backend.advance(61)

    assert handed(await backend.bind_one()) == ["2"]
    assert (await backend.observe()).delayed == 0


async def test_cancelling_again_answers_the_same(backend: Backend) -> None:
    """As it must where the answer to the first call was lost."""
    first = await delay(backend, "a", 60, "1", "2")

    assert await backend.storage.cancel(SHARD, [first + 1, first]) == [first + 1, first]
    assert await backend.storage.cancel(SHARD, [first + 1, first]) == [first + 1, first]
    assert (await backend.storage.delayed(SHARD), (await backend.observe()).delayed) == ([], 0)


async def test_what_has_its_place_in_its_tube_cannot_be_cancelled(backend: Backend) -> None:
    first = await delay(backend, "a", 60, "1")
    waiting = await backend.register("b", "2")
    await backend.advance(61)
    await backend.bind()

    assert await backend.storage.cancel(SHARD, [first, waiting, 10**9]) == []
    assert await backend.waiting("a") == ["1"]


async def test_what_is_due_can_be_cancelled_until_a_worker_looks(backend: Backend) -> None:
    first = await delay(backend, "a", 60, "1")
    await backend.advance(61)

    assert await backend.storage.cancel(SHARD, [first]) == [first]
    assert await backend.bind() == []
