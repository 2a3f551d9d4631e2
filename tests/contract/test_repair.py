"""What somebody broke by hand is put right: the recount is true again, leases last, and work goes on in order."""

import asyncio
import re
from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from sharded_queue import Handler, Queue, Route, Worker, settings
from sharded_queue.backends.redis.check import faults, repair
from sharded_queue.backends.redis.snapshot import snapshot, unindexed_tubes
from sharded_queue.coordinator import BindRequest
from sharded_queue.errors import StorageUnavailable
from sharded_queue.storage import Batch, Entry, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout
from tests.conftest import MODEL_SEED
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, bodies, handed

pytestmark = pytest.mark.redis

BASE, LOCK = "tube_{tests.Handler}", "lock_{tests.Handler}"
HOUR = 3600.0
WAITING = {
    "dying/0": ["d2"],
    "failing/0": ["f1", "f2"],
    "held/0": ["h3"],
    "later/0": ["l1"],
    "many/-1": ["m0"],
    "many/1": ["m1", "m2", "m3"],
    "once/0": ["o1", "o2"],
    "paused/0": ["p1", "p2"],
    "suspect/0": ["s1", "s2", "s3"],
    "1:0/0": ["k1"],
    "2:1/0": ["k2"],
    "2:2/0": ["k3"],
}
"""What is handled after the repair and after what is in the holder's hands, by tube."""


class Busy(NamedTuple):
    """What a worker holds of a shard that is in the middle of its work: requests of one thread, none of another."""

    held: Batch
    drained: Batch


@pytest.fixture
async def busy(on_redis: RedisBackend) -> Busy:
    return await keep_busy(on_redis)


async def keep_busy(on_redis: RedisBackend) -> Busy:
    """Puts something in every index and every record of the shard."""
    await on_redis.register("suspect", "s1", "s2", "s3")
    await on_redis.coordinator.bind(SHARD, BindRequest("dead/1", 1, 2, 0))
    await on_redis.release((await on_redis.bind_one()).lease)
    await on_redis.register("failing", "f1", "f2")
    await on_redis.fail(await bind_thread(on_redis, "failing"), HOUR, "declined")
    await on_redis.register("dying", "d1", "d2")
    dying = await bind_thread(on_redis, "dying", wanted=1)
    await on_redis.fail(dying, None, "died")
    await on_redis.release(dying.lease)
    await on_redis.register("drained", "x")
    drained = await bind_thread(on_redis, "drained")
    await on_redis.settle(drained)
    await on_redis.register("held", "h1", "h2", "h3")
    held = await bind_thread(on_redis, "held", wanted=2)
    await on_redis.register("many", "m1", "m2", "m3", priority=1)
    await on_redis.register("many", "m0", priority=-1)
    await on_redis.register("paused", "p1", "p2")
    await on_redis.storage.pause(SHARD, "paused", True)
    await on_redis.storage.register(SHARD, Registration([Entry("later", 0, [b"l1"])], delay_seconds=HOUR))
    await on_redis.storage.register(
        SHARD, Registration([Entry("once", 0, [b"o1", b"o2"], ["i1", "i2"])], window_seconds=2 * HOUR)
    )
    await on_redis.storage.schedule(SHARD, Schedule("daily", every(24 * HOUR), "once", 0, b"again"))
    await on_redis.storage.register(SHARD, Registration([Entry("1:0", 0, [b"k1"])], layout=Layout(1, 2)))
    await on_redis.storage.reshard(SHARD, 4)
    await on_redis.storage.register(
        SHARD, Registration([Entry("2:1", 0, [b"k2"]), Entry("2:2", 0, [b"k3"])], layout=Layout(2, 4))
    )
    assert await wrong(on_redis) == []
    return Busy(held, drained)


