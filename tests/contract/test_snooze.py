"""A request that snoozes: its thread waits, no try is counted, and its calls come one by one afterwards."""

from math import inf

import pytest

from sharded_queue.state import Snoozed, ThreadState
from sharded_queue.storage import Batch, Cause, Failure
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, handed

SNOOZE_SECONDS = 30.0


async def snooze(
    backend: Backend,
    batch: Batch,
    most: float = inf,
    last: int | None = None,
    said: str = "429",
    call: int | None = None,
) -> bool:
    last = batch.first if last is None else last
    place = batch.lease, batch.tube.priority, batch.first, batch.attempt - 1, said, SNOOZE_SECONDS, call
    return await backend.storage.fail(Failure(*place, last=last, most_snoozes=most))


async def bind_after_snooze(backend: Backend) -> Batch:
    await backend.advance(SNOOZE_SECONDS + 1)
    return await backend.bind_one()


async def explain(backend: Backend) -> ThreadState:
    return await backend.storage.explain(SHARD, "a")


async def test_the_thread_waits_as_long_as_its_first_request_snoozes_and_others_go_on(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await snooze(backend, await backend.bind_one(wanted=1))
    await backend.register("b", "3")

    assert handed(await backend.bind_one()) == ["3"]
    assert await backend.bind() == []
    assert handed(await bind_after_snooze(backend)) == ["1"]


async def test_a_snooze_is_no_try_and_no_failure(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.fail(batch, 1)
    await backend.advance(2)
    await snooze(backend, await backend.bind_one())
    again = await bind_after_snooze(backend)
    state = await explain(backend)

    assert (batch.attempt, again.attempt) == (1, 2)
    assert [failure.error for failure in state.failures] == ["E"]


async def test_a_snooze_forgets_no_crash(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.crash_with()
    await snooze(backend, await backend.bind_one())

    assert (await bind_after_snooze(backend))[-2:] == (2, 1)


async def test_snoozes_in_a_row_are_counted_until_the_request_is_settled(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await snooze(backend, await backend.bind_one(), said="30 s: busy")
    first = (await explain(backend)).tubes[0].snooze
    await snooze(backend, await bind_after_snooze(backend), said="30 s: still busy")
    second = (await explain(backend)).tubes[0].snooze
    batch = (await backend.settle(await bind_after_snooze(backend), wanted=1)).batch
    assert batch
    after = (await explain(backend)).tubes[0].snooze
    await snooze(backend, batch)

    assert (first, second, after) == (Snoozed(1, "30 s: busy"), Snoozed(2, "30 s: still busy"), None)
    assert (await explain(backend)).tubes[0].snooze == Snoozed(1, "429")


async def test_a_failure_in_between_ends_the_row(backend: Backend) -> None:
    await backend.register("a", "1")
    await snooze(backend, await backend.bind_one())
    await backend.fail(await bind_after_snooze(backend), SNOOZE_SECONDS)
    await snooze(backend, await bind_after_snooze(backend))

    assert (await explain(backend)).tubes[0].snooze == Snoozed(1, "429")


async def test_the_requests_of_a_call_that_snoozed_come_one_by_one_afterwards(backend: Backend) -> None:
    """It is not known which of them snoozed. Those before it are handled once more, alone, and settled."""
    await backend.register("a", "1", "2", "3", "4")
    batch = await backend.bind_one()
    await snooze(backend, batch, last=batch.first + 2)
    batches, batch = [], await bind_after_snooze(backend)
    while batch.messages:
        batches.append(handed(batch))
        batch = (await backend.settle(batch, wanted=128)).batch or batch._replace(messages=[])

    assert batches == [["1"], ["2"], ["3"], ["4"]]


async def test_a_request_that_snoozes_alone_snoozes_alone_again(backend: Backend) -> None:
    """However often it does, nothing behind it is handed out with it, and nothing before it again."""
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one()
    await snooze(backend, batch, last=batch.last)
    settled = await backend.settle(await bind_after_snooze(backend), wanted=128)
    assert settled.batch
    await snooze(backend, settled.batch)

    assert handed(await bind_after_snooze(backend)) == ["2"]


async def test_a_request_that_snoozed_too_often_is_a_dead_letter_and_its_thread_goes_on(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await snooze(backend, await backend.bind_one(), most=2)
    await snooze(backend, await bind_after_snooze(backend), most=2)
    await snooze(backend, await bind_after_snooze(backend), most=2)
    (letter,) = await backend.storage.dead(SHARD)

    assert (letter.error, letter.message.endswith(b"1")) == ("snoozed 2 times in a row, last for 429", True)
    assert [failure.error for failure in (await explain(backend)).failures] == [letter.error]
    assert handed(await backend.bind_one()) == ["2"]


async def test_the_last_request_of_a_thread_that_snoozed_too_often_leaves_nothing(backend: Backend) -> None:
    await backend.register("a", "1")
    await snooze(backend, await backend.bind_one(), most=1)
    await snooze(backend, await bind_after_snooze(backend), most=1)
    state = await backend.observe()

    assert (state.depth, state.threads, state.ready, state.bound, state.letters) == (0, 0, 0, 0, 1)
    assert (await backend.storage.dead(SHARD))[0].error == "snoozed 1 time in a row, last for 429"


async def test_a_request_that_comes_again_after_a_snooze_is_not_called_failing(backend: Backend) -> None:
    await backend.register("a", "1")
    await snooze(backend, await backend.bind_one())
    (blocked,) = (await backend.observe()).oldest
    await bind_after_snooze(backend)
    (bound,) = (await backend.observe()).oldest

    assert (blocked.state, bound.state) == ("blocked", "bound")
    assert not (await explain(backend)).tubes[0].has_failed


async def test_a_persons_pause_outlasts_a_snooze(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.storage.pause(SHARD, "a", True, Cause("ann", "why"))
    await snooze(backend, batch)
    await backend.advance(SNOOZE_SECONDS + 1)
    assert await backend.bind() == []

    await backend.storage.pause(SHARD, "a", False)
    assert handed(await backend.bind_one()) == ["1"]


async def test_resuming_a_thread_ends_its_snooze(backend: Backend) -> None:
    await backend.register("a", "1")
    await snooze(backend, await backend.bind_one())
    await backend.storage.pause(SHARD, "a", False)

    assert handed(await backend.bind_one()) == ["1"]


async def test_who_lost_the_thread_does_not_make_it_snooze(backend: Backend) -> None:
    await backend.register("a", "1")
    lost = await backend.bind_one("w/1")
    await backend.advance(LEASE_SECONDS + 1)
    holder = await backend.bind_one("w/2")

    assert not await snooze(backend, lost)
    assert not (await backend.settle(holder)).is_lost
    assert (await backend.observe()).depth == 0


@pytest.mark.parametrize("count", [1, 2])
async def test_a_snooze_that_was_carried_out_is_only_answered_when_it_comes_again(backend: Backend, count: int) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=count)
    await snooze(backend, batch, last=batch.last, call=1)
    again = await bind_after_snooze(backend)
    late = await snooze(backend, batch, last=batch.last, call=1)

    assert not late
    assert (await explain(backend)).tubes[0].snooze == Snoozed(1, "429")
    assert (await backend.settle(again)).is_lost is False
