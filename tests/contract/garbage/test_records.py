"""A record that cannot be read harms nothing else, and waits in quarantine for a repair."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from sharded_queue.backends.redis.check import found_wrong, repair
from sharded_queue.storage import Entry, Registration
from tests.contract.backend import SHARD, RedisBackend, handed
from tests.contract.garbage.keys import BASE, HEALTHY, HUGE, KINDS, LOCK, OF_BINDS, STAMP, do, drained, key

pytestmark = pytest.mark.redis


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
async def test_what_cannot_be_read_harms_nothing_else(on_redis: RedisBackend, flaw: Flaw) -> None:
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


@pytest.mark.parametrize("name", KINDS)
async def test_a_key_that_is_lost_as_well_is_made_anew(on_redis: RedisBackend, name: str) -> None:
    """Each flaw meets a worker, and then a key goes: nothing that a repair could know is stranded or reordered."""
    for flaw in FLAWS:
        await on_redis.redis.flushall()
        for thread in HEALTHY[:3]:
            await on_redis.register(thread, "1", "2")
        for command in flaw.commands:
            await do(on_redis.redis, command)
        begun = {batch.tube.thread: handed(batch) for batch in await on_redis.bind("gone/1", threads=2, wanted=1)}
        await on_redis.redis.delete(key(name))

        await repair(on_redis.redis_storage, SHARD)
        assert await found_wrong(on_redis.redis_storage, SHARD) == [], flaw.name
        await on_redis.coordinator.evict(SHARD, ["gone"])
        done = await drained(on_redis)
        sound = {thread: ["1", "2"] for thread in HEALTHY[:3]} | dict(flaw.handled)
        seen = {thread: list(dict.fromkeys([*begun.get(thread, []), *done.get(thread, [])])) for thread in sound}
        assert seen == sound, flaw.name


async def test_a_thread_that_cannot_be_read_is_in_quarantine_and_says_so(on_redis: RedisBackend) -> None:
    await on_redis.register("well", "1")
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    assert [batch.tube.thread for batch in await on_redis.bind(threads=64)] == ["well"]

    assert (await on_redis.storage.explain(SHARD, "A")).flaw == "the record of its tubes cannot be read"
    assert (await on_redis.observe()).quarantined == 1
    faults = await found_wrong(on_redis.redis_storage, SHARD)
    assert "in quarantine: thread A: the record of its tubes cannot be read" in faults


async def test_a_request_for_a_thread_that_cannot_be_read_is_kept_for_the_repair(on_redis: RedisBackend) -> None:
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    await on_redis.register("A", "y")
    await on_redis.register("A", "z")
    assert await on_redis.bind() == []

    await repair(on_redis.redis_storage, SHARD)
    assert handed(await on_redis.bind_one()) == ["x", "y", "z"]


async def test_a_resumed_thread_is_read_again(on_redis: RedisBackend) -> None:
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


LOSSES = {
    "missing": [["DEL", key("quarantine")]],
    "a list": [["DEL", key("quarantine")], ["RPUSH", key("quarantine"), "x"]],
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
async def test_a_thread_whose_quarantine_was_lost_is_repaired(on_redis: RedisBackend, loss: list[list[str]]) -> None:
    """It is not taken for a paused thread, which only a person may resume."""
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    await on_redis.bind()
    await on_redis.redis.hset(key("threads"), "A", "0 1000 1001")
    for command in loss:
        await do(on_redis.redis, command)
    assert await on_redis.bind() == []
    assert await on_redis.storage.paused(SHARD) == []
    assert await found_wrong(on_redis.redis_storage, SHARD) != []

    await repair(on_redis.redis_storage, SHARD)
    assert await found_wrong(on_redis.redis_storage, SHARD) == []
    assert handed(await on_redis.bind_one()) == ["x"]


async def test_a_pause_of_a_thread_in_quarantine_outlasts_its_repair(on_redis: RedisBackend) -> None:
    for command in tube("A", "?"):
        await do(on_redis.redis, command)
    await on_redis.bind()
    assert await on_redis.storage.pause(SHARD, "A", True)

    await repair(on_redis.redis_storage, SHARD)
    assert await on_redis.storage.paused(SHARD) == ["A"]
    assert await on_redis.bind() == []
    await on_redis.storage.pause(SHARD, "A", False)
    assert handed(await on_redis.bind_one()) == ["x"]


async def test_a_request_for_what_is_no_list_waits_for_a_worker(on_redis: RedisBackend) -> None:
    """The others of its call are registered with it, all or nothing; a user with the right to remove it does so."""
    await on_redis.redis.set(f"{BASE}/bad/0", "no list")
    await on_redis.storage.register(
        SHARD, Registration([Entry(thread, 0, [b"1", b"2"]) for thread in ("a", "bad", "c")])
    )
    await on_redis.register("bad", "3")

    assert await drained(on_redis) == {"a": ["1", "2"], "bad": ["1", "2", "3"], "c": ["1", "2"]}


async def test_requests_that_the_record_has_lost_stay_before_those_that_come(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1", "2")
    await on_redis.redis.delete(f"{BASE}:threads")
    await on_redis.register("a", "3")

    assert await drained(on_redis) == {"a": ["1", "2", "3"]}


async def test_a_held_thread_that_is_called_ready_is_not_bound_twice(on_redis: RedisBackend) -> None:
    await on_redis.register("a", "1")
    await on_redis.bind_one("w/1")
    await on_redis.redis.zadd(f"{BASE}:ready", {"a": 1})

    assert await on_redis.bind("w/2") == []