async def bind_thread(backend: RedisBackend, thread: str, wanted: int = 128) -> Batch:
    batches = await backend.bind(threads=100, wanted=wanted)
    await backend.release(*[batch.lease for batch in batches if batch.tube.thread != thread])
    (bound,) = [batch for batch in batches if batch.tube.thread == thread]
    return bound


async def wrong(backend: RedisBackend) -> list[str]:
    storage = backend.redis_storage
    try:
        return faults(await snapshot(storage, SHARD, await unindexed_tubes(storage, SHARD)))
    except StorageUnavailable as error:
        return [str(error)]


async def drain(backend: RedisBackend) -> dict[str, list[str]]:
    """What is handed out until nothing is left, by tube."""
    await backend.storage.pause(SHARD, "paused", False)
    await backend.advance(HOUR + LEASE_SECONDS)
    done: dict[str, list[str]] = {}
    while batches := await backend.bind("w/9", threads=100):
        for batch in batches:
            done.setdefault(f"{batch.tube.thread}/{batch.tube.priority}", []).extend(handed(batch))
            await backend.settle(batch, release=True)
    return done


class Breakage(NamedTuple):
    """*commands* by hand; what is handled *after* that, where it is not what waited; whose leases cannot last."""

    name: str
    commands: list[list[Any]]
    after: Mapping[str, list[str]] = MappingProxyType({})
    taken: tuple[str, ...] = ()


def hold_of(**parts: Any) -> list[Any]:
    """The record of the lease on thread `held`, with these parts in place of its own."""
    return ["hold", parts]


