"""The requests of a call that failed are handed out one by one until the last of them is settled, whatever happens."""

from collections.abc import Awaitable, Callable

import pytest

from sharded_queue.storage import Batch, Cause, Failure, Settlement, Waiting, digest_of
from tests.contract.backend import LEASE_SECONDS, SHARD, Backend, handed

Deed = Callable[[Backend, Batch], Awaitable[None]]


async def take_apart(backend: Backend, batch: Batch, last: int | None = None, call: int | None = None) -> bool:
    last = batch.last if last is None else last
    return await backend.storage.fail(Failure(batch.lease, 0, batch.first, 0, "", call=call, last=last))


async def apart(backend: Backend, *bodies: str) -> Batch:
    """What the holder has in hand after a call of all these requests failed."""
    await backend.register("a", *bodies)
    batch = await backend.bind_one()
    assert await take_apart(backend, batch)
    return batch._replace(messages=batch.messages[:1])


async def rest(backend: Backend, batch: Batch | None = None) -> list[list[str]]:
    """What is handed out from here on, batch by batch, to a worker that wants many."""
    batches = []
    batch = batch or await backend.bind_one("w/2")
    while batch:
        batches.append(handed(batch))
        batch = (await backend.settle(batch, wanted=128, release=True)).batch
    return batches


async def test_the_requests_of_a_failed_call_are_handed_out_one_by_one(backend: Backend) -> None:
    batch = await apart(backend, "1", "2", "3")
    await backend.register("a", "4", "5")

    assert await rest(backend, batch) == [["1"], ["2"], ["3"], ["4", "5"]]


async def test_requests_behind_those_of_a_failed_call_are_handed_out_together(backend: Backend) -> None:
    """The batch was longer than the call: a request in it could not be read."""
    await backend.register("a", "1", "2", "3", "4")
    batch = await backend.bind_one()
    await take_apart(backend, batch, last=batch.first + 1)

    assert await rest(backend, batch._replace(messages=batch.messages[:1])) == [["1"], ["2"], ["3", "4"]]


async def test_a_failed_call_is_no_try_of_a_request(backend: Backend) -> None:
    batch = await apart(backend, "1", "2")
    await backend.release(batch.lease)

    assert (await backend.bind_one()).attempt == 1
    assert (await backend.storage.explain(SHARD, "a")).failures == []


async def test_the_error_of_a_failed_call_is_told_until_its_first_request_is_settled(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    await backend.storage.fail(Failure(batch.lease, 0, batch.first, 0, "TimeoutError: late", last=batch.last))
    (failed,), (listed,) = (await backend.storage.explain(SHARD, "a")).tubes, (await backend.observe()).oldest
    await backend.settle(batch, through=batch.first, wanted=1)
    (goes_on,), (after,) = (await backend.storage.explain(SHARD, "a")).tubes, (await backend.observe()).oldest

    assert (failed.error, failed.has_failed, listed.state) == ("TimeoutError: late", True, "failing")
    assert (goes_on.error, goes_on.has_failed, after.state) == ("", False, "bound")


async def test_only_the_first_request_of_a_failed_call_stays_in_hand(backend: Backend) -> None:
    batch = await apart(backend, "1", "2", "3")
    (hold,) = (await backend.observe()).held

    assert hold.in_hand == 1
    assert (await backend.settle(batch, through=batch.first + 1)).is_lost


async def test_who_lost_the_thread_takes_nothing_apart(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    await backend.release(batch.lease)

    assert not await take_apart(backend, batch)
    assert await rest(backend) == [["1", "2"]]


async def release(backend: Backend, batch: Batch) -> None:
    await backend.release(batch.lease)


async def put_off(backend: Backend, batch: Batch) -> None:
    await backend.fail(batch, delay=1)
    await backend.advance(2)


async def crash(backend: Backend, _: Batch) -> None:
    await backend.advance(LEASE_SECONDS + 1)


async def put_off_behind_a_replay(backend: Backend, batch: Batch) -> None:
    """The letter that comes back to the head fails itself."""
    await backend.fail(batch, delay=None)
    await backend.release(batch.lease)
    await replay(backend)
    await put_off(backend, await backend.bind_one())


async def crash_behind_a_replay(backend: Backend, batch: Batch) -> None:
    await backend.fail(batch, delay=None)
    await backend.release(batch.lease)
    await replay(backend)
    await backend.crash_with()


async def replay(backend: Backend) -> None:
    (letter,) = await backend.storage.dead(SHARD)
    assert await backend.storage.settle_dead(SHARD, [letter.number], "head") == [letter.number]


async def repeat(backend: Backend, batch: Batch) -> None:
    """The command comes again, without a number by which it could be told."""
    await take_apart(backend, batch._replace(messages=batch.messages * 3))
    await backend.release(batch.lease)


async def reshard(backend: Backend, batch: Batch) -> None:
    await backend.storage.reshard(SHARD, 2)
    await backend.release(batch.lease)


async def urgent(backend: Backend, batch: Batch) -> None:
    await backend.register("a", "urgent", priority=-1)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, wanted=128)])
    assert settled.batch
    await backend.settle(settled.batch, release=True)


@pytest.mark.parametrize(
    "deed",
    [release, put_off, crash, put_off_behind_a_replay, crash_behind_a_replay, repeat, reshard, urgent],
    ids=lambda deed: deed.__name__,
)
async def test_requests_stay_apart_whatever_becomes_of_the_first(deed: Deed, backend: Backend) -> None:
    batch = await apart(backend, "1", "2", "3")
    await backend.register("a", "4", "5")
    await deed(backend, batch)

    assert await rest(backend) == [["1"], ["2"], ["3"], ["4", "5"]]


async def test_requests_stay_apart_behind_a_dead_letter(backend: Backend) -> None:
    batch = await apart(backend, "1", "2", "3")
    await backend.fail(batch, delay=None)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, wanted=128)])

    assert await rest(backend, settled.batch) == [["2"], ["3"]]


async def test_dropping_one_of_them_leaves_the_others_apart(backend: Backend) -> None:
    batch = await apart(backend, "1", "2", "3", "4")
    await backend.register("a", "5", "6")
    peeked = dict(await backend.storage.peek(batch.tube))
    dropped = [Waiting(0, number, digest_of(peeked[number])) for number in (batch.first + 1, batch.first + 4)]
    await backend.storage.drop(SHARD, "a", Cause("ann", "why"), dropped)

    assert await rest(backend, batch) == [["1"], ["3"], ["4"], ["6"]]


async def test_a_late_failure_of_a_call_leaves_the_next_request_in_hand(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one()
    first = await take_apart(backend, batch, call=1)
    again = await take_apart(backend, batch, call=1)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, batch.first, wanted=128, call=2)])
    late = await take_apart(backend, batch, call=1)

    assert (first, again, late) == (True, True, True)
    assert await rest(backend, settled.batch) == [["2"], ["3"]]
