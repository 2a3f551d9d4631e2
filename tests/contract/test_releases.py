"""
Two releases serve one queue while a rollout goes on, as docs/compatibility.md promises: this one reads what it knows of
records to which a later one has added words, and goes on with those of an earlier one, which lack some.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.coordinator import BindRequest
from sharded_queue.state import About
from sharded_queue.storage import Batch
from sharded_queue.tube import Layout
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.contract.garbage.keys import BASE, LOCK, drained

pytestmark = pytest.mark.redis

ABOUT = About("1.0.0", 8, 1_700_000_000_000)
HOLD_OF_961ABCE = re.compile(rb"(\d+) (\S+) (\d+) (\d+) (-?\d+) (-?\d+) (-?\d+) ?(\d*) ?(\d*)")
"""What the release 961abce takes for the record of a hold: one that it cannot read is free to it."""


async def work(on_redis: RedisBackend) -> Batch:
    """A worker that told of itself handles a thread of a layout, and another one waits; returns what it handles."""
    await on_redis.storage.reshard(SHARD, 4)
    await on_redis.register("1:0", "1")
    request = BindRequest("w/1", 1, 1, LEASE_SECONDS, 5.0, about=ABOUT)
    (batch,) = (await on_redis.coordinator.bind(SHARD, request)).batches
    assert await on_redis.coordinator.isolate(batch.lease, True, 1)
    await on_redis.register("1:0", "2")
    await on_redis.register("1:1", "1", "2")
    return batch


async def write_words(on_redis: RedisBackend) -> None:
    """As a later release would write that knows more of a layout, of a hold and of a worker."""
    redis = on_redis.redis
    await redis.append(f"{BASE}:layout", " 7 later")
    for thread, hold in (await redis.hgetall(f"{LOCK}:held")).items():
        await redis.hset(f"{LOCK}:held", thread, hold + b" 7 later")
    for record, told_ms in await redis.zrange(f"{LOCK}:workers", 0, -1, withscores=True):
        await redis.zrem(f"{LOCK}:workers", record)
        await redis.zadd(f"{LOCK}:workers", {record + b" 7 later": told_ms})


async def observed(on_redis: RedisBackend) -> Any:
    state = await on_redis.observe()
    held = [hold._replace(busy_seconds=0, lease_seconds=0) for hold in state.held]
    return state.layout, held, state.concurrencies, state.threads, state.ready, state.bound


async def workers(on_redis: RedisBackend) -> Any:
    return [state[:4] for state in await on_redis.storage.workers(SHARD)]


async def explained(on_redis: RedisBackend) -> Any:
    state = await on_redis.storage.explain(SHARD, "1:0")
    return state.owner, state.in_hand, state.tubes[0].depth, state.flaw


async def checked(on_redis: RedisBackend) -> Any:
    seen = await snapshot(on_redis.redis_storage, SHARD)
    return seen.layout, seen.held, seen.unreadable, await found_wrong(on_redis.redis_storage, SHARD)


async def repaired(on_redis: RedisBackend) -> Any:
    return await repair(on_redis.redis_storage, SHARD)


READS: dict[str, Callable[[RedisBackend], Awaitable[Any]]] = {
    "observe": observed,
    "workers": workers,
    "explain": explained,
    "check": checked,
    "repair": repaired,
}


@pytest.mark.parametrize("read", READS)
async def test_words_that_a_later_release_added_change_no_answer(on_redis: RedisBackend, read: str) -> None:
    await work(on_redis)
    before = await READS[read](on_redis)
    await write_words(on_redis)

    assert await READS[read](on_redis) == before


async def test_a_worker_of_a_later_release_keeps_its_thread(on_redis: RedisBackend) -> None:
    """Neither a pause that ends, nor another worker, may take what is in its hands: it settles that, and goes on."""
    in_hand = await work(on_redis)
    await write_words(on_redis)
    await on_redis.storage.pause(SHARD, "1:0", True)
    await on_redis.storage.pause(SHARD, "1:0", False)

    taken = await on_redis.bind("w/2", threads=4, wanted=1)
    assert [batch.tube.thread for batch in taken] == ["1:1"]
    assert await on_redis.coordinator.renew([in_hand.lease], LEASE_SECONDS) == []
    settled = await on_redis.settle(in_hand, wanted=1)
    assert settled.batch is not None
    assert handed(settled.batch) == ["2"]


async def test_the_threads_of_a_later_release_are_freed_and_go_on_in_order(on_redis: RedisBackend) -> None:
    await work(on_redis)
    await write_words(on_redis)

    assert await on_redis.coordinator.evict(SHARD, ["w"]) == ["1:0"]
    assert await drained(on_redis) == {"1:0": ["1", "2"], "1:1": ["1", "2"]}


async def test_a_layout_with_words_of_a_later_release_places_and_changes(on_redis: RedisBackend) -> None:
    await work(on_redis)
    await write_words(on_redis)
    changed = await on_redis.storage.reshard(SHARD, 6)

    assert (changed.layout, changed.undrained) == (Layout(2, 6), 2)


async def test_a_shift_with_words_of_a_later_release_goes_on(on_redis: RedisBackend) -> None:
    """It was forgotten: what waits would have waited for as long as the clock was set back."""
    await on_redis.register("a", "1")
    batch = await on_redis.bind_one()
    await on_redis.fail(batch, 3600)
    await on_redis.redis.hset(f"{BASE}:counters", "shift", "3600000 1 -inf 0 7 later")

    assert await on_redis.bind("w/2")


async def test_a_hold_of_an_earlier_release_lacks_what_came_later(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1", "2")
    batch = await on_redis.bind_one(wanted=1)
    hold = await on_redis.redis.hget(f"{LOCK}:held", "a")
    await on_redis.redis.hset(f"{LOCK}:held", "a", b" ".join(hold.split()[:7]))

    assert [held.thread for held in (await on_redis.observe()).held] == ["a"]
    assert await on_redis.coordinator.isolate(batch.lease, True, 1)
    assert await on_redis.settle(batch, wanted=1, release=True)


@pytest.mark.parametrize("ageing_seconds", [0.0, 5.0])
@pytest.mark.parametrize("is_alone", [False, True])
async def test_an_earlier_release_reads_every_hold(
    on_redis: RedisBackend, ageing_seconds: float, is_alone: bool
) -> None:
    """One that said `alone` at its end was free to 961abce: a resume there gave the thread to a second worker."""
    await on_redis.register("a", "1", "2")
    (batch,) = await on_redis.bind(wanted=1, ageing_seconds=ageing_seconds)
    assert await on_redis.coordinator.isolate(batch.lease, is_alone, 1)
    read = HOLD_OF_961ABCE.fullmatch(await on_redis.redis.hget(f"{LOCK}:held", "a"))

    assert read is not None
    assert (read[2], int(read[8]), int(read[9])) == (b"w/1", ageing_seconds * 1000, 1)
