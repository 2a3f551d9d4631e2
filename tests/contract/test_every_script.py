"""
Every script that writes, sent again and arriving late: the same answer as once, and no change of what came after it.

A new script is found by its file and has to have its deed here.
"""

import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from sharded_queue.backends.redis.check import faults, repair
from sharded_queue.backends.redis.scripts import source
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.coordinator import PartDone
from sharded_queue.errors import QueueFull
from sharded_queue.state import Exhausted
from sharded_queue.storage import (
    Batch,
    Cause,
    Entry,
    Failure,
    Registration,
    Schedule,
    Settlement,
    Waiting,
    digest_of,
)
from sharded_queue.timing import every
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.contract.lossy import ANSWER_LOST, FINE, HELD_UP, make_lossy

pytestmark = pytest.mark.redis
PASSING = {b"latest"}
"""Counters that follow the clock."""

Step = Callable[[RedisBackend, Any], Awaitable[Any]]


class Deed(NamedTuple):
    """
    *before* makes what *act* is given; *act* returns what can be compared, and sends the script as its command number
    *at*; *after* are newer commands.
    """

    act: Step
    after: Step
    before: Callable[[RedisBackend], Awaitable[Any]]
    at: int = 0


async def nothing(_: RedisBackend) -> None:
    return


async def bound(backend: RedisBackend) -> Batch:
    await backend.register("a", "1", "2", "3", "4")
    return await backend.bind_one("w/1", wanted=1)


async def bound_all(backend: RedisBackend) -> Batch:
    await backend.register("a", "1", "2", "3", "4")
    return await backend.bind_one("w/1")


async def letter(backend: RedisBackend) -> Batch:
    batch = await bound(backend)
    await backend.fail(batch, delay=None)
    return batch


async def letter_of_a_free_thread(backend: RedisBackend) -> None:
    await backend.release((await letter(backend)).lease)


async def spread_over_two(backend: RedisBackend) -> None:
    await backend.storage.reshard(SHARD, 2)


async def planned(backend: RedisBackend) -> None:
    await backend.storage.schedule(SHARD, PLAN)


async def due(backend: RedisBackend) -> None:
    await planned(backend)
    await backend.advance(601)


async def put_off(backend: RedisBackend, _: Any = None) -> int:
    ((number,), _) = await backend.storage.register(SHARD, Registration([Entry("a", 0, [b"later"])], delay_seconds=60))
    return number


async def spoiled(backend: RedisBackend) -> None:
    await backend.register("a", "1")
    await backend.redis.delete(f"{backend.redis_storage.keys.base(SHARD)}:ready")


async def full(backend: RedisBackend) -> Batch:
    await backend.register("a", "1")
    return await backend.bind_one()


async def pipe(backend: RedisBackend) -> None:
    """As the predecessor left it."""
    await backend.redis.rpush("{p}pipe", "1", "1", "1")


def drop_from_pipe(before: int) -> Step:
    async def act(backend: RedisBackend, _: Any) -> Any:
        keys, arguments = ["{p}pipe", "{p}progress"], ["pipe", before, 1, "1", "1"]
        return await backend.redis_storage.scripts.run("drop_from_pipe", keys, arguments, seconds=5)

    return act


WHY = Cause("ann", "why")
PLAN = Schedule("n", every(600), "a", 0, b"again")
DUE_MS = int((time.time() + 3600) * 1000)


async def settle(backend: RedisBackend, batch: Batch, call: int, through: int | None, wanted: int) -> Any:
    (settled,) = await backend.storage.settle([Settlement(batch.lease, 0, through, 0.1, wanted, call=call)])
    return settled.is_lost, handed(settled.batch)


async def bury(backend: RedisBackend, batch: Batch) -> bool:
    return await backend.storage.fail(Failure(batch.lease, 0, batch.first, 1, "E", None, call=1))


async def take_apart(backend: RedisBackend, batch: Batch) -> bool:
    return await backend.storage.fail(Failure(batch.lease, 0, batch.first, 0, "", call=1, last=batch.last))


