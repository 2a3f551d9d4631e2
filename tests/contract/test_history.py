"""The last failures of a thread are kept for a while, whatever became of the requests."""

import pytest

from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.state import PastFailure
from sharded_queue.storage import Batch, Failure
from tests.contract.backend import SHARD, Backend, RedisBackend

DAY_SECONDS = 86_400


async def fail(backend: Backend, batch: Batch, error: str, delay: float | None = 0, traceback: str = "") -> None:
    assert await backend.storage.fail(
        Failure(batch.lease, batch.tube.priority, batch.first, batch.attempt, error, delay, traceback=traceback)
    )


async def history(backend: Backend, thread: str = "a") -> list[PastFailure]:
    return (await backend.storage.explain(SHARD, thread)).failures


async def test_each_try_that_failed_is_remembered_the_newest_first(backend: Backend) -> None:
    first = await backend.register("a", "1")
    await fail(backend, await backend.bind_one(), "ValueError: no", traceback="File x, line 1")
    await fail(backend, await backend.bind_one(), "KeyError: 7", None, traceback="File y, line 2")
    second, earlier = await history(backend)

    assert second[1:] == (0, first, 2, "KeyError: 7", "File y, line 2")
    assert earlier[1:] == (0, first, 1, "ValueError: no", "File x, line 1")
    assert second.failed_ms >= earlier.failed_ms


async def test_a_success_leaves_the_failures_before_it(backend: Backend) -> None:
    """The thread is drained by now: what went wrong last night is still there."""
    await backend.register("a", "1")
    await fail(backend, await backend.bind_one(), "ValueError: no")
    await backend.settle(await backend.bind_one(), release=True)

    assert [past.error for past in await history(backend)] == ["ValueError: no"]
    assert await history(backend, "b") == []


async def test_ten_failures_are_remembered(backend: Backend) -> None:
    await backend.register("a", "1")
    for number in range(13):
        await fail(backend, await backend.bind_one(), f"error {number}\u2028")

    assert [past.error for past in await history(backend)] == [f"error {number}\u2028" for number in range(12, 2, -1)]


async def test_a_worker_that_died_is_remembered_by_its_name(backend: Backend) -> None:
    await backend.register("a", "1", "2")
    await backend.crash_with()
    await backend.bind_one("w/1")
    (past,) = await history(backend)

    assert (past.error, past.attempt, past.traceback) == ("dead/1 died", 1, "")


async def test_a_long_error_is_cut_and_a_long_traceback_keeps_its_end(backend: Backend) -> None:
    await backend.register("a", "1")
    await fail(backend, await backend.bind_one(), "x" * 10_000, traceback="y" * 10_000 + "the end")
    (past,) = await history(backend)

    assert past.error == "x" * 500
    assert (len(past.traceback), past.traceback[-7:]) == (1000, "the end")


@pytest.mark.redis
async def test_failures_of_a_day_ago_are_forgotten_with_the_next_one(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    await on_redis.register("b", "2")
    await fail(on_redis, await on_redis.bind_one(), "old", 3600)
    base = on_redis.redis_storage.keys.base(SHARD)
    await on_redis.redis.zincrby(f"{base}:failed", -DAY_SECONDS * 1000 - 1, "a")
    await fail(on_redis, await on_redis.bind_one(), "new")

    assert await history(on_redis, "a") == []
    assert [past.error for past in await history(on_redis, "b")] == ["new"]
    assert 0 < await on_redis.redis.pttl(f"{base}:history") <= DAY_SECONDS * 1000


@pytest.mark.redis
async def test_the_last_thousand_threads_that_failed_are_remembered(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    base = on_redis.redis_storage.keys.base(SHARD)
    for number in range(1000):
        await on_redis.redis.hset(f"{base}:history", f"t{number}", "1700000000000 0 1 1 1 0 E")
        await on_redis.redis.zadd(f"{base}:failed", {f"t{number}": 10**12 + number})
    await on_redis.redis.zadd(f"{base}:failed", {f"t{number}": 4 * 10**12 + number for number in range(1000)})
    await fail(on_redis, await on_redis.bind_one(), "new")

    assert await on_redis.redis.hlen(f"{base}:history") == await on_redis.redis.zcard(f"{base}:failed") == 1000


@pytest.mark.redis
@pytest.mark.parametrize("garbage", [b"?", b"1 0 1 1 900 0 x", b"\xff\x00", b""])
async def test_a_history_that_cannot_be_read_begins_anew(on_redis: RedisBackend, garbage: bytes) -> None:
    await on_redis.register("a", "1")
    base = on_redis.redis_storage.keys.base(SHARD)
    await on_redis.redis.hset(f"{base}:history", "a", garbage)
    await history(on_redis)
    await fail(on_redis, await on_redis.bind_one(), "new")

    assert [past.error for past in await history(on_redis)] == ["new"]
    await on_redis.redis.hset(f"{base}:history", "b", b"?")
    assert any("history" in fault for fault in await found_wrong(on_redis.redis_storage, SHARD))
    await repair(on_redis.redis_storage, SHARD)
    assert await found_wrong(on_redis.redis_storage, SHARD) == []
    assert [past.error for past in await history(on_redis)] == ["new"]
