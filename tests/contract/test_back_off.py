"""A request that fails blocks its thread for a while, and becomes a dead letter in the end."""

from sharded_queue.storage import Settlement
from tests.contract.medium import SHARD, Medium, bodies, handed


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


async def test_what_was_never_handed_out_cannot_fail(medium: Medium) -> None:
    """It would pass for handed out from then on, and be settled unseen."""
    await medium.register("a", "1", "2")
    batch = await medium.bind_one(wanted=1)
    unseen = batch._replace(first=batch.first + 1)

    assert not await medium.fail(unseen, delay=None)
    assert (await medium.settle(batch, through=batch.first + 1)).is_lost
    assert await medium.waiting("a") == ["1", "2"]
