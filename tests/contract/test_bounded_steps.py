"""Steps whose cost does not grow with what others have: each looks at a bounded number of things."""

import pytest

from sharded_queue import StorageUnavailable
from sharded_queue.backends.redis.coordinator import LEASES_AT_ONCE
from sharded_queue.storage import Entry, Registration
from tests.contract.backend import SHARD, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, GIVEN_UP, make_lossy
from tests.contract.test_redis import commands_of, spent

pytestmark = pytest.mark.redis
OTHERS = 1000
"""Threads that other workers hold: too many for one page of a small hash."""


async def hold_by_others(backend: RedisBackend) -> None:
    await backend.storage.register(SHARD, Registration([Entry(f"t{number}", 0, [b"x"]) for number in range(OTHERS)]))
    assert len(await backend.bind("other/1", threads=OTHERS)) == OTHERS


async def lose_a_bind(backend: RedisBackend) -> None:
    await backend.register("a", "1")
    link = make_lossy(backend.coordinator)
    link.fates.extend([ANSWER_LOST, GIVEN_UP])
    with pytest.raises(StorageUnavailable):
        await backend.bind("w/1")


async def test_a_bind_after_one_without_an_answer_reads_no_holds_of_others(on_redis: RedisBackend) -> None:
    await hold_by_others(on_redis)
    await lose_a_bind(on_redis)
    before = await commands_of(on_redis.redis)
    assert (await on_redis.bind_one("w/1")).lease.thread == "a"

    assert sum((await spent(on_redis.redis, before)).values()) < 100


async def test_a_bind_sent_again_reads_no_holds_of_others(on_redis: RedisBackend) -> None:
    await hold_by_others(on_redis)
    await on_redis.register("a", "1")
    make_lossy(on_redis.coordinator).fates.extend([ANSWER_LOST, ANSWER_LOST])
    before = await commands_of(on_redis.redis)
    assert handed(await on_redis.bind_one("w/1")) == ["1"]

    assert sum((await spent(on_redis.redis, before)).values()) < 100


async def test_an_eviction_looks_at_a_part_of_the_holds_at_a_time(on_redis: RedisBackend) -> None:
    await hold_by_others(on_redis)
    await on_redis.register("a", "1")
    await on_redis.bind_one("gone/1")
    before = await commands_of(on_redis.redis)
    assert await on_redis.coordinator.evict(SHARD, ["gone"]) == ["a"]

    used = await spent(on_redis.redis, before)
    assert used["evalsha"] >= OTHERS // LEASES_AT_ONCE
    assert "hkeys" not in used
    assert len(await on_redis.coordinator.evict(SHARD, ["other"])) == OTHERS


async def test_a_bind_moves_due_requests_up_to_a_bound_of_bytes(on_redis: RedisBackend) -> None:
    """Those that are left come with the next bind, in their order."""
    for letter in "abc":
        entry = Entry("a", 0, [letter.encode() * 2_500_000])
        await on_redis.storage.register(SHARD, Registration([entry], delay_seconds=1))
    await on_redis.advance(2)
    batch = await on_redis.bind_one(wanted=1)

    assert (await on_redis.observe()).delayed == 2
    for _ in range(2):
        await on_redis.bind("w/2")
    assert (await on_redis.observe()).delayed == 0
    assert [text[0] for text in await on_redis.waiting("a")] == ["a", "b", "c"]
    assert handed(batch)[0][0] == "a"
