"""The users of `docs/users.acl` have the rights that their work takes, and no others."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from sharded_queue import StorageUnavailable
from sharded_queue.backends.redis.check import repair
from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.backends.redis.snapshot import snapshot, unindexed_tubes
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.state import About, Report
from sharded_queue.storage import Cause, Entry, Failure, Registration, Schedule, Waiting, digest_of
from sharded_queue.timing import every
from sharded_queue.tube import Keys, Layout, Tube
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.contract.rights import rows
from tests.contract.users import ROLES, USERS, client, granted, line_of, rights_on_a_cluster
from tests.harness.redis_groups import Nodes, told
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis

BASE = "tube_{tests.Handler}"
SECURITY = USERS.parent / "security.md"
NOT_OF_THE_WORK = {"auth", "hello", "config|resetstat", "script|flush"}
"""Sent by the measuring, or by every client and allowed to all."""


class Watched(RedisBackend):
    """A user at work beside hands that may do everything; *sent*: the commands of what it did while recorded."""

    def __init__(self, user: Redis, hands: Redis) -> None:
        super().__init__(user)
        self.hands = RedisBackend(hands)
        self.sent: set[str] = set()

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Those inside scripts count too: Redis asks for the right to each."""
        await self.hands.redis.script_flush()
        await self.hands.redis.config_resetstat()
        yield
        stats = await self.hands.redis.info("commandstats")
        names = {name.removeprefix("cmdstat_") for name, numbers in stats.items() if numbers["calls"]}
        self.sent |= names - NOT_OF_THE_WORK


async def produce(user: Watched) -> None:
    await user.hands.register("drained", "x")
    await user.hands.settle(await user.hands.bind_one())
    async with user.recorded():
        await user.storage.verify()
        await user.register("a", "1", "2")
        await user.register("drained", "y")
        await put_off(user)
        await register_once(user)
        await schedule(user)
        await register_by_key(user, Layout(1, 2), 0)
    await user.hands.storage.reshard(SHARD, 4)
    async with user.recorded():
        await register_by_key(user, Layout(2, 4), 2)


async def register_once(user: RedisBackend) -> None:
    """Also after the window of one of two identities has passed."""
    for identity, window_seconds in (("long", 60.0), ("short", 0.001), ("long", 60.0)):
        await user.storage.register(
            SHARD, Registration([Entry("once", 0, [b"1"], [identity])], window_seconds=window_seconds)
        )
        await asyncio.sleep(0.002)


async def schedule(user: RedisBackend) -> None:
    """What a queue says of schedules, over several shards of a handler too."""
    for seconds in (60, 30):
        await user.storage.schedule(SHARD, Schedule("beat", every(seconds), "beat", 0, b"1"))
    await user.storage.schedules(SHARD)
    await user.storage.has_schedule(SHARD, "beat")
    await user.storage.unschedule(SHARD, "gone")


async def register_by_key(user: RedisBackend, layout: Layout, *threads: int) -> None:
    entries = [Entry(layout.thread(thread), 0, [b"1"]) for thread in threads]
    await user.storage.register(SHARD, Registration(entries, layout=layout))


async def put_off(user: RedisBackend) -> None:
    await user.storage.register(SHARD, Registration([Entry("later", 0, [b"z"])], delay_seconds=60.0))


async def work(user: Watched) -> None:
    """Also registers: what a handler makes of its requests."""
    async with user.recorded():
        await user.storage.verify()
        for thread in ("a", "b", "c"):
            await user.register(thread, "1", "2", "3")
        await put_off(user)
        await register_once(user)
        await schedule(user)
        await user.coordinator.wait([SHARD], "w/1", 0.01)
    await user.hands.advance(61)
    async with user.recorded():
        await user.storage.register_due(SHARD)
        a, b, c, d, *_ = await user.bind(threads=5, wanted=3)
        await user.coordinator.renew([a.lease], LEASE_SECONDS, About("1.0", 8, 0), {a.lease: Report(a.first, 1)})
        await user.settle(a, through=a.first, wanted=3)
        await user.settle(a)
        await user.register("a", "4")
        await user.settle(d, release=True)
        await user.fail(b, 60.0)
        await user.fail(c, None)
        await user.release(c.lease)
        await user.observe()
    await user.hands.advance(61)
    await user.hands.redis.rpop(f"{BASE}/b/0")
    async with user.recorded():
        await user.bind(threads=4)
    await user.hands.redis.flushall()
    await register_by_key(user.hands, Layout(1, 2), 0)
    await user.hands.storage.reshard(SHARD, 4)
    async with user.recorded():
        await register_by_key(user, Layout(2, 4), 2)
        await user.settle(await user.bind_one())
        await user.bind_one()


