"""A request that fails blocks its thread for a while, and becomes a dead letter in the end."""

from sharded_queue.storage import Settlement
from tests.contract.backend import SHARD, STALL_SECONDS, Backend, bodies, handed


async def test_a_request_put_off_blocks_its_whole_thread(backend: Backend) -> None:
    await backend.register("a", "1")
    batch = await backend.bind_one()
    await backend.register("a", "2", priority=-1)
    await backend.fail(batch, delay=30)

    assert await backend.bind() == []


async def test_other_threads_do_not_wait_for_one_that_failed(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.fail(await backend.bind_one(), delay=30)
    await backend.register("b", "2")

    assert handed(await backend.bind_one()) == ["2"]


async def test_a_request_registered_during_the_back_off_waits_too(backend: Backend) -> None:
    await backend.register("a", "1")
    await backend.fail(await backend.bind_one(), delay=30)
    await backend.register("a", "2")

    assert await backend.bind() == []


async def test_a_thread_is_bound_again_after_its_back_off(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.fail(await backend.bind_one(), delay=60)
    await backend.advance(60 - STALL_SECONDS)
    before = await backend.bind()
    await backend.advance(STALL_SECONDS + 1)

    assert before == []
    assert handed(await backend.bind_one()) == ["1"]


async def test_attempts_are_counted_over_back_offs(backend: Backend) -> None:
    await backend.register("a", "1")
    attempts = []
    for _ in range(3):
        batch = await backend.bind_one()
        attempts.append(batch.attempt)
        await backend.fail(batch, delay=1)
        await backend.advance(2)

    assert attempts == [1, 2, 3]


async def test_attempts_begin_anew_with_the_next_request(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.fail(await backend.bind_one(), delay=1)
    await backend.advance(2)
    batch = (await backend.settle(await backend.bind_one(), wanted=2)).batch

    assert batch is not None
    assert (handed(batch), batch.attempt) == (["2"], 1)


async def test_failing_a_request_that_is_not_the_head_changes_no_request(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    await backend.fail(batch._replace(first=batch.first + 1), delay=None)

    assert await backend.waiting("a") == ["1", "2"]
    assert await backend.storage.dead(SHARD) == []


async def test_a_dead_letter_keeps_its_message_reason_and_attempts(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    await backend.fail(batch, delay=None, error="ValueError: “no” 13")

    (dead,) = await backend.storage.dead(SHARD)
    assert (dead.thread, dead.priority, dead.sequence) == ("a", 0, batch.first)
    assert (dead.error, dead.attempts, bodies([dead.message])) == ("ValueError: “no” 13", 1, ["1"])


async def test_a_thread_goes_on_behind_a_dead_letter(backend: Backend) -> None:
    await backend.register("a", "1", "2", "3")
    batch = await backend.bind_one()
    await backend.fail(batch, delay=None)

    (settled,) = await backend.storage.settle([Settlement(batch.lease, wanted=9)])

    assert handed(settled.batch) == ["2", "3"]


async def test_burying_twice_buries_once(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    answers = [await backend.fail(batch, delay=None), await backend.fail(batch, delay=None)]

    assert answers == [True, True]
    assert await backend.waiting("a") == ["2"]
    assert (await backend.observe()).dead == 1


async def test_the_newest_dead_letter_is_listed_first(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one()
    await backend.fail(batch, delay=None)
    (settled,) = await backend.storage.settle([Settlement(batch.lease, wanted=1)])
    await backend.advance(1)
    assert settled.batch
    await backend.fail(settled.batch, delay=None)

    assert [bodies([dead.message]) for dead in await backend.storage.dead(SHARD)] == [["2"], ["1"]]


async def test_what_was_never_handed_out_cannot_fail(backend: Backend) -> None:
    """It would pass for handed out from then on, and be settled unseen."""
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    unseen = batch._replace(first=batch.first + 1)

    assert not await backend.fail(unseen, delay=None)
    assert (await backend.settle(batch, through=batch.first + 1)).is_lost
    assert await backend.waiting("a") == ["1", "2"]
