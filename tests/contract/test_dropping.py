"""A person drops waiting requests: they become dead letters, and the others keep their order."""

import pytest

from sharded_queue import letters, steps
from sharded_queue.backends.redis import storage as redis_storage
from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.storage import Cause, Dropped, Entry, Registration, Schedule, Settlement, Waiting, digest_of
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Tube
from tests.contract.backend import SHARD, Backend, RedisBackend, bodies, handed
from tests.contract.test_redis import commands_of, spent

WHY = Cause("ann", "imported twice")


async def requests(backend: Backend, thread: str, *wanted: str, priority: int = 0) -> list[Waiting]:
    """The waiting requests with these bodies, in the order of the tube."""
    peeked = await backend.storage.peek(Tube(SHARD, thread, priority), 1000)
    return [
        Waiting(priority, sequence, digest_of(message))
        for sequence, message in peeked
        if bodies([message])[0] in wanted
    ]


async def drop(backend: Backend, thread: str, *wanted: str) -> Dropped:
    return await backend.storage.drop(SHARD, thread, WHY, await requests(backend, thread, *wanted))


async def test_a_dropped_request_is_a_dead_letter_and_the_others_keep_their_order(backend: Backend) -> None:
    await backend.register("a", *"12345")
    dropped = await drop(backend, "a", "2", "4")

    assert await backend.waiting("a") == ["1", "3", "5"]
    assert dropped == Dropped([1, 2])
    newest = await backend.storage.dead(SHARD)
    assert sorted((letter.number, bodies([letter.message]), letter.error) for letter in newest) == [
        (1, ["2"], "dropped by ann: imported twice"),
        (2, ["4"], "dropped by ann: imported twice"),
    ]
    assert ((await backend.observe()).depth, (await backend.observe()).dead) == (3, 2)
    assert handed(await backend.bind_one()) == ["1", "3", "5"]


async def test_a_dropped_request_can_be_put_back(backend: Backend) -> None:
    await backend.register("a", *"123")
    (letter,) = (await drop(backend, "a", "1")).letters
    await backend.storage.settle_dead(SHARD, [letter], "head")

    assert await backend.waiting("a") == ["1", "2", "3"]


async def test_who_dropped_what_and_why_remains(backend: Backend) -> None:
    await backend.register("a", *"123")
    await backend.register("b", "4")
    await drop(backend, "a", "1", "3")
    await backend.storage.settle_dead(SHARD, [1, 2], "drop")
    await backend.storage.drop(SHARD, "b", Cause("bob", "no longer needed"))
    last, first = await backend.storage.drops(SHARD)

    assert last[1:] == ("bob", "no longer needed", "b", 1, 3)
    assert first[1:] == ("ann", "imported twice", "a", 2, 1)
    assert await backend.storage.drops(SHARD, 1) == [last]


