"""A request that is the same as one registered before is left out, in the same step that registers the others."""

import time

import pytest
from redis.asyncio import Redis

from sharded_queue import QueueFull
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.storage import Cause, Entry, First, Registered, Registration
from sharded_queue.tube import Shard
from tests.contract.backend import SHARD, Backend, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, COMMAND_LOST, make_lossy

WINDOW_SECONDS = 60.0


async def once(
    backend: Backend, *lines: tuple[str, str], window: float = WINDOW_SECONDS, capacity: int | None = None
) -> Registered:
    """Register requests, of which each letter is one and the identity of it, in a tube per (thread, letters)."""
    entries = [Entry(thread, 0, [letter.encode() for letter in letters], letters) for thread, letters in lines]
    return await backend.storage.register(SHARD, Registration(entries, capacity=capacity, window_seconds=window))


async def test_a_request_that_was_registered_before_is_left_out_and_names_the_first(backend: Backend) -> None:
    first = await once(backend, ("a", "x"))
    again = await once(backend, ("a", "xy"))

    assert await backend.waiting("a") == ["x", "y"]
    assert again.duplicates == {(0, 0): First("a", 0, first.firsts[0])}
    assert again.firsts == [first.firsts[0] + 1]


async def test_a_request_that_comes_twice_in_one_call_is_left_out(backend: Backend) -> None:
    done = await once(backend, ("a", "xyx"), ("b", "yz"))

    assert (await backend.waiting("a"), await backend.waiting("b")) == (["x", "y"], ["z"])
    assert done.duplicates == {(0, 2): First("a", 0, done.firsts[0]), (1, 0): First("a", 0, done.firsts[0] + 1)}


async def test_a_duplicate_names_the_route_of_the_first(backend: Backend) -> None:
    await backend.storage.register(
        SHARD, Registration([Entry("a b", -7, [b"x"], ["x"])], window_seconds=WINDOW_SECONDS)
    )
    done = await once(backend, ("b", "x"))

    assert (done.firsts, done.duplicates[0, 0].thread, done.duplicates[0, 0].priority) == ([0], "a b", -7)
    assert await backend.waiting("b") == []
    assert (await backend.observe()).threads == 1


async def test_a_request_that_was_handled_still_keeps_others_out(backend: Backend) -> None:
    first = await once(backend, ("a", "x"))
    await backend.settle(await backend.bind_one(), release=True)
    again = await once(backend, ("a", "x"))

    assert again.duplicates == {(0, 0): First("a", 0, first.firsts[0])}
    assert await backend.bind() == []


async def put_off(backend: Backend, letter: str) -> Registered:
    entry = Entry("a", 0, [letter.encode()], [letter])
    registration = Registration([entry], delay_seconds=60, window_seconds=WINDOW_SECONDS)
    return await backend.storage.register(SHARD, registration)


async def test_a_cancelled_request_keeps_no_others_out(backend: Backend) -> None:
    cancelled, stays = (await put_off(backend, "x")).firsts[0], (await put_off(backend, "y")).firsts[0]
    await backend.storage.cancel(SHARD, [cancelled])
    again = await once(backend, ("a", "xy"))

    assert again.duplicates == {(0, 1): First("a", 0, stays)}
    assert await backend.waiting("a") == ["x"]


async def test_cancelling_frees_no_identity_that_another_request_has_by_now(backend: Backend) -> None:
    (before,) = (await put_off(backend, "x")).firsts
    await backend.storage.move_delayed(SHARD, [before], int((time.time() + 3600) * 1000))
    await backend.advance(WINDOW_SECONDS + 1)
    (after,) = (await once(backend, ("b", "x"))).firsts
    await backend.storage.cancel(SHARD, [before])

    assert (await once(backend, ("b", "x"))).duplicates == {(0, 0): First("b", 0, after)}


async def test_a_dropped_request_still_keeps_others_out(backend: Backend) -> None:
    first = await once(backend, ("a", "x"))
    await backend.storage.drop(SHARD, "a", Cause("ann", "why"))

    assert (await once(backend, ("a", "x"))).duplicates == {(0, 0): First("a", 0, first.firsts[0])}


async def test_the_window_begins_with_the_registration_and_no_duplicate_prolongs_it(backend: Backend) -> None:
    await once(backend, ("a", "x"))
    await backend.advance(WINDOW_SECONDS - 10)
    within = await once(backend, ("a", "x"))
    await backend.advance(11)
    after = await once(backend, ("a", "x"))

    assert (len(within.duplicates), len(after.duplicates)) == (1, 0)
    assert await backend.waiting("a") == ["x", "x"]