async def doze(backend: RedisBackend, batch: Batch) -> bool:
    failure = Failure(batch.lease, 0, batch.first, 0, "429", 60, call=1, last=batch.last, most_snoozes=3)
    return await backend.storage.fail(failure)


async def stop(backend: RedisBackend, batch: Batch) -> bool:
    return await backend.storage.fail(Failure(batch.lease, 0, batch.first, 3, "E", None, call=1, stops=True))


async def stopped(backend: RedisBackend) -> list[Exhausted]:
    await stop(backend, await bound(backend))
    return (await backend.storage.exhausted(SHARD))[0]


async def bind(backend: RedisBackend, _: Any) -> Any:
    return [handed(batch) for batch in await backend.bind("w/1", wanted=1)]


async def bind_another(backend: RedisBackend, _: Any) -> None:
    await backend.register("b", "5")
    assert await bind(backend, None) == [["5"]]


async def drop_third(backend: RedisBackend, _: Any) -> Any:
    """The third of the requests that wait: the one behind it has its number then."""
    peeked = await backend.redis.lrange(f"{backend.redis_storage.keys.base(SHARD)}/a/0", 0, -1)
    first = await backend.redis.hget(f"{backend.redis_storage.keys.base(SHARD)}:threads", "a")
    third = Waiting(0, int(first.split()[1]) + 2, digest_of(peeked[2]))
    return await backend.storage.drop(SHARD, "a", WHY, [third])


async def drop_all(backend: RedisBackend, _: Any) -> Any:
    return await backend.storage.drop(SHARD, "a", WHY)


async def release(backend: RedisBackend, batch: Batch) -> Any:
    return await backend.coordinator.release([batch.lease])


async def release_to_another(backend: RedisBackend, batch: Batch) -> None:
    await release(backend, batch)
    await backend.bind_one("w/2")


async def register(backend: RedisBackend, _: Any) -> int:
    return await backend.register("a", "2")


async def register_bounded(backend: RedisBackend, _: Any) -> str:
    with pytest.raises(QueueFull) as refusal:
        await backend.register("a", "2", capacity=1)
    return str(refusal.value)


async def schedule(backend: RedisBackend, _: Any) -> bool:
    return await backend.storage.schedule(SHARD, PLAN) > 0


async def move_delayed(backend: RedisBackend, number: int) -> Any:
    return await backend.storage.move_delayed(SHARD, [number], DUE_MS)


async def move_delayed_back(backend: RedisBackend, number: int) -> None:
    await backend.storage.move_delayed(SHARD, [number], DUE_MS + 60_000)


async def edit_schedule(backend: RedisBackend, _: Any) -> bool:
    return await backend.storage.edit_schedule(SHARD, "n", every(60)) is not None


async def run_schedule(backend: RedisBackend, _: Any) -> Any:
    return await backend.storage.run_schedule(SHARD, "n")


async def unschedule(backend: RedisBackend, _: Any) -> bool:
    return await backend.storage.unschedule(SHARD, "n")


async def register_due(backend: RedisBackend, _: Any) -> bool:
    return await backend.storage.register_due(SHARD) is not None


async def schedule_anew(backend: RedisBackend, _: Any) -> None:
    await unschedule(backend, None)
    await schedule(backend, None)
    await backend.advance(601)


async def mend(backend: RedisBackend, _: Any) -> Any:
    return [(change.index, change.member) for change in await repair(backend.redis_storage, SHARD)]


async def spoil(backend: RedisBackend, _: Any) -> None:
    await backend.redis.delete(f"{backend.redis_storage.keys.base(SHARD)}:oldest")