async def operate(user: Watched) -> None:
    """Workers are gone with a batch, with one request, and with the last of an old layout."""
    for thread in ("a", "b"):
        await user.hands.register(thread, "1", "2")
    await register_by_key(user.hands, Layout(1, 2), 0)
    await user.hands.storage.reshard(SHARD, 4)
    await register_by_key(user.hands, Layout(2, 4), 2)
    for wanted in (1, 2, 1):
        await user.hands.bind_one("gone/1", wanted=wanted)
    async with user.recorded():
        await user.observe()
        await user.coordinator.evict(SHARD, ["gone"])
        await user.coordinator.cordon(SHARD, ["going"], 60.0)
        async with user.redis.pubsub() as channel:
            await channel.subscribe(user.storage.keys.awake)
    await evict_damaged(user)


async def evict_damaged(user: Watched) -> None:
    """The record of a thread cannot be read: the operator sets the thread aside."""
    await user.hands.redis.flushall()
    await user.hands.register("a", "1")
    await user.hands.register("b", "1")
    for _ in range(2):
        await user.hands.bind_one("gone/1")
    await user.hands.redis.hset(f"{BASE}:threads", "a", "?")
    async with user.recorded():
        await user.coordinator.evict(SHARD, ["gone"])


async def waiting(user: Watched, place: int) -> Waiting:
    """A request of a thread by its place."""
    peeked = await user.redis_storage.peek(Tube(SHARD, "a", 0))
    return Waiting(0, peeked[place][0], digest_of(peeked[place][1]))


async def administer(user: Watched) -> None:
    hands, storage = user.hands, user.redis_storage
    await put_off(hands)
    await put_off(hands)
    await hands.storage.schedule(SHARD, Schedule("pulse", every(600), "pulse", 0, b"1"))
    await hands.register("a", "1", "2", "3", "4")
    batch = await hands.bind_one(wanted=1)
    for _ in range(3):
        await hands.fail(batch, None)
        batch = (await hands.settle(batch, wanted=1)).batch or batch
    await hands.release(batch.lease)
    await hands.redis_storage.pause(SHARD, "a", True)
    await hands.register("z", "1")
    last = await hands.bind_one(wanted=1)
    await hands.redis_storage.fail(Failure(last.lease, 0, last.first, 3, "E", stops=True))
    await hands.redis_storage.pause(SHARD, "a", False)
    async with user.recorded():
        await user.observe()
        await storage.explain(SHARD, "a")
        await storage.peek(Tube(SHARD, "a", 0))
        await storage.schedules(SHARD)
        await storage.unschedule(SHARD, "gone")
        await storage.run_delayed(SHARD, [each.sequence for each in await storage.delayed(SHARD, 1)])
        soon_ms = int((time.time() + 60) * 1000)
        await storage.move_delayed(SHARD, [each.sequence for each in await storage.delayed(SHARD, 1)], soon_ms)
        await storage.edit_schedule(SHARD, "gone", every(60))
        await storage.edit_schedule(SHARD, "pulse", every(60))
        await storage.run_schedule(SHARD, "gone")
        await storage.run_schedule(SHARD, "pulse")
        await storage.cancel(SHARD, [each.sequence for each in await storage.delayed(SHARD)])
        await storage.pause(SHARD, "a", True)
        await storage.paused(SHARD)
        await storage.pause(SHARD, "a", False)
        await storage.pause(SHARD, None, True)
        await storage.pause(SHARD, None, False)
        assert await storage.try_anew(SHARD, (await storage.exhausted(SHARD))[0]) == ["z"]
        await storage.workers(SHARD)
        await storage.progress(SHARD, ["a"])
        await storage.dead(SHARD)
        await storage.letter_threads(SHARD, await storage.letter_numbers(SHARD))
        await storage.acts(SHARD)
        for number, target in enumerate(("head", "tail", "drop"), 1):
            await storage.settle_dead(SHARD, [number], target)
        await storage.drop(SHARD, "a", Cause("ann", "why"), [await waiting(user, 1)])
        await storage.drop(SHARD, "a", Cause("ann", "why"))
        await storage.drops(SHARD)
        await snapshot(storage, SHARD, await unindexed_tubes(storage, SHARD))
    await hands.redis.delete(f"{BASE}:ready", f"{BASE}:threads")
    await hands.redis.zadd(f"{BASE}:deep", {"nobody": 7})
    await hands.redis.hset(f"{BASE}:failures", "nobody/0", "?")
    await hands.redis.set(f"{BASE}:deep", "no sorted set")
    await hands.redis.rpush(f"{BASE}/".encode() + b"\xff/0", b"1700000000000x")
    async with user.recorded():
        await repair(storage, SHARD)
    await register_by_key(hands, Layout(1, 2), 0)
    async with user.recorded():
        await user.storage.reshard(SHARD, 4)
    await register_by_key(hands, Layout(2, 4), 2)
    async with user.recorded():
        await user.storage.explain(SHARD, "2:2")
        await repair(storage, SHARD)


