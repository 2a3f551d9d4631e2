"""A key of another kind is refused by name before anything is written, or made anew."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.coordinator import BindRequest
from sharded_queue.errors import UnreadableData
from sharded_queue.monitoring import metrics
from sharded_queue.state import About
from sharded_queue.storage import Batch, Cause, Entry, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.contract.garbage.keys import BASE, HUGE, KINDS, LOCK, OTHER_KINDS, drained, key

pytestmark = pytest.mark.redis


class Scene(NamedTuple):
    """A shard in the middle of its work: what a worker holds, and who was told so."""

    held: Batch
    failing: Batch


async def scene(backend: RedisBackend) -> Scene:
    """Puts something into every key of the shard."""
    storage = backend.storage
    await backend.register("suspect", "s1", "s2")
    await backend.crash_with(wanted=2)
    await backend.release(*[batch.lease for batch in await backend.bind("w/1", threads=1)])
    await backend.register("dying", "d1", "d2")
    dying = next(batch for batch in await backend.bind("w/1", threads=64, wanted=1) if batch.tube.thread == "dying")
    await backend.fail(dying, None, "died")
    await backend.settle(dying._replace(first=dying.last + 1), through=dying.last, release=True)
    await backend.redis.zadd(f"{LOCK}:leases", dict.fromkeys(await backend.redis.hkeys(f"{LOCK}:held"), 1))
    await backend.bind(threads=0)
    await backend.register("paused", "p1")
    await storage.pause(SHARD, "paused", True)
    await storage.register(SHARD, Registration([Entry("later", 0, [b"l1"])], delay_seconds=3600.0))
    await storage.register(SHARD, Registration([Entry("once", 0, [b"o1", b"o2"], ["i1", "i2"])], window_seconds=7200.0))
    await backend.register("unwanted", "u1")
    await storage.drop(SHARD, "unwanted", Cause("ann", "why"))
    await storage.schedule(SHARD, Schedule("daily", every(86400), "once", 0, b"again"))
    await backend.coordinator.cordon(SHARD, ["going"], 3600.0)
    await backend.coordinator.bind(SHARD, BindRequest("w/1", 0, 1, LEASE_SECONDS, about=About("1.0", 8, 0)))
    await backend.register("held", "h1", "h2", "h3")
    await backend.register("failing", "f1", "f2")
    batches = {batch.tube.thread: batch for batch in await backend.bind("w/2", threads=64, wanted=1)}
    kept = Scene(batches.pop("held"), batches.pop("failing"))
    await backend.release(*[batch.lease for batch in batches.values()])
    await backend.redis.delete(f"{BASE}:wake")
    await backend.coordinator.notify(SHARD)
    return kept


async def steps(backend: RedisBackend, at: Scene) -> AsyncIterator[tuple[str, Callable[[], Awaitable[Any]]]]:
    """A call of each script that writes."""
    storage, coordinator = backend.redis_storage, backend.coordinator
    identified = [Entry("once", 0, [b"o3"], ["i3"])]
    schedule = Schedule("hourly", every(3600), "once", 0, b"more")
    yield (
        "register",
        lambda: storage.register(SHARD, Registration([Entry("new", 0, [b"1", b"2"]), Entry("many", 0, [b"3", b"4"])])),
    )
    yield "register more", lambda: storage.register(SHARD, Registration([Entry("held", 0, [b"4"])]))
    yield "put off", lambda: storage.register(SHARD, Registration([Entry("new", 0, [b"1"])], delay_seconds=3600.0))
    yield "register once", lambda: storage.register(SHARD, Registration(identified, window_seconds=3600.0))
    yield "schedule", lambda: storage.schedule(SHARD, schedule)
    yield "unschedule", lambda: storage.unschedule(SHARD, "daily")
    yield "move_delayed", lambda: storage.move_delayed(SHARD, range(20), int(time.time() * 1000) + 60_000)
    yield "edit_schedule", lambda: storage.edit_schedule(SHARD, "daily", every(60))
    yield "run_schedule", lambda: storage.run_schedule(SHARD, "daily")
    yield "run_delayed", lambda: storage.run_delayed(SHARD, range(20))
    yield "register_due", lambda: storage.register_due(SHARD)
    yield "bind", lambda: coordinator.bind(SHARD, BindRequest("w/3", 64, 8, LEASE_SECONDS))
    yield "renew", lambda: coordinator.renew([at.held.lease], LEASE_SECONDS)
    yield "settle", lambda: backend.settle(at.held, wanted=2, release=True)
    yield "fail", lambda: backend.fail(at.failing, 3600.0)
    yield "bury", lambda: backend.fail(at.failing, None)
    yield "release", lambda: backend.release(at.held.lease)
    yield "evict", lambda: coordinator.evict(SHARD, ["w"])
    yield "cancel", lambda: storage.cancel(SHARD, [0])
    yield "cordon", lambda: coordinator.cordon(SHARD, ["going"], 3600.0)
    yield "pause", lambda: storage.pause(SHARD, "many", True)
    yield "resume", lambda: storage.pause(SHARD, "paused", False)
    yield "replay", lambda: storage.settle_dead(SHARD, [1], "tail")
    yield "drop", lambda: storage.drop(SHARD, "once", Cause("ann", "why"))
    yield "reshard", lambda: storage.reshard(SHARD, 4)


async def contents(redis: Redis) -> dict[bytes, bytes]:
    """All keys, but for the time that scripts note of the clock."""
    await redis.eval("redis.pcall('HDEL', KEYS[1], 'latest')", 1, key("counters"))
    names = sorted(await redis.keys())
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.dump(name)
    return dict(zip(names, await pipeline.execute(), strict=True))


NOT_TOLD = re.compile(rb":caller$|:news$|:wake$")
"""Calls are no data, and answers are kept for those who ask again."""


@pytest.mark.parametrize("name", KINDS)
async def test_a_key_of_another_kind_is_refused_by_name_before_anything_is_written(
    on_redis: RedisBackend, name: str
) -> None:
    """Or the script does not need it; and a repair removes it, and everything sound is handed out in its order."""
    redis, refused = on_redis.redis, 0
    at = await scene(on_redis)
    before = [command async for command in copied(redis)]
    kinds = cycle(kind for kind in OTHER_KINDS if kind != KINDS[name])
    async for step, call in steps(on_redis, at):
        await restore(redis, before)
        kind = await spoil(redis, name, next(kinds))
        was = await contents(redis)
        if message := await refusal(call):
            refused += 1
            assert f"the key {key(name)} holds no" in message, (kind, step)
            is_ = await contents(redis)
            changed = {each for each in was.keys() | is_.keys() if was.get(each) != is_.get(each)}
            assert not [each for each in changed if not NOT_TOLD.search(each)], (kind, step)
    assert refused or name == "wake"


@pytest.mark.parametrize("layout", ["", "garbage", "1 0 0", "0 0 0 0", f"1 {HUGE} 0", b"\xff"])
async def test_without_the_layout_nothing_is_placed_by_it(on_redis: RedisBackend, layout: str | bytes) -> None:
    """A wrong guess may let requests of one key pass each other: the key is named, and what to write into it."""
    await on_redis.storage.register(SHARD, Registration([Entry("1:0", 0, [b"1"])], layout=Layout(1, 2)))
    await on_redis.redis.set(f"{BASE}:layout", layout)
    was = await contents(on_redis.redis)
    entries = [Entry("1:1", 0, [b"2"])]
    refused = await refusal(lambda: on_redis.storage.register(SHARD, Registration(entries, layout=Layout(1, 2))))

    assert refused
    assert 'write "NUMBER THREADS 0" into it' in refused
    assert await refusal(lambda: repair(on_redis.redis_storage, SHARD)) == refused
    assert await contents(on_redis.redis) == was
    assert handed(await on_redis.bind_one()) == ["1"]


async def refusal(call: Callable[[], Awaitable[Any]]) -> str | None:
    try:
        await call()
    except UnreadableData as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["ready", "blocked", "leases"])
async def test_a_settlement_that_gives_a_thread_back_needs_the_keys_for_it(on_redis: RedisBackend, name: str) -> None:
    """It once removed the requests, and left a thread that was neither held nor ready."""
    at = await scene(on_redis)
    await spoil(on_redis.redis, name, "string")
    was = await contents(on_redis.redis)

    assert await refusal(lambda: on_redis.settle(at.held, wanted=0, release=True))
    assert await contents(on_redis.redis) == was


WAITING = {
    "dying": ["d2"],
    "failing": ["f1", "f2"],
    "held": ["h1", "h2", "h3"],
    "later": ["l1"],
    "once": ["o1", "o2"],
    "paused": ["p1"],
    "suspect": ["s1", "s2"],
}
"""What is handed out of the scene, by thread."""


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", KINDS)
async def test_a_key_of_another_kind_is_made_anew(on_redis: RedisBackend, name: str, kind: str) -> None:
    """Everything is handed out after the repair, in its order; only what was nowhere else is lost with the key."""
    if kind == KINDS[name]:
        kind = "set"
    await scene(on_redis)
    await spoil(on_redis.redis, name, kind)
    faults = await found_wrong(on_redis.redis_storage, SHARD)
    assert any(f"the key {key(name)} holds no" in fault for fault in faults)

    await repair(on_redis.redis_storage, SHARD)
    assert await found_wrong(on_redis.redis_storage, SHARD) == []
    await on_redis.storage.pause(SHARD, "paused", False)
    await on_redis.advance(3600.0 + LEASE_SECONDS)
    assert await drained(on_redis) == {
        thread: requests for thread, requests in WAITING.items() if (thread, name) != ("later", "later")
    }


async def copied(redis: Redis) -> AsyncIterator[tuple[bytes, bytes, int]]:
    for name in await redis.keys():
        yield name, await redis.dump(name), max(0, await redis.pttl(name))


async def restore(redis: Redis, before: Sequence[tuple[bytes, bytes, int]]) -> None:
    pipeline = redis.pipeline(transaction=False)
    pipeline.flushall()
    for name, value, ttl in before:
        pipeline.restore(name, ttl, value)
    await pipeline.execute()


async def spoil(redis: Redis, name: str, kind: str) -> str:
    command, _, *values = OTHER_KINDS[kind]
    await redis.delete(key(name))
    await redis.execute_command(command, key(name), *values)
    return kind


async def test_metrics_tell_what_cannot_be_read_and_go_on(on_redis: RedisBackend) -> None:
    """Nothing else is said of a handler whose sums would be wrong."""
    other = Shard("tests.Other")
    await on_redis.storage.register(other, Registration([Entry("a", 0, [b"1"]), Entry("b", 0, [b"2"])]))
    await on_redis.redis.hset("tube_{tests.Other}:threads", "b", "?")
    await on_redis.coordinator.bind(other, BindRequest("w/1", 8, 8, LEASE_SECONDS))
    await on_redis.register("a", "1")
    await spoil(on_redis.redis, "ready", "string")
    states = await metrics.observed(on_redis.storage, [SHARD, other])
    families = metrics.of_queues(states or [], [SHARD, other])
    told = {(sample.name, sample.labels["handler"]): sample.value for family in families for sample in family.samples}

    assert told["sharded_queue_handler_unreadable_shards", SHARD.handler] == 1
    assert told["sharded_queue_handler_unreadable_shards", other.handler] == 0
    assert told["sharded_queue_handler_quarantined", other.handler] == 1
    assert told["sharded_queue_handler_depth", other.handler] == 2
    assert ("sharded_queue_handler_depth", SHARD.handler) not in told
