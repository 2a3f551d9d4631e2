"""
Every script that writes, sent again and arriving late: the same answer as once, and no change of what came after it.

A new script is found by its file and has to have its deed here.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from sharded_queue.backends.redis.check import faults, repair
from sharded_queue.backends.redis.scripts import source
from sharded_queue.backends.redis.snapshot import snapshot
from sharded_queue.errors import QueueFull
from sharded_queue.storage import Batch, Entry, Failure, Registration, Schedule, Settlement
from sharded_queue.timing import every
from tests.contract.lossy import ANSWER_LOST, FINE, HELD_UP, make_lossy
from tests.contract.medium import LEASE_SECONDS, SHARD, RedisMedium, handed

pytestmark = pytest.mark.redis
PASSING = {b"latest"}
"""Counters that follow the clock."""

Step = Callable[[RedisMedium, Any], Awaitable[Any]]


class Deed(NamedTuple):
    """
    *before* makes what *act* is given; *act* returns what can be compared, and sends the script as its command number
    *at*; *after* are newer commands.
    """

    act: Step
    after: Step
    before: Callable[[RedisMedium], Awaitable[Any]]
    at: int = 0


async def nothing(_: RedisMedium) -> None:
    return


async def bound(medium: RedisMedium) -> Batch:
    await medium.register("a", "1", "2", "3", "4")
    return await medium.bind_one("w/1", wanted=1)


async def letter(medium: RedisMedium) -> Batch:
    batch = await bound(medium)
    await medium.fail(batch, delay=None)
    return batch


async def letter_of_a_free_thread(medium: RedisMedium) -> None:
    await medium.release((await letter(medium)).lease)


async def spread_over_two(medium: RedisMedium) -> None:
    await medium.storage.reshard(SHARD, 2)


async def planned(medium: RedisMedium) -> None:
    await medium.storage.schedule(SHARD, PLAN)


async def due(medium: RedisMedium) -> None:
    await planned(medium)
    await medium.advance(601)


async def put_off(medium: RedisMedium, _: Any = None) -> int:
    ((number,), _) = await medium.storage.register(SHARD, Registration([Entry("a", 0, [b"later"])], delay_seconds=60))
    return number


async def spoiled(medium: RedisMedium) -> None:
    await medium.register("a", "1")
    await medium.redis.delete(f"{medium.redis_storage.keys.base(SHARD)}:ready")


async def full(medium: RedisMedium) -> Batch:
    await medium.register("a", "1")
    return await medium.bind_one()


async def pipe(medium: RedisMedium) -> None:
    """As the predecessor left it."""
    await medium.redis.rpush("{p}pipe", "1", "1", "1")


def drop_from_pipe(before: int) -> Step:
    async def act(medium: RedisMedium, _: Any) -> Any:
        keys, arguments = ["{p}pipe", "{p}progress"], ["pipe", before, 1, "1", "1"]
        return await medium.redis_storage.scripts.run("drop_from_pipe", keys, arguments, seconds=5)

    return act


PLAN = Schedule("n", every(600), "a", 0, b"again")


async def settle(medium: RedisMedium, batch: Batch, call: int, through: int | None, wanted: int) -> Any:
    (settled,) = await medium.storage.settle([Settlement(batch.lease, 0, through, 0.1, wanted, call=call)])
    return settled.is_lost, handed(settled.batch)


async def bury(medium: RedisMedium, batch: Batch) -> bool:
    return await medium.storage.fail(Failure(batch.lease, 0, batch.first, 1, "E", None, call=1))


async def bind(medium: RedisMedium, _: Any) -> Any:
    return [handed(batch) for batch in await medium.bind("w/1", wanted=1)]


async def bind_another(medium: RedisMedium, _: Any) -> None:
    await medium.register("b", "5")
    assert await bind(medium, None) == [["5"]]


async def release(medium: RedisMedium, batch: Batch) -> Any:
    return await medium.coordinator.release([batch.lease])


async def release_to_another(medium: RedisMedium, batch: Batch) -> None:
    await release(medium, batch)
    await medium.bind_one("w/2")


async def register(medium: RedisMedium, _: Any) -> int:
    return await medium.register("a", "2")


async def register_bounded(medium: RedisMedium, _: Any) -> str:
    with pytest.raises(QueueFull) as refusal:
        await medium.register("a", "2", capacity=1)
    return str(refusal.value)


async def schedule(medium: RedisMedium, _: Any) -> bool:
    return await medium.storage.schedule(SHARD, PLAN) > 0


async def unschedule(medium: RedisMedium, _: Any) -> bool:
    return await medium.storage.unschedule(SHARD, "n")


async def register_due(medium: RedisMedium, _: Any) -> bool:
    return await medium.storage.register_due(SHARD) is not None


async def schedule_anew(medium: RedisMedium, _: Any) -> None:
    await unschedule(medium, None)
    await schedule(medium, None)
    await medium.advance(601)


async def mend(medium: RedisMedium, _: Any) -> Any:
    return [(change.index, change.member) for change in await repair(medium.redis_storage, SHARD)]


async def spoil(medium: RedisMedium, _: Any) -> None:
    await medium.redis.delete(f"{medium.redis_storage.keys.base(SHARD)}:oldest")


DEEDS = {
    "settle": Deed(
        lambda medium, batch: settle(medium, batch, 1, batch.last, 1),
        lambda medium, batch: settle(medium, batch, 2, batch.last + 1, 1),
        bound,
    ),
    "fail": Deed(bury, lambda medium, batch: settle(medium, batch, 2, None, 2), bound),
    "bind": Deed(bind, bind_another, lambda medium: medium.register("a", "1")),
    "bind nothing": Deed(bind, bind_another, nothing),
    "release": Deed(release, lambda medium, _: medium.bind_one("w/2"), bound),
    "renew": Deed(
        lambda medium, batch: medium.coordinator.renew([batch.lease], LEASE_SECONDS), release_to_another, bound
    ),
    "register": Deed(register, register, nothing),
    "register what has no room": Deed(register_bounded, lambda medium, batch: medium.settle(batch, release=True), full),
    "schedule": Deed(schedule, unschedule, nothing, at=1),
    "schedule by asking for the time": Deed(schedule, unschedule, nothing),
    "unschedule": Deed(unschedule, schedule, planned),
    "register_due": Deed(register_due, schedule_anew, due, at=1),
    "pause": Deed(
        lambda medium, _: medium.storage.pause(SHARD, "a", True),
        lambda medium, _: medium.storage.pause(SHARD, "a", False),
        nothing,
    ),
    "pause no more": Deed(
        lambda medium, _: medium.storage.pause(SHARD, None, False),
        lambda medium, _: medium.storage.pause(SHARD, None, True),
        lambda medium: medium.storage.pause(SHARD, None, True),
    ),
    "settle_dead to the head of a held thread": Deed(
        lambda medium, _: medium.storage.settle_dead(SHARD, [1], "head"), release, letter
    ),
    "settle_dead to the tail": Deed(
        lambda medium, _: medium.storage.settle_dead(SHARD, [1], "tail"),
        lambda medium, _: medium.bind_one(),
        letter_of_a_free_thread,
    ),
    "reshard": Deed(
        lambda medium, _: medium.storage.reshard(SHARD, 4),
        lambda medium, _: medium.storage.reshard(SHARD, 2),
        spread_over_two,
    ),
    "drop_from_pipe": Deed(drop_from_pipe(0), drop_from_pipe(1), pipe),
    "cancel": Deed(lambda medium, number: medium.storage.cancel(SHARD, [number]), put_off, put_off),
    "evict": Deed(
        lambda medium, _: medium.coordinator.evict(SHARD, ["w"]), lambda medium, _: medium.bind_one("w/1"), bound
    ),
    "cordon": Deed(
        lambda medium, _: medium.coordinator.cordon(SHARD, ["w"], 60),
        lambda medium, _: medium.coordinator.cordon(SHARD, ["w"], 0),
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
async def medium(on_redis: RedisMedium) -> RedisMedium:
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


async def done(medium: RedisMedium, deed: Deed, fate: str) -> tuple[Any, dict[str, Any]]:
    """The answer of a deed in a life of its own, one of whose commands has a fate, and what it made."""
    await medium.redis.flushall()
    given = await deed.before(medium)
    links = [make_lossy(medium.redis_storage), make_lossy(medium.coordinator)]
    for link in links:
        link.spares_reads = True
        link.fates.extend([FINE] * deed.at + [fate])
    answer = await deed.act(medium, given)
    assert any(not link.fates for link in links), "the command of the deed was never sent"
    for link in links:
        link.fates.clear()
    state = await medium.observe()
    counts = ("depth", "bound", "ready", "blocked", "registered", "settled", "dead", "schedules", "layout", "is_paused")
    assert faults(await snapshot(medium.redis_storage, SHARD)) == []
    return answer, {name: getattr(state, name) for name in counts}


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_command_that_is_sent_again_has_the_answer_of_the_first(medium: RedisMedium, deed: str) -> None:
    once = await done(medium, DEEDS[deed], FINE)
    twice = await done(medium, DEEDS[deed], ANSWER_LOST)

    assert twice == once


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_command_that_comes_late_changes_nothing(medium: RedisMedium, deed: str) -> None:
    """Its first sending arrives twice after its twin was answered: at once, and after newer commands."""
    act, after, before, at = DEEDS[deed]
    given = await before(medium)
    links = [make_lossy(medium.redis_storage), make_lossy(medium.coordinator)]
    for link in links:
        link.spares_reads = True
        link.fates.extend([FINE] * at + [HELD_UP])
    await act(medium, given)
    for link in links:
        link.fates.clear()
    (link,) = [link for link in links if link.held_up]
    await unchanged(medium, link.arrive(keep=True), leases=script_of(deed) != "renew")
    await after(medium, given)
    await unchanged(medium, link.arrive())


async def unchanged(medium: RedisMedium, arrival: Awaitable[None], *, leases: bool = True) -> None:
    before = await content(medium.redis)
    await arrival
    after = await content(medium.redis)
    if not leases:  # the command names them: it prolongs what its holder has
        key = f"{medium.redis_storage.keys.lock(SHARD)}:leases".encode()
        assert before.pop(key) <= after.pop(key)

    assert after == before