MESSAGE = b"1700000000000"
BREAKAGES = [
    Breakage("oldest is gone", [["DEL", f"{BASE}:oldest"]]),
    Breakage("oldest is wrong", [["ZADD", f"{BASE}:oldest", 7, "many/1"]]),
    Breakage("oldest has a tube too many", [["ZADD", f"{BASE}:oldest", 7, "nobody/1"]]),
    Breakage("deep is gone", [["DEL", f"{BASE}:deep"]]),
    Breakage("deep is wrong", [["ZADD", f"{BASE}:deep", 9, "many"]]),
    Breakage("ready is gone", [["DEL", f"{BASE}:ready"]]),
    Breakage("a held thread is ready", [["ZADD", f"{BASE}:ready", 7, "held"]]),
    Breakage("a paused thread is ready", [["ZADD", f"{BASE}:ready", 7, "paused"]]),
    Breakage("an empty thread is ready", [["ZADD", f"{BASE}:ready", 7, "nobody"]]),
    Breakage("the leases' ends are gone", [["DEL", f"{LOCK}:leases"]]),
    Breakage("a lease of nobody ends", [["ZADD", f"{LOCK}:leases", 9e12, "many"]]),
    Breakage("a held thread is put off", [["ZADD", f"{BASE}:blocked", 9e12, "held"]]),
    Breakage("back-offs and pauses are gone", [["DEL", f"{BASE}:blocked"]]),
    Breakage("a holder is called drained", [hold_of(since=0)]),
    Breakage("a drained holder is called busy", [["HSET", f"{LOCK}:held", "drained", "{drained} w/1 5 15000 0 1 0"]]),
    Breakage("other requests are in hand", [hold_of(first=500, last=501)], {"held/0": ["h1", "h2", "h3"]}, ("held",)),
    Breakage("a lease is no lease", [["HSET", f"{LOCK}:held", "held", "?"]], {"held/0": ["h1", "h2", "h3"]}, ("held",)),
    Breakage("all holders are gone", [["DEL", f"{LOCK}:held"]], {"held/0": ["h1", "h2", "h3"]}, ("held", "drained")),
    Breakage("the tubes' index is gone", [["DEL", f"{BASE}:threads"]]),
    Breakage("a thread is unknown", [["HDEL", f"{BASE}:threads", "many"]]),
    Breakage("a record is none", [["HSET", f"{BASE}:threads", "many", "?"]]),
    Breakage("a tube has no list", [["HSET", f"{BASE}:threads", "nobody", "0 1 3"]]),
    Breakage("priorities are the wrong way round", [["swap"]]),
    Breakage("a list was cut", [["LPOP", f"{BASE}/many/1"]], {"many/1": ["m2", "m3"]}),
    Breakage("a list is gone", [["DEL", f"{BASE}/many/1"]], {"many/1": []}),
    Breakage(
        "a list was appended to", [["RPUSH", f"{BASE}/many/1", MESSAGE + b"m4"]], {"many/1": ["m1", "m2", "m3", "m4"]}
    ),
    Breakage("a list came by hand", [["RPUSH", f"{BASE}/by hand/0", MESSAGE + b"b1"]], {"by hand/0": ["b1"]}),
    Breakage("a held list was cut", [["LPOP", f"{BASE}/held/0"]], {"held/0": ["h2", "h3"]}, ("held",)),
    Breakage("a failure of nobody", [["HSET", f"{BASE}:failures", "nobody/0", "3 4 1 0 E"]]),
    Breakage("a failure of other requests", [["HSET", f"{BASE}:failures", "suspect/0", "0 900 1 0 E"]]),
    Breakage("a failure is none", [["HSET", f"{BASE}:failures", "suspect/0", "?"]]),
    Breakage("the depth drifted", [["HINCRBY", f"{BASE}:counters", "depth", -3]]),
    Breakage("the depth is gone", [["HDEL", f"{BASE}:counters", "depth"]]),
    Breakage("the sequence is gone", [["HDEL", f"{BASE}:counters", "sequence"]]),
    Breakage("the fence is gone", [["HDEL", f"{BASE}:counters", "fence"]]),
    Breakage("the number of dead letters is gone", [["HDEL", f"{BASE}:counters", "dead"]]),
    Breakage("all counters are gone", [["DEL", f"{BASE}:counters"]]),
    Breakage("the marker is gone", [["HDEL", f"{BASE}:counters", "born"]]),
    Breakage("the times of delayed requests are gone", [["DEL", f"{BASE}:due"]]),
    Breakage("a delayed request is nowhere", [["ZADD", f"{BASE}:due", 7, "0000000000000007"]]),
    Breakage("the list of dead letters is gone", [["DEL", f"{BASE}:dead"]]),
    Breakage("a dead letter is nowhere", [["ZADD", f"{BASE}:dead", 7, "99"]]),
    Breakage("the times of schedules are gone", [["DEL", f"{BASE}:occurrences"]]),
    Breakage("a time is that of no schedule", [["ZADD", f"{BASE}:occurrences", 7, "nobody"]]),
    Breakage("the windows of identities are gone", [["DEL", f"{BASE}:identities"]]),
    Breakage("the first requests of identities are gone", [["DEL", f"{BASE}:firsts"]]),
    Breakage("an identity is that of no request", [["ZADD", f"{BASE}:identities", 9e12, "i9"]]),
    Breakage("a window is that of no identity", [["HSET", f"{BASE}:firsts", "i9", "99999 0 once"]]),
    Breakage("old threads are forgotten", [["DEL", f"{BASE}:old"]]),
    Breakage("a drained thread is called old", [["ZADD", f"{BASE}:old", 1, "1:1"]]),
    Breakage("an old thread has the rest of another", [["ZADD", f"{BASE}:old", 1, "1:0"]]),
    Breakage("parked threads are forgotten", [["DEL", f"{BASE}:parked"]]),
    Breakage("a parked thread is ready", [["ZADD", f"{BASE}:ready", 7, "2:2"]]),
    Breakage("a thread that waits for nobody is parked", [["ZADD", f"{BASE}:parked", 1, "2:1"]]),
    Breakage("threads are let go before the old ones are drained", [["ZADD", f"{BASE}:unparking", 0, "0"]]),
    Breakage("threads are let go that are not there", [["ZADD", f"{BASE}:unparking", 1, "1"]]),
    Breakage(
        "everything but the lists is gone",
        [["DEL", *(f"{BASE}:{name}" for name in ("threads", "ready", "oldest", "deep", "counters"))]],
    ),
]