async def view(user: Watched) -> None:
    """What the console asks, of all that there can be."""
    hands, storage = user.hands, user.redis_storage
    await put_off(hands)
    await hands.storage.schedule(SHARD, Schedule("pulse", every(600), "pulse", 0, b"1"))
    await hands.register("a", "1", "2", "3", "4")
    batch = await hands.bind_one(wanted=1)
    await hands.fail(batch, None)
    await hands.release(batch.lease)
    await hands.bind_one(wanted=1)
    await hands.redis_storage.drop(SHARD, "a", Cause("ann", "why"), [await waiting(hands, 1)])
    await hands.storage.pause(SHARD, "b", True)
    await register_by_key(hands, Layout(1, 2), 0)
    await hands.storage.reshard(SHARD, 4)
    await register_by_key(hands, Layout(2, 4), 2)
    async with user.recorded():
        await storage.known_shards()
        await user.observe()
        for thread in ("a", "b", "2:2"):
            await storage.explain(SHARD, thread)
        await storage.peek(Tube(SHARD, "a", 0))
        await storage.schedules(SHARD)
        await storage.delayed(SHARD)
        await storage.paused(SHARD)
        await storage.workers(SHARD)
        await storage.dead(SHARD)
        await storage.drops(SHARD)


WORK: dict[str, Callable[[Watched], Awaitable[None]]] = {
    "producer": produce,
    "worker": work,
    "operator": operate,
    "viewer": view,
    "admin": administer,
}