async def test_a_delayed_request_keeps_others_out_from_its_registration_on(backend: Backend) -> None:
    entry = Entry("a", 0, [b"x"], ["x"])
    done = await backend.storage.register(SHARD, Registration([entry], delay_seconds=10, window_seconds=WINDOW_SECONDS))
    again = await once(backend, ("a", "x"))
    await backend.advance(11)

    assert again.duplicates == {(0, 0): First("a", 0, done.firsts[0])}
    assert handed(await backend.bind_one()) == ["x"]


async def test_a_registration_without_a_window_looks_for_nothing_and_leaves_no_trace(backend: Backend) -> None:
    await once(backend, ("a", "x"))
    await backend.register("a", "x", "y")
    done = await once(backend, ("a", "y"))

    assert await backend.waiting("a") == ["x", "x", "y", "y"]
    assert done.duplicates == {}


async def test_duplicates_need_no_room_in_a_bounded_tube(backend: Backend) -> None:
    await once(backend, ("a", "xy"), capacity=3)
    await once(backend, ("a", "xyzx"), capacity=3)
    full = await once(backend, ("a", "zyx"), capacity=2)

    assert await backend.waiting("a") == ["x", "y", "z"]
    assert len(full.duplicates) == 3


async def test_what_found_no_room_keeps_nobody_out(backend: Backend) -> None:
    await once(backend, ("a", "x"))
    with pytest.raises(QueueFull):
        await once(backend, ("b", "uv"), ("a", "xyz"), capacity=2)
    done = await once(backend, ("b", "uv"), ("a", "yz"))

    assert (done.duplicates, await backend.waiting("b")) == ({}, ["u", "v"])
    assert await backend.waiting("a") == ["x", "y", "z"]


async def test_duplicates_are_counted_apart(backend: Backend) -> None:
    await once(backend, ("a", "xyx"))
    await once(backend, ("a", "y"))
    state = await backend.observe()

    assert (state.registered, state.duplicates, state.depth) == (2, 2, 2)


async def test_another_shard_knows_nothing_of_it(backend: Backend) -> None:
    await once(backend, ("a", "x"))
    other = await backend.storage.register(
        Shard("tests.Other"), Registration([Entry("a", 0, [b"x"], ["x"])], window_seconds=WINDOW_SECONDS)
    )

    assert other.duplicates == {}


@pytest.mark.redis
@pytest.mark.parametrize("losses", [[ANSWER_LOST], [COMMAND_LOST, ANSWER_LOST], [ANSWER_LOST, ANSWER_LOST]])
async def test_a_registration_whose_answer_was_lost_is_no_duplicate_of_itself(
    on_redis: RedisBackend, losses: list[str]
) -> None:
    link = make_lossy(on_redis.redis_storage)
    first = await once(on_redis, ("a b", "x"))
    link.fates.extend(losses)
    done = await once(on_redis, ("a b", "yxy"), ("c", "z"))
    named = First("a b", 0, first.firsts[0])

    assert done.duplicates == {(0, 1): named, (0, 2): named._replace(sequence=first.firsts[0] + 1)}
    assert done.firsts[0] == first.firsts[0] + 1
    assert await on_redis.waiting("a b") == ["x", "y"]
    assert (await on_redis.observe()).duplicates == 2


@pytest.mark.redis
async def test_identities_whose_time_is_over_are_removed(on_redis: RedisBackend) -> None:
    for batch in range(4):
        await once(on_redis, ("a", "".join(chr(0x4E00 + 30 * batch + n) for n in range(30))))
    before = len((await snapshot(on_redis.redis_storage, SHARD)).identities)
    await on_redis.advance(WINDOW_SECONDS + 1)
    await once(on_redis, ("a", "x"))
    halfway = len((await snapshot(on_redis.redis_storage, SHARD)).identities)
    for letter in "abc":
        await once(on_redis, ("a", letter))
    seen = await snapshot(on_redis.redis_storage, SHARD)

    assert before == 120
    assert 1 < halfway < 120
    assert seen.identities.keys() == seen.firsts.keys() == set("xabc")


@pytest.mark.redis
async def test_more_identities_are_removed_than_a_call_can_add(on_redis: RedisBackend) -> None:
    for batch in range(3):
        await once(on_redis, ("a", "".join(chr(0x4E00 + 5000 * batch + n) for n in range(5000))))
        await on_redis.advance(WINDOW_SECONDS + 1)

    assert len((await snapshot(on_redis.redis_storage, SHARD)).identities) == 5000


@pytest.mark.redis
async def test_redis_forgets_all_identities_when_the_last_window_is_over(on_redis: RedisBackend, redis: Redis) -> None:
    await once(on_redis, ("a", "x"), window=1000)
    await once(on_redis, ("a", "y"), window=10)
    base = on_redis.redis_storage.keys.base(SHARD)
    lives = [await redis.pttl(f"{base}:{name}") for name in ("identities", "firsts")]

    assert all(990_000 < life <= 1_000_000 for life in lives)