async def carry_out(redis: Redis, command: list[Any]) -> None:
    if command[0] == "hold":
        record = (await redis.hget(f"{LOCK}:held", "held")).decode().split(" ")
        names = ("fence", "owner", "since", "lease", "priority", "first", "last")
        changed = dict(zip(names, record, strict=True)) | command[1]
        command = ["HSET", f"{LOCK}:held", "held", " ".join(map(str, changed.values()))]
    elif command[0] == "swap":
        one, other = (await redis.hget(f"{BASE}:threads", "many")).split(b" 1 ")
        command = ["HSET", f"{BASE}:threads", "many", b"1 " + other + b" " + one]
    elif "{drained}" in str(command[-1]):
        fence = (await redis.hget(f"{LOCK}:held", "drained")).decode().split(" ")[0]
        command = [*command[:-1], command[-1].format(drained=fence)]
    await redis.execute_command(*command)


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name.replace(" ", "_"))
async def test_what_was_broken_is_put_right(on_redis: RedisBackend, busy: Busy, breakage: Breakage) -> None:
    """Of every index and record: true again, leases kept where they can be, and everything handled in its order."""
    for command in breakage.commands:
        await carry_out(on_redis.redis, command)
    if breakage.name != "back-offs and pauses are gone":  # the threads are nowhere else said to wait
        assert await wrong(on_redis) != []
    assert await repair(on_redis.redis_storage, SHARD) != []
    assert await wrong(on_redis) == []
    assert await repair(on_redis.redis_storage, SHARD) == []

    assert (await on_redis.settle(busy.held)).is_lost == ("held" in breakage.taken)
    lost = await on_redis.coordinator.renew([busy.drained.lease], LEASE_SECONDS)
    assert bool(lost) == ("drained" in breakage.taken)
    expected = {tube: requests for tube, requests in {**WAITING, **breakage.after}.items() if requests}
    assert await drain(on_redis) == expected
    assert await wrong(on_redis) == []


async def test_a_repair_of_what_is_true_writes_nothing(on_redis: RedisBackend, busy: Busy) -> None:
    async def writes() -> int:
        return int((await on_redis.redis.info("persistence"))["rdb_changes_since_last_save"])

    before = await writes()
    assert await repair(on_redis.redis_storage, SHARD) == []
    assert await writes() == before


async def test_a_thread_that_is_ready_again_is_called_out(on_redis: RedisBackend, busy: Busy) -> None:
    await on_redis.redis.delete(f"{BASE}:ready", f"{BASE}:wake")
    await repair(on_redis.redis_storage, SHARD)

    assert await on_redis.redis.llen(f"{BASE}:wake") > 0


async def test_a_number_is_not_given_again_after_the_counters_were_lost(on_redis: RedisBackend, busy: Busy) -> None:
    await on_redis.redis.delete(f"{BASE}:counters")
    await repair(on_redis.redis_storage, SHARD)

    assert await on_redis.register("drained", "y") > busy.held.last


async def test_a_repair_goes_on_while_workers_do(on_redis: RedisBackend) -> None:
    """A repair between any two steps of a worker finds nothing to change, and changes no order."""
    done: dict[int, list[int]] = {}

    class Counted(Handler):
        @classmethod
        async def route(cls, *requests: int) -> list[Route]:
            return [Route(request % 7, request % 2) for request in requests]

        async def perform(self, *requests: int) -> None:
            await asyncio.sleep(0)
            for request in requests:
                done.setdefault(request % 14, []).append(request)

    settings.worker_batch_size, settings.worker_concurrency = 3, 4
    queue = Queue(on_redis.storage)
    await queue.register(Counted, *range(1000))
    worker = Worker(on_redis.coordinator, queue, handlers=[Counted])
    working = asyncio.create_task(worker.loop(1000))
    (shard,) = Counted.all_shards()
    changes = []
    while not working.done():
        changes += await repair(on_redis.redis_storage, shard)

    assert (await working, changes) == (1000, [])
    assert done == {tube: list(range(tube, 1000, 14)) for tube in range(14)}