DEEDS = {
    "settle": Deed(
        lambda backend, batch: settle(backend, batch, 1, batch.last, 1),
        lambda backend, batch: settle(backend, batch, 2, batch.last + 1, 1),
        bound,
    ),
    "fail": Deed(bury, lambda backend, batch: settle(backend, batch, 2, None, 2), bound),
    "fail a whole batch": Deed(take_apart, lambda backend, batch: settle(backend, batch, 2, batch.first, 4), bound_all),
    "fail a request that snoozes": Deed(doze, lambda backend, _: backend.storage.pause(SHARD, "a", False), bound_all),
    "fail a request without tries that stops its thread": Deed(
        stop, lambda backend, _: backend.storage.pause(SHARD, "a", False), bound
    ),
    "try_anew": Deed(
        lambda backend, listed: backend.storage.try_anew(SHARD, listed),
        lambda backend, _: backend.bind_one("w/1"),
        stopped,
    ),
    "bind": Deed(bind, bind_another, lambda backend: backend.register("a", "1")),
    "bind nothing": Deed(bind, bind_another, nothing),
    "release": Deed(release, lambda backend, _: backend.bind_one("w/2"), bound),
    "isolate": Deed(
        lambda backend, batch: backend.coordinator.isolate(batch.lease, True, 1),
        lambda backend, batch: backend.coordinator.isolate(batch.lease, False, 2),
        bound,
    ),
    "release for a while": Deed(
        lambda backend, batch: backend.coordinator.release([batch.lease], 60),
        lambda backend, _: backend.storage.pause(SHARD, "a", False),
        bound,
    ),
    "renew": Deed(
        lambda backend, batch: backend.coordinator.renew([batch.lease], LEASE_SECONDS), release_to_another, bound
    ),
    "renew with what is done": Deed(
        lambda backend, batch: backend.coordinator.renew(
            [batch.lease], LEASE_SECONDS, None, {}, {batch.lease: PartDone(0, batch.first, batch.first + 1)}
        ),
        release_to_another,
        bound_all,
    ),
    "register": Deed(register, register, nothing),
    "register what has no room": Deed(
        register_bounded, lambda backend, batch: backend.settle(batch, release=True), full
    ),
    "schedule": Deed(schedule, unschedule, nothing, at=1),
    "schedule by asking for the time": Deed(schedule, unschedule, nothing),
    "unschedule": Deed(unschedule, schedule, planned),
    "register_due": Deed(register_due, schedule_anew, due, at=1),
    "pause": Deed(
        lambda backend, _: backend.storage.pause(SHARD, "a", True),
        lambda backend, _: backend.storage.pause(SHARD, "a", False),
        nothing,
    ),
    "pause no more": Deed(
        lambda backend, _: backend.storage.pause(SHARD, None, False),
        lambda backend, _: backend.storage.pause(SHARD, None, True),
        lambda backend: backend.storage.pause(SHARD, None, True),
    ),
    "settle_dead to the head of a held thread": Deed(
        lambda backend, _: backend.storage.settle_dead(SHARD, [1], "head"), release, letter
    ),
    "settle_dead to the tail": Deed(
        lambda backend, _: backend.storage.settle_dead(SHARD, [1], "tail"),
        lambda backend, _: backend.bind_one(),
        letter_of_a_free_thread,
    ),
    "drop": Deed(drop_third, drop_third, bound),
    "drop all": Deed(drop_all, lambda backend, _: backend.register("a", "5"), bound),
    "reshard": Deed(
        lambda backend, _: backend.storage.reshard(SHARD, 4),
        lambda backend, _: backend.storage.reshard(SHARD, 2),
        spread_over_two,
    ),
    "drop_from_pipe": Deed(drop_from_pipe(0), drop_from_pipe(1), pipe),
    "cancel": Deed(lambda backend, number: backend.storage.cancel(SHARD, [number]), put_off, put_off),
    "move_delayed": Deed(move_delayed, move_delayed_back, put_off),
    "edit_schedule": Deed(edit_schedule, schedule, planned, at=1),
    "edit_schedule by asking for the time": Deed(edit_schedule, schedule, planned),
    "run_delayed": Deed(lambda backend, number: backend.storage.run_delayed(SHARD, [number]), put_off, put_off),
    "run_schedule": Deed(run_schedule, run_schedule, planned),
    "evict": Deed(
        lambda backend, _: backend.coordinator.evict(SHARD, ["w"]), lambda backend, _: backend.bind_one("w/1"), bound
    ),
    "cordon": Deed(
        lambda backend, _: backend.coordinator.cordon(SHARD, ["w"], 60),
        lambda backend, _: backend.coordinator.cordon(SHARD, ["w"], 0),
        nothing,
    ),
    "repair": Deed(mend, spoil, spoiled),
}


