"""
Garbage in the keys of a shard, from a raw write or a bug: it harms only the record it is in, and is repaired.

Only on Redis: no one else writes to the memory of a process.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from itertools import cycle
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sharded_queue import Handler, Queue, Route, Worker, settings
from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.coordinator import BindRequest
from sharded_queue.errors import UnreadableData
from sharded_queue.monitoring import metrics
from sharded_queue.storage import Batch, Entry, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard
from tests.conftest import MODEL_SEED
from tests.contract.medium import LEASE_SECONDS, SHARD, RedisMedium, handed

pytestmark = pytest.mark.redis

BASE, LOCK = "tube_{tests.Handler}", "lock_{tests.Handler}"
KINDS = {
    "threads": "hash",
    "ready": "zset",
    "blocked": "zset",
    "oldest": "zset",
    "deep": "zset",
    "failures": "hash",
    "counters": "hash",
    "wake": "list",
    "dead": "zset",
    "letters": "hash",
    "due": "zset",
    "later": "hash",
    "cancelled": "zset",
    "identities": "zset",
    "firsts": "hash",
    "schedules": "hash",
    "occurrences": "zset",
    "layout": "string",
    "old": "zset",
    "parked": "zset",
    "unparking": "zset",
    "leases": "zset",
    "held": "hash",
    "cordoned": "zset",
    "quarantine": "hash",
}
"""Every key of a shard, and what it holds."""
OF_BINDS = {"leases", "held", "cordoned"}
OTHER_KINDS = {
    "string": ["SET", None, "garbage"],
    "list": ["RPUSH", None, "garbage"],
    "set": ["SADD", None, "garbage"],
    "hash": ["HSET", None, "garbage", "garbage"],
    "zset": ["ZADD", None, 1, "garbage"],
}
STAMP = b"1700000000000"
HEALTHY = [f"t{n}" for n in range(40)]
HUGE = "9" * 400


def key(name: str) -> str:
    return f"{LOCK if name in OF_BINDS else BASE}:{name}"


async def do(redis: Redis, command: Sequence[Any]) -> None:
    await redis.execute_command(*command)


def test_no_key_of_the_scripts_is_forgotten() -> None:
    """A key that is added to the scripts is added here, and so to all that is tried below."""
    prelude = (files("sharded_queue.backends.redis") / "lua" / "_prelude.lua").read_text()
    named = set(re.findall(r"^local [A-Z]+ = (base|lock) \.\. ':(\w+)'", prelude, re.MULTILINE))
    by_kind = prelude.partition("local function keys_by_kind()")[2].partition("\nend\n")[0]
    listed = {
        (prefix or "base", name): kind
        for kind, names in re.findall(r"(hash|zset|list|string) = ((?:'[^']*'[\s.]*)+),", by_kind)
        for prefix, name in re.findall(r"(\w*):(\w+)", names)
    }

    assert named == {("lock" if name in OF_BINDS else "base", name) for name in KINDS}
    assert listed == {("lock" if name in OF_BINDS else "base", name): kind for name, kind in KINDS.items()}


# Records.


class Flaw(NamedTuple):
    """*commands* by hand make something that cannot be read; *handled* is what is left of it after a repair."""

    name: str
    commands: list[list[Any]]
    handled: Mapping[str, list[str]] = MappingProxyType({})


def tube(thread: str | bytes, record: str = "0 1000 1001", message: bytes = STAMP + b"x") -> list[list[Any]]:
    """The commands that make a thread by hand."""
    name = thread.encode() if isinstance(thread, str) else thread
    return [
        ["HSET", f"{BASE}:threads", name, record],
        ["RPUSH", f"{BASE}/".encode() + name + b"/0", message],
        ["ZADD", f"{BASE}:oldest", 1_700_000_000_000, name + b"/0"],
        ["ZADD", f"{BASE}:ready", 1_700_000_000_000, name],
        ["HINCRBY", f"{BASE}:counters", "depth", 1],
    ]


FLAWS = [
    Flaw("a record of tubes is none", tube("A", "?"), {"A": ["x"]}),
    Flaw("a record of tubes is huge", tube("A", f"0 0 {HUGE}"), {"A": ["x"]}),
    Flaw("a record of tubes is larger than Redis counts", tube("A", "0 0 9007199254740993000"), {"A": ["x"]}),
    Flaw("a record of tubes ends in garbage", tube("A", "0 1000 1001 nan"), {"A": ["x"]}),
    Flaw("a record of tubes has a huge priority", tube("A", f"{HUGE} 1 2"), {"A": ["x"]}),
    Flaw("a record of tubes is empty", tube("A", ""), {"A": ["x"]}),
    Flaw("a thread is not text", tube(b"\xff\xfe"), {r"\xff\xfe": ["x"]}),
    Flaw("a failure is none", [*tube("A"), ["HSET", f"{BASE}:failures", "A/0", "garbage"]], {"A": ["x"]}),
    Flaw("a failure is huge", [*tube("A"), ["HSET", f"{BASE}:failures", "A/0", f"1000 {HUGE} 1 1 E"]], {"A": ["x"]}),
    Flaw("a lease is none", [["HSET", f"{LOCK}:held", "A", "garbage"], ["ZADD", f"{LOCK}:leases", 1, "A"]]),
    Flaw("a lease is huge", [*tube("A"), ["HSET", f"{LOCK}:held", "A", f"{HUGE} w 1 1 0 0 0"]], {"A": ["x"]}),
    Flaw("a lease never ends", [["ZADD", f"{LOCK}:leases", "inf", "A"]]),
    Flaw("a lease is of no thread", [["ZADD", f"{LOCK}:leases", "-inf", b"\xff"]]),
    Flaw("a list is none", [*tube("A")[2:], *tube("A")[:1], ["SET", f"{BASE}/A/0", "x"]]),
    Flaw("a delayed request is nowhere", [["ZADD", f"{BASE}:due", 1, "0000000000000099"]]),
    Flaw("a delayed request is not numbered", [["ZADD", f"{BASE}:due", "-inf", b"\xff\n"]]),
    Flaw(
        "a delayed request is none",
        [["ZADD", f"{BASE}:due", 1, "0000000000000099"], ["HSET", f"{BASE}:later", "0000000000000099", "junk"]],
    ),
    Flaw(
        "a delayed request has no time",
        [
            ["ZADD", f"{BASE}:due", "-inf", "0000000000000099"],
            ["HSET", f"{BASE}:later", "0000000000000099", b"1 0 A" + STAMP + b"x"],
        ],
        {"A": ["x"]},
    ),
    Flaw("a schedule is nowhere", [["ZADD", f"{BASE}:occurrences", 1, "s"]]),
    Flaw("a schedule is none", [["ZADD", f"{BASE}:occurrences", 1, "s"], ["HSET", f"{BASE}:schedules", "s", "junk"]]),
    Flaw("a dead letter is none", [["HSET", f"{BASE}:letters", "7", "junk"], ["ZADD", f"{BASE}:dead", 1, "7"]]),
    Flaw("a dead letter is not numbered", [["HSET", f"{BASE}:letters", b"\xff", "junk"]]),
    Flaw("an identity is that of nothing", [["HSET", f"{BASE}:firsts", b"\xff", b"\xff"]]),
    Flaw("the fence is huge", [["HSET", f"{BASE}:counters", "fence", "1e300"]]),
    Flaw("the fence is infinite", [["HSET", f"{BASE}:counters", "fence", "inf"]]),
    Flaw("the depth is NaN", [["HSET", f"{BASE}:counters", "depth", "nan"]]),
    Flaw("the depth is huge", [["HSET", f"{BASE}:counters", "depth", HUGE]]),
    Flaw("a counter is unknown", [["HSET", f"{BASE}:counters", b"\xff", b"\xff"]]),
    Flaw("a lag is before all times", [["ZADD", f"{BASE}:oldest", "-1e300", "t1/0"]]),
    Flaw("a depth is infinite", [["ZADD", f"{BASE}:deep", "inf", "t1"]]),
    Flaw("a thread without requests is ready", [["ZADD", f"{BASE}:ready", "-inf", b"\xff"]]),
    Flaw("a back-off of nobody", [["ZADD", f"{BASE}:blocked", "-inf", b"\xff"]]),
    Flaw("the layout is none", [["SET", f"{BASE}:layout", "1 0 0"]]),
]


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name.replace(" ", "_"))
async def test_what_cannot_be_read_harms_nothing_else(on_redis: RedisMedium, flaw: Flaw) -> None:
    """All others are bound, settled and observed as if it were not there; a repair leaves nothing unreadable."""
    for thread in HEALTHY:
        await on_redis.register(thread, "1", "2")
    for command in flaw.commands:
        await do(on_redis.redis, command)

    done = await drained(on_redis)
    assert {thread: done.get(thread) for thread in HEALTHY} == {thread: ["1", "2"] for thread in HEALTHY}
    await on_redis.register("t1", "3")
    await repair(on_redis.redis_storage, SHARD)
    assert await found_wrong(on_redis.redis_storage, SHARD) == []
    assert await repair(on_redis.redis_storage, SHARD) == []
    await on_redis.observe()
    for thread, requests in (await drained(on_redis)).items():
        done.setdefault(thread, []).extend(requests)
    assert {thread: done.get(thread) for thread in flaw.handled} == flaw.handled
    assert done["t1"] == ["1", "2", "3"]
    assert (await on_redis.observe()).quarantined == 0


async def drained(medium: RedisMedium) -> dict[str, list[str]]:
    """What is handed out and settled until nothing is left, by thread."""
    done: dict[str, list[str]] = {}
    while batches := await medium.bind("w/9", threads=64, wanted=1):
        for batch in batches:
            done.setdefault(batch.tube.thread, []).extend(handed(batch))
            next_one = await medium.settle(batch, wanted=1, release=True)
            while next_one.batch:
                done[batch.tube.thread] += handed(next_one.batch)
                next_one = await medium.settle(next_one.batch, wanted=1, release=True)
    return done


async def test_a_thread_that_cannot_be_read_is_in_quarantine_and_says_so(on_redis: RedisMedium) -> None:
    await on_redis.register("well", "1")
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    assert [batch.tube.thread for batch in await on_redis.bind(threads=64)] == ["well"]

    assert (await on_redis.storage.explain(SHARD, "A")).flaw == "the record of its tubes cannot be read"
    assert (await on_redis.observe()).quarantined == 1
    faults = await found_wrong(on_redis.redis_storage, SHARD)
    assert "in quarantine: thread A: the record of its tubes cannot be read" in faults


async def test_a_request_for_a_thread_that_cannot_be_read_is_kept_for_the_repair(on_redis: RedisMedium) -> None:
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    await on_redis.register("A", "y")
    await on_redis.register("A", "z")
    assert await on_redis.bind() == []

    await repair(on_redis.redis_storage, SHARD)
    assert handed(await on_redis.bind_one()) == ["x", "y", "z"]


async def test_a_resumed_thread_is_read_again(on_redis: RedisMedium) -> None:
    """A person who corrects the record by hand resumes the thread; one that is still unreadable stays in quarantine."""
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    await on_redis.bind()
    await on_redis.storage.pause(SHARD, "A", False)
    assert await on_redis.bind() == []
    assert (await on_redis.observe()).quarantined == 1

    await on_redis.redis.hset(f"{BASE}:threads", "A", "0 1000 1001")
    await on_redis.storage.pause(SHARD, "A", False)
    assert handed(await on_redis.bind_one()) == ["x"]
    assert (await on_redis.observe()).quarantined == 0


async def test_a_request_for_what_is_no_list_waits_for_a_worker(on_redis: RedisMedium) -> None:
    """The others of its call are registered with it, all or nothing; a user with the right to remove it does so."""
    await on_redis.redis.set(f"{BASE}/bad/0", "no list")
    await on_redis.storage.register(
        SHARD, Registration([Entry(thread, 0, [b"1", b"2"]) for thread in ("a", "bad", "c")])
    )
    await on_redis.register("bad", "3")

    assert await drained(on_redis) == {"a": ["1", "2"], "bad": ["1", "2", "3"], "c": ["1", "2"]}


async def test_requests_that_the_record_has_lost_stay_before_those_that_come(on_redis: RedisMedium) -> None:
    await on_redis.register("a", "1", "2")
    await on_redis.redis.delete(f"{BASE}:threads")
    await on_redis.register("a", "3")

    assert await drained(on_redis) == {"a": ["1", "2", "3"]}


async def test_a_held_thread_that_is_called_ready_is_not_bound_twice(on_redis: RedisMedium) -> None:
    await on_redis.register("a", "1")
    await on_redis.bind_one("w/1")
    await on_redis.redis.zadd(f"{BASE}:ready", {"a": 1})

    assert await on_redis.bind("w/2") == []


# Keys.


class Scene(NamedTuple):
    """A shard in the middle of its work: what a worker holds, and who was told so."""

    held: Batch
    failing: Batch


async def scene(medium: RedisMedium) -> Scene:
    """Puts something into every key of the shard."""
    storage = medium.storage
    await medium.register("suspect", "s1", "s2")
    await medium.crash_with(wanted=2)
    await medium.release(*[batch.lease for batch in await medium.bind("w/1", threads=1)])
    await medium.register("dying", "d1", "d2")
    dying = next(batch for batch in await medium.bind("w/1", threads=64, wanted=1) if batch.tube.thread == "dying")
    await medium.fail(dying, None, "died")
    await medium.settle(dying._replace(first=dying.last + 1), through=dying.last, release=True)
    await medium.redis.zadd(f"{LOCK}:leases", dict.fromkeys(await medium.redis.hkeys(f"{LOCK}:held"), 1))
    await medium.bind(threads=0)
    await medium.register("paused", "p1")
    await storage.pause(SHARD, "paused", True)
    await storage.register(SHARD, Registration([Entry("later", 0, [b"l1"])], delay_seconds=3600.0))
    await storage.register(SHARD, Registration([Entry("once", 0, [b"o1", b"o2"], ["i1", "i2"])], window_seconds=7200.0))
    await storage.schedule(SHARD, Schedule("daily", every(86400), "once", 0, b"again"))
    await medium.coordinator.cordon(SHARD, ["going"], 3600.0)
    await medium.register("held", "h1", "h2", "h3")
    await medium.register("failing", "f1", "f2")
    batches = {batch.tube.thread: batch for batch in await medium.bind("w/2", threads=64, wanted=1)}
    kept = Scene(batches.pop("held"), batches.pop("failing"))
    await medium.release(*[batch.lease for batch in batches.values()])
    await medium.redis.delete(f"{BASE}:wake")
    await medium.coordinator.notify(SHARD)
    return kept


async def steps(medium: RedisMedium, at: Scene) -> AsyncIterator[tuple[str, Callable[[], Awaitable[Any]]]]:
    """A call of each script that writes."""
    storage, coordinator = medium.redis_storage, medium.coordinator
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
    yield "register_due", lambda: storage.register_due(SHARD)
    yield "bind", lambda: coordinator.bind(SHARD, BindRequest("w/3", 64, 8, LEASE_SECONDS))
    yield "renew", lambda: coordinator.renew([at.held.lease], LEASE_SECONDS)
    yield "settle", lambda: medium.settle(at.held, wanted=2, release=True)
    yield "fail", lambda: medium.fail(at.failing, 3600.0)
    yield "bury", lambda: medium.fail(at.failing, None)
    yield "release", lambda: medium.release(at.held.lease)
    yield "evict", lambda: coordinator.evict(SHARD, ["w"])
    yield "cancel", lambda: storage.cancel(SHARD, [0])
    yield "cordon", lambda: coordinator.cordon(SHARD, ["going"], 3600.0)
    yield "pause", lambda: storage.pause(SHARD, "many", True)
    yield "resume", lambda: storage.pause(SHARD, "paused", False)
    yield "replay", lambda: storage.settle_dead(SHARD, [1], "tail")
    yield "reshard", lambda: storage.reshard(SHARD, 4)


async def contents(redis: Redis) -> dict[bytes, bytes]:
    """All keys, but for the time that scripts note of the clock."""
    await redis.eval("redis.pcall('HDEL', KEYS[1], 'latest')", 1, key("counters"))
    return {name: await redis.dump(name) for name in sorted(await redis.keys())}


NOT_TOLD = re.compile(rb":producer:|:caller:|:wake:|:wake$")
"""Calls are no data, and answers are kept for those who ask again."""


@pytest.mark.parametrize("name", KINDS)
async def test_a_key_of_another_kind_is_refused_by_name_before_anything_is_written(
    on_redis: RedisMedium, name: str
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
async def test_without_the_layout_nothing_is_placed_by_it(on_redis: RedisMedium, layout: str | bytes) -> None:
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
async def test_a_settlement_that_gives_a_thread_back_needs_the_keys_for_it(on_redis: RedisMedium, name: str) -> None:
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
async def test_a_key_of_another_kind_is_made_anew(on_redis: RedisMedium, name: str, kind: str) -> None:
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


async def test_metrics_tell_what_cannot_be_read_and_go_on(on_redis: RedisMedium) -> None:
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


# A live worker.

SECONDS = 30
FUZZED_SECONDS = 25
"""How long rounds are begun."""
LEASE = 2.0
HANDLED: dict[str, list[str]] = {}
"""What the handler of the fuzz handled, by tube."""
PROGRESS = asyncio.Event()


class Fuzzed(Handler):
    """Takes requests written `thread:number`; the priority is that of the number."""

    name = SHARD.handler

    @classmethod
    async def route(cls, *requests: str) -> list[Route]:
        return [Route(request.partition(":")[0], int(request[-1]) % 2) for request in requests]

    async def perform(self, *requests: str) -> None:
        for request in requests:
            HANDLED.setdefault(tube_of(request), []).append(request)
        PROGRESS.set()
        await asyncio.sleep(0.001)


def tube_of(request: str) -> str:
    return f"{request.partition(':')[0]}/{int(request[-1]) % 2}"


def by_tube(requests: Iterable[str]) -> dict[str, list[str]]:
    """The first time that each request came, in their order, by tube."""
    tubes: dict[str, list[str]] = {}
    for request in dict.fromkeys(requests):
        tubes.setdefault(tube_of(request), []).append(request)
    return tubes


async def test_garbage_over_a_live_worker_harms_nothing_that_is_sound(on_redis: RedisMedium) -> None:
    """
    Garbage in one key, then in two, while a worker works: nothing that was acknowledged is lost, reordered or buried,
    and after a repair all of it is handled.
    """
    settings.coordinator_lease, settings.coordinator_delay, settings.redis_retry = LEASE, 0.2, 1.0
    settings.worker_concurrency, settings.worker_batch_size = 8, 4
    now = asyncio.get_running_loop().time
    end, seed = now() + FUZZED_SECONDS, MODEL_SEED
    while now() < end:
        await fuzzed(on_redis, Random(seed), f"MODEL_SEED={seed}")
        seed += 1


async def fuzzed(medium: RedisMedium, dice: Random, seed: str) -> None:
    await medium.redis.flushall()
    HANDLED.clear()
    done: list[Any] = [seed]
    producer = Registrar(Queue(medium.storage), dice)
    worker = Worker(medium.coordinator, producer.queue, handlers=[Fuzzed])
    await producer.register()
    working = asyncio.create_task(worker.loop())
    for pieces in (1, 2):
        for _ in range(pieces):
            done.append(garbage(dice))
            with suppress(ResponseError):  # the key is of another kind already
                await do(medium.redis, done[-1][1])
        await producer.register()
        await asyncio.sleep(dice.choice([0, 0.01, 0.2]))
        await put_right(medium)
        await producer.register()
    try:
        async with asyncio.timeout(SECONDS):
            while {tube: len(set(requests)) for tube, requests in HANDLED.items()} != producer.counts:
                PROGRESS.clear()
                await PROGRESS.wait()
    except TimeoutError:
        pytest.fail(f"{done}: {producer.missing()} were not handled; {await found_wrong(medium.redis_storage, SHARD)}")
    finally:
        worker.stop()
        await working
    assert {tube: list(dict.fromkeys(requests)) for tube, requests in HANDLED.items()} == by_tube(producer.all), done
    assert [letter.message for letter in await medium.storage.dead(SHARD) if letter.thread] == [], done
    await put_right(medium)


class Registrar:
    """Registers requests, those that were refused again, and knows what was acknowledged."""

    def __init__(self, queue: Queue, dice: Random) -> None:
        self.queue, self.dice, self.number = queue, dice, 0
        self.all: list[str] = []
        self.refused: list[str] = []

    async def register(self) -> None:
        """What is refused is registered before anything else later on: so its order stays."""
        made = [f"t{self.dice.randrange(12)}:{self.number + n}" for n in range(24)]
        self.number += len(made)
        requests = self.refused + made
        try:
            await self.queue.register(Fuzzed, *requests)
        except UnreadableData:
            self.refused = requests
        else:
            self.all += requests
            self.refused = []

    @property
    def counts(self) -> dict[str, int]:
        return {tube: len(requests) for tube, requests in by_tube(self.all).items()}

    def missing(self) -> list[str]:
        return sorted(set(self.all) - {request for requests in HANDLED.values() for request in requests})


async def put_right(medium: RedisMedium) -> None:
    """As an operator does: repair, and delete the one key that a repair leaves."""
    with suppress(UnreadableData):
        await repair(medium.redis_storage, SHARD)
        return
    await medium.redis.delete(key("layout"))
    await repair(medium.redis_storage, SHARD)


NAMES = ["t1", "t2/0", "t3", "t4/1", "nobody", "nobody/0", "0000000000000007", "3:1", b"\xff\xfe", ""]
SCORES = ["-inf", "inf", "1e300", "-1e300", "0", "-1", "1e15", "7.5"]
VALUES = ["", "garbage", "nan", "inf", "-1", HUGE, "1e300", b"\xff\x00\n\x1b", "0 1", f"0 0 {HUGE}", "1 0 t1", "- - -"]
FIELDS = [
    "depth",
    "sequence",
    "fence",
    "dead",
    "registered",
    "settled",
    "busy_us",
    "born",
    "looked",
    "largest",
    "latest",
    "mended",
]


def garbage(dice: Random) -> tuple[str, list[Any]]:
    """A command that puts garbage into one key, and what it is."""
    name = dice.choice(sorted(KINDS))
    kind = KINDS[name]
    if dice.random() < 0.3:
        other = dice.choice([each for each in OTHER_KINDS if each != kind])
        command, _, *values = OTHER_KINDS[other]
        script = "redis.call('DEL', KEYS[1]) redis.call(unpack(ARGV))"
        return f"{name} is a {other}", ["EVAL", script, 1, key(name), command, key(name), *values]
    if dice.random() < 0.2 and name != "later":
        return f"{name} is missing", ["DEL", key(name)]
    member, value = dice.choice(NAMES), dice.choice(VALUES)
    if kind == "zset":
        score = dice.choice(SCORES)
        if (name, score) == ("blocked", "inf"):  # that is a pause
            score = "-inf"
        return f"{name} has {score} for {member!r}", ["ZADD", key(name), score, member]
    if kind == "hash":
        field = dice.choice(FIELDS) if name == "counters" else member
        return f"{name} has {value!r:.20} for {field!r}", ["HSET", key(name), field, value]
    if kind == "list":
        return f"{name} has {value!r:.20}", ["RPUSH", key(name), value]
    return f"{name} is {value!r:.20}", ["SET", key(name), value]