@pytest.fixture
async def watched(users_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    user, hands = client(request.param, users_server.port), client("hands", users_server.port)
    await hands.flushall()
    yield Watched(user, hands)
    await close(user)
    await close(hands)


@pytest.mark.parametrize(("watched", "role"), [(role, role) for role in ROLES], indirect=["watched"])
async def test_a_user_may_send_what_its_work_takes_and_nothing_else(watched: Watched, role: str) -> None:
    await WORK[role](watched)

    assert watched.sent == granted(role), f"used and granted in {USERS.name} must be the same"


@pytest.mark.parametrize("watched", ROLES, indirect=True)
@pytest.mark.parametrize("command", [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("GET", "others")])
async def test_what_is_nobodys_work_is_refused(watched: Watched, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        await watched.redis.execute_command(*command)


@pytest.mark.parametrize("watched", ["producer"], indirect=True)
@pytest.mark.parametrize(
    "command",
    [("SET", f"{BASE}/a/0", "gone"), ("SET", f"{BASE}:counters", "gone"), ("PEXPIRE", f"{BASE}/a/0", "1")],
    ids=str,
)
async def test_a_producer_cannot_overwrite_tubes_or_let_them_expire(watched: Watched, command: tuple[str, ...]) -> None:
    await watched.register("a", "1")

    with pytest.raises(NoPermissionError):
        await watched.redis.execute_command(*command)
    assert await watched.hands.waiting("a") == ["1"]


@pytest.mark.parametrize("watched", ["operator"], indirect=True)
@pytest.mark.parametrize(
    "command",
    [
        ("SET", f"{BASE}/a/0", "gone"),
        ("SET", f"{BASE}:later", "gone"),
        ("HDEL", f"{BASE}:letters", "1"),
        ("RPUSH", f"{BASE}/a/0", "forged"),
        ("ZREM", f"{BASE}:due", "1"),
    ],
    ids=str,
)
async def test_an_operator_loses_and_forges_no_request(watched: Watched, command: tuple[str, ...]) -> None:
    await watched.hands.register("a", "1")

    with pytest.raises(NoPermissionError):
        await watched.redis.execute_command(*command)
    assert await watched.hands.waiting("a") == ["1"]


async def test_the_manual_tells_what_each_user_can_do_to_each_key(users_server: RedisServer) -> None:
    hands = client("hands", users_server.port)
    users = {role: client(role, users_server.port) for role in ROLES}
    await hands.flushall()
    table = [row async for row in rows(users, hands)]
    for each in (hands, *users.values()):
        await close(each)

    told_in_the_manual = [line for line in SECURITY.read_text().splitlines() if line in table]
    assert told_in_the_manual == table, "the table of docs/security.md must be:\n" + "\n".join(table)


@pytest.mark.parametrize("watched", ["producer"], indirect=True)
async def test_keys_of_others_are_refused_with_a_sentence(watched: Watched) -> None:
    others = RedisStorage(watched.redis, keys=Keys("other_tube_", "other_lock_"))

    with pytest.raises(StorageUnavailable, match=r"Redis refused.*keys.*see docs/redis\.md"):
        await others.register(SHARD, Registration([Entry("a", 0, [b"1"])]))


@pytest.mark.parametrize("watched", ["producer"], indirect=True)
async def test_scripts_of_others_are_refused_with_a_sentence(watched: Watched) -> None:
    await watched.hands.register("a", "1")

    with pytest.raises(StorageUnavailable, match=r"Redis refused.*see docs/redis\.md"):
        await watched.bind()


@pytest.mark.parametrize("watched", ["worker"], indirect=True)
async def test_a_right_that_is_taken_is_missed(watched: Watched) -> None:
    """The rights are those that Redis asks for: without one of them, the work that takes it ends in a sentence."""
    await watched.hands.redis.acl_setuser("worker", enabled=True, commands=["-lrange"])
    try:
        with pytest.raises(StorageUnavailable, match=r"Redis refused"):
            await work(watched)
    finally:
        await watched.hands.redis.acl_load()


@pytest.mark.parametrize("watched", ["operator"], indirect=True)
async def test_who_may_not_wait_says_so(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.coordinator.wait([SHARD], "w/1", 0.01)

    assert "cannot wait for calls: Redis refused" in caplog.text


@pytest.mark.usefixtures("on_cluster")
async def test_on_a_cluster_users_need_the_rights_that_the_manual_adds(nodes: Nodes) -> None:
    extra = rights_on_a_cluster()
    for node in nodes.nodes:
        told(node.port, "ACL", "SETUSER", "worker", *line_of("worker").split(), *extra.split())
    of_worker = RedisOptions(nodes.addresses, mode="Cluster", username="worker", password="change-me-worker")
    redis = connect(of_worker)
    try:
        backend = RedisBackend(redis)
        await backend.register("a", "1")

        assert handed(await backend.bind_one()) == ["1"]
    finally:
        await close(redis)
        for node in nodes.nodes:
            told(node.port, "ACL", "DELUSER", "worker")