async def test_who_dropped_dead_letters_and_why_is_one_record_of_all_steps(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (letters, steps):
        monkeypatch.setattr(module, "STEP_NUMBERS", 2)
    await backend.register("a", *"12345678")
    await drop(backend, "a", *"12345678")
    whys = [Cause("ann", "wrong"), Cause("ann", "wrong"), Cause("é", "wrong é")]
    for why, numbers in zip(whys, ([1, 2, 3, 4, 5, 99], [6], [7, 8]), strict=True):
        async for _ in letters.settle(backend.storage, SHARD, numbers, "drop", why):
            pass
    async for _ in letters.settle(backend.storage, SHARD, [99], "drop", WHY):
        pass

    assert [record[1:] for record in await backend.storage.drops(SHARD)] == [
        ("é", "wrong é", "", 2, 7),
        ("ann", "wrong", "", 1, 6),
        ("ann", "wrong", "", 5, 1),
        (*WHY, "a", 8, 1),
    ]


async def test_dead_letters_are_not_dropped_for_a_reason_that_is_no_line(backend: Backend) -> None:
    await backend.register("a", "1")
    await drop(backend, "a", "1")
    with pytest.raises(ValueError, match="give a line"):
        await backend.storage.settle_dead(SHARD, [1], "drop", cause=Cause("ann", "two\nlines"))

    assert len(await backend.storage.dead(SHARD)) == 1


async def test_what_a_worker_has_in_hand_stays(backend: Backend) -> None:
    await backend.register("a", *"1234")
    wanted = await requests(backend, "a", *"1234")
    batch = await backend.bind_one(wanted=2)
    dropped = await backend.storage.drop(SHARD, "a", WHY, wanted)

    assert (dropped.letters, dropped.in_hand, list(dropped.held)) == ([1, 2], 2, wanted[:2])
    await backend.register("a", "5")
    assert handed((await backend.settle(batch, wanted=5)).batch) == ["5"]


async def test_all_of_a_thread_are_dropped_but_what_is_in_hand(backend: Backend) -> None:
    await backend.register("a", *"12")
    await backend.register("a", *"34", priority=7)
    batch = await backend.bind_one(wanted=1)
    dropped = await backend.storage.drop(SHARD, "a", WHY)

    assert (len(dropped.letters), dropped.in_hand) == (3, 1)
    assert await backend.waiting("a") == ["1"]
    assert (await backend.settle(batch, release=True)).is_released
    assert (await backend.observe()).threads == 0


async def test_a_thread_without_a_request_left_is_not_bound(backend: Backend) -> None:
    await backend.register("a", *"12")
    await backend.storage.drop(SHARD, "a", WHY)

    assert (await backend.observe()).ready == 0
    assert await backend.bind() == []
    await backend.register("a", "3")
    assert handed(await backend.bind_one()) == ["3"]


async def test_a_holder_that_waits_for_the_next_request_gets_it_after_a_drop(backend: Backend) -> None:
    """The rest of its thread was dropped between two batches."""
    await backend.register("a", *"12")
    batch = await backend.bind_one(wanted=1)
    await backend.settle(batch)
    await backend.storage.drop(SHARD, "a", WHY)
    assert (await backend.observe()).held[0].busy_seconds == 0
    await backend.register("a", "3")

    (settled,) = await backend.storage.settle([Settlement(batch.lease, wanted=1)])
    assert handed(settled.batch) == ["3"]


async def test_another_request_of_the_same_number_is_not_dropped(backend: Backend) -> None:
    """Two people drop the same request: the second one would have hit the one that moved up."""
    await backend.register("a", *"1234")
    wanted = await requests(backend, "a", "2")
    await backend.storage.drop(SHARD, "a", WHY, wanted)
    dropped = await backend.storage.drop(SHARD, "a", WHY, wanted)

    assert dropped == Dropped([], missing=tuple(wanted))
    assert await backend.waiting("a") == ["1", "3", "4"]
    assert len(await backend.storage.drops(SHARD)) == 1


async def test_a_request_named_twice_is_dropped_once(backend: Backend) -> None:
    await backend.register("a", *"123")
    wanted = await requests(backend, "a", "2")
    dropped = await backend.storage.drop(SHARD, "a", WHY, wanted + wanted)

    assert dropped.letters == [1]
    assert await backend.waiting("a") == ["1", "3"]


async def test_the_suspicion_of_a_crash_stays_with_its_requests(backend: Backend) -> None:
    """A worker died with three requests; the middle one is dropped, and the others are tried one by one."""
    await backend.register("a", *"12345")
    await backend.crash_with(wanted=3)
    await backend.bind(threads=0)
    await drop(backend, "a", "2")
    first = await backend.bind_one(wanted=5)
    second = (await backend.settle(first, wanted=5)).batch
    assert second
    third = (await backend.settle(second, wanted=5)).batch

    assert (handed(first), first.attempt) == (["1"], 2)
    assert (handed(second), handed(third)) == (["3"], ["4", "5"])


async def test_the_next_request_is_not_to_blame_for_a_dropped_one(backend: Backend) -> None:
    await backend.register("a", *"12")
    await backend.fail(await backend.bind_one(wanted=1), delay=60)
    dropped = await drop(backend, "a", "1")
    (letter,) = await backend.storage.dead(SHARD)
    await backend.storage.pause(SHARD, "a", False)

    assert (dropped.letters, letter.attempts) == ([1], 1)
    assert (await backend.bind_one()).attempt == 1


async def test_what_a_gone_worker_had_in_hand_is_dropped_without_the_next_bind(backend: Backend) -> None:
    """The only worker is gone and its lease has ended, so no worker frees its thread."""
    await backend.register("a", *"12")
    batch = await backend.crash_with(wanted=1)
    dropped = await backend.storage.drop(SHARD, "a", WHY)

    assert len(dropped.letters) == 2
    assert (await backend.settle(batch)).is_lost
    assert (await backend.observe()).depth == 0


async def test_a_parked_thread_may_be_dropped_and_an_old_one_makes_way(backend: Backend) -> None:
    layout = Layout(1, 2)
    await backend.storage.register(SHARD, Registration([Entry("1:0", 0, [b"old"])], layout=layout))
    await backend.storage.reshard(SHARD, 4)
    new = [Entry("2:0", 0, [b"1"]), Entry("2:2", 0, [b"2"])]
    await backend.storage.register(SHARD, Registration(new, layout=Layout(2, 4)))
    await backend.storage.drop(SHARD, "2:0", WHY)
    assert (await backend.observe()).parked == 1
    await backend.storage.drop(SHARD, "1:0", WHY)

    assert handed(await backend.bind_one()) == ["2"]


async def test_a_delayed_request_is_not_part_of_the_thread_yet(backend: Backend) -> None:
    await backend.storage.register(SHARD, Registration([Entry("a", 0, [b"later"])], delay_seconds=60))
    await backend.register("a", "1")

    assert len((await backend.storage.drop(SHARD, "a", WHY)).letters) == 1
    assert (await backend.observe()).delayed == 1


@pytest.mark.parametrize("cause", [Cause("", "why"), Cause("ann", ""), Cause("ann", "a\nb"), Cause("ann", "x" * 501)])
async def test_a_drop_needs_a_line_that_says_who_and_why(backend: Backend, cause: Cause) -> None:
    await backend.register("a", "1")

    with pytest.raises(ValueError, match="give a line of 1 to"):
        await backend.storage.drop(SHARD, "a", cause)
    assert await backend.waiting("a") == ["1"]


@pytest.mark.redis
async def test_a_large_thread_is_dropped_in_steps(on_redis: RedisBackend) -> None:
    """None of which holds Redis for long; what is registered meanwhile stays."""
    await on_redis.register("a", *map(str, range(2500)))
    await on_redis.bind_one(wanted=2)
    dropped = await on_redis.storage.drop(SHARD, "a", WHY)

    assert (len(dropped.letters), dropped.in_hand) == (2498, 2)
    assert [each.requests for each in await on_redis.storage.drops(SHARD)] == [498, 1000, 1000]
    assert await on_redis.waiting("a") == ["0", "1"]


async def test_requests_near_both_ends_are_dropped(backend: Backend) -> None:
    await backend.register("a", *map(str, range(10)))
    await drop(backend, "a", "1", "2", "7", "8")

    assert await backend.waiting("a") == ["0", "3", "4", "5", "6", "9"]


@pytest.mark.redis
async def test_requests_deep_in_a_tube_stay(on_redis: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that are dropped together have a bounded number of others between them and the ends."""
    monkeypatch.setattr(redis_storage, "DROP_REACH", 3)
    await on_redis.register("a", *map(str, range(10)))
    await on_redis.register("a", *map(str, range(10, 14)), priority=1)
    (deep,) = await requests(on_redis, "a", "4")
    near = await requests(on_redis, "a", "1", "8")
    others = await requests(on_redis, "a", "12", priority=1)

    assert await on_redis.storage.drop(SHARD, "a", WHY, [deep]) == ([], 0, (), (), (deep,))
    dropped = await on_redis.storage.drop(SHARD, "a", WHY, [*near, *others])
    assert (len(dropped.letters), dropped.deep) == (2, tuple(others))
    assert await on_redis.waiting("a") == ["0", "2", "3", "4", "5", "6", "7", "9"]


@pytest.mark.redis
async def test_occurrences_of_other_threads_cost_a_drop_one_command(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1", "2", "3")
    for number in range(100):
        plan = Schedule(f"s{number}", every(60), f"t{number}", 0, b"x", skip_if_waiting=True)
        await on_redis.storage.schedule(SHARD, plan)
    before = await commands_of(on_redis.redis)
    await drop(on_redis, "a", "2")

    assert sum((await spent(on_redis.redis, before)).values()) < 100


@pytest.mark.redis
async def test_more_than_a_thousand_at_once_are_refused(on_redis: RedisBackend) -> None:
    with pytest.raises(ValueError, match="1001 requests are named: at most 1000 at once"):
        await on_redis.storage.drop(SHARD, "a", WHY, [Waiting(0, 1, "")] * 1001)


@pytest.mark.redis
@pytest.mark.parametrize("garbage", [b"?", b"", b"1700000000000 900 1 1 1 x", b"\xff\x00"])
async def test_a_record_of_a_drop_that_cannot_be_read_hides_no_other(on_redis: RedisBackend, garbage: bytes) -> None:
    await on_redis.register("a", "1")
    await on_redis.storage.drop(SHARD, "a", WHY)
    await on_redis.redis.lpush(f"{on_redis.redis_storage.keys.base(SHARD)}:drops", garbage)
    assert any("drops" in fault for fault in await found_wrong(on_redis.redis_storage, SHARD))
    assert "a" in [drop.thread for drop in await on_redis.storage.drops(SHARD)]
    await repair(on_redis.redis_storage, SHARD)

    assert await found_wrong(on_redis.redis_storage, SHARD) == []
    assert [drop.thread for drop in await on_redis.storage.drops(SHARD)] == ["a"]