async def test_repair_reaches_shards_of_a_cluster(on_cluster: Any) -> None:
    backend = RedisBackend(on_cluster)
    await backend.register("a", "1", "2")
    await backend.redis.delete(f"{BASE}:deep", f"{BASE}:ready")

    assert {change.index for change in await repair(backend.redis_storage, SHARD)} == {"deep", "ready"}
    assert handed(await backend.bind_one()) == ["1", "2"]


async def test_an_identity_that_lost_its_first_request_keeps_nobody_out(on_redis: RedisBackend, busy: Busy) -> None:
    await on_redis.redis.hdel(f"{BASE}:firsts", "i1")
    again = [Entry("once", 0, [b"o3", b"o4"], ["i1", "i2"])]
    done = await on_redis.storage.register(SHARD, Registration(again, window_seconds=HOUR))

    assert list(done.duplicates) == [(0, 1)]
    assert await on_redis.waiting("once") == ["o1", "o2", "o3"]


UNTOUCHED = re.compile(rb":(wake|producer|caller|layout)\b")
"""Calls, and records that are not made from anything else."""


async def damage(redis: Redis, dice: Random) -> list[Any]:
    """A command that spoils one key of the shard; what nothing else knows (dead letters, say) is only removed."""
    keys = [key async for key in redis.scan_iter() if not UNTOUCHED.search(key)]
    key = dice.choice(sorted(keys))
    match await redis.type(key):
        case b"list":
            choices = [["LPOP"], ["RPOP"], ["RPUSH", MESSAGE + b"more"]]
        case b"zset":
            member = dice.choice(sorted(await redis.zrange(key, 0, -1)))
            choices = [["ZREM", member], ["ZADD", dice.randint(0, 10**12), member], ["ZADD", 5, b"nobody/0"]]
        case _:
            field, value = dice.choice(sorted((await redis.hgetall(key)).items()))
            choices = [["HDEL", field]]
            if key.rpartition(b":")[2] in (b"threads", b"held", b"failures"):
                choices += [["HSET", dice.choice([field, b"nobody/0"]), value], ["HSET", field, b"?"]]
    command, *rest = dice.choice([["DEL"], *choices])
    return [command, key, *rest]


async def waiting_lists(redis: Redis) -> dict[str, list[str]]:
    """The requests that are left, by tube."""
    keys = [key async for key in redis.scan_iter(match=f"{BASE}/*", _type="list")]
    return {key.decode().removeprefix(f"{BASE}/"): bodies(await redis.lrange(key, 0, -1)) for key in keys}


async def test_whatever_was_done_to_the_keys_is_put_right(on_redis: RedisBackend) -> None:
    """What is left in the lists is handled in its order, and everything adds up before and after."""
    for seed in range(MODEL_SEED, MODEL_SEED + 60):
        dice = Random(seed)
        await on_redis.redis.flushall()
        await keep_busy(on_redis)
        done = []
        for _ in range(dice.randint(1, 4)):
            done.append(await damage(on_redis.redis, dice))
            await on_redis.redis.execute_command(*done[-1])
        await repair(on_redis.redis_storage, SHARD)

        assert await wrong(on_redis) == [], (seed, done)
        assert await repair(on_redis.redis_storage, SHARD) == [], (seed, done)
        left, handled = await waiting_lists(on_redis.redis), await drain(on_redis)
        assert {tube: handled.get(tube, [])[: len(requests)] for tube, requests in left.items()} == left, (seed, done)