def script_of(deed: str) -> str:
    return deed.partition(" ")[0]


def names() -> set[str]:
    return {path.name.removesuffix(".lua") for path in (files("sharded_queue.backends.redis") / "lua").iterdir()} - {
        "_prelude"
    }


def test_every_script_that_writes_has_a_deed() -> None:
    writing = {name for name in names() if "no-writes" not in source(name).partition("\n")[0]}

    assert writing == {script_of(deed) for deed in DEEDS}


@pytest.fixture
async def backend(on_redis: RedisBackend) -> RedisBackend:
    """Nothing is sent but the commands themselves."""
    await on_redis.storage.verify()
    for name in names():
        await on_redis.redis.script_load(source(name))
    return on_redis


async def content(redis: Redis) -> dict[bytes, Any]:
    """All that is in a Redis."""
    found: dict[bytes, Any] = {}
    async for key in redis.scan_iter("*"):
        match await redis.type(key):
            case b"hash":
                values = await redis.hgetall(key)
                found[key] = {field: value for field, value in values.items() if field not in PASSING}
            case b"zset":
                found[key] = await redis.zrange(key, 0, -1, withscores=True)
            case b"list":
                found[key] = await redis.lrange(key, 0, -1)
            case _:
                found[key] = await redis.get(key)
    return found


async def done(backend: RedisBackend, deed: Deed, fate: str) -> tuple[Any, dict[str, Any]]:
    """The answer of a deed in a life of its own, one of whose commands has a fate, and what it made."""
    await backend.redis.flushall()
    given = await deed.before(backend)
    links = [make_lossy(backend.redis_storage), make_lossy(backend.coordinator)]
    for link in links:
        link.spares_reads = True
        link.fates.extend([FINE] * deed.at + [fate])
    answer = await deed.act(backend, given)
    assert any(not link.fates for link in links), "the command of the deed was never sent"
    for link in links:
        link.fates.clear()
    state = await backend.observe()
    counts = ("depth", "bound", "ready", "blocked", "registered", "settled", "dead", "schedules", "layout", "is_paused")
    assert faults(await snapshot(backend.redis_storage, SHARD)) == []
    return answer, {name: getattr(state, name) for name in counts}


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_command_that_is_sent_again_has_the_answer_of_the_first(backend: RedisBackend, deed: str) -> None:
    once = await done(backend, DEEDS[deed], FINE)
    twice = await done(backend, DEEDS[deed], ANSWER_LOST)

    assert twice == once


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_command_that_comes_late_changes_nothing(backend: RedisBackend, deed: str) -> None:
    """Its first sending arrives twice after its twin was answered: at once, and after newer commands."""
    act, after, before, at = DEEDS[deed]
    given = await before(backend)
    links = [make_lossy(backend.redis_storage), make_lossy(backend.coordinator)]
    for link in links:
        link.spares_reads = True
        link.fates.extend([FINE] * at + [HELD_UP])
    await act(backend, given)
    for link in links:
        link.fates.clear()
    (link,) = [link for link in links if link.held_up]
    await unchanged(backend, link.arrive(keep=True), leases=script_of(deed) != "renew")
    await after(backend, given)
    await unchanged(backend, link.arrive())


async def unchanged(backend: RedisBackend, arrival: Awaitable[None], *, leases: bool = True) -> None:
    before = await content(backend.redis)
    await arrival
    after = await content(backend.redis)
    if not leases:  # the command names them: it prolongs what its holder has
        key = f"{backend.redis_storage.keys.lock(SHARD)}:leases".encode()
        assert before.pop(key) <= after.pop(key)

    assert after == before
