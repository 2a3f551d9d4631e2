"""Where the operator looks for Redis, and what it says of one that does not answer as it should."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from sharded_queue.backends.redis.client import RedisOptions, close, connect
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue_operator.allowed import Allowed
from sharded_queue_operator.polling.observer import Observer
from sharded_queue_operator.polling.poller import GATHER_SECONDS, PART_SHARDS
from sharded_queue_operator.polling.reader import Reader, Reading, Subscriptions
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import parsed
from sharded_queue_operator.scaling.observation import Doubt
from tests.harness.canned_server import GARBAGE, answering
from tests.harness.certificates import Authority, TlsServer
from tests.harness.redis_groups import MASTER, Nodes, Sentinels
from tests.harness.requirements import require_redis
from tools.ports import free_port
from tools.redis_server import RedisServer

pytestmark = pytest.mark.slow

HANDLER = "notifications.NotifyHandler"
SECONDS = 30.0


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    require_redis()
    group = Nodes(tmp_path)
    yield group
    group.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    require_redis()
    group = Sentinels(tmp_path)
    yield group
    group.kill()


class Watcher:
    """An observer of some resources, each with a Redis of its own, and the readings it tells."""

    def __init__(self, secrets: Mapping[str, Mapping[str, bytes]], allowed: Allowed) -> None:
        self.secrets = secrets
        self.readings: asyncio.Queue[tuple[Name, Reading]] = asyncio.Queue()
        self.observer = Observer(self.read_secret, lambda *told: self.readings.put_nowait(told), allowed)

    async def read_secret(self, name: Name) -> Mapping[str, Any] | None:
        data = self.secrets.get(name.name)
        encoded = {key: base64.b64encode(value).decode() for key, value in (data or {}).items()}
        return None if data is None else {"metadata": {"resourceVersion": "1"}, "data": encoded}

    def watch(
        self, name: str, redis: Mapping[str, Any], period_seconds: int = 1, handler: str = HANDLER, shards: int = 1
    ) -> None:
        spec = {
            "redis": redis,
            "handlers": [{"name": handler, "shards": shards}],
            "scaleTargetRef": {"name": "mine"},
            "scaling": {"pollPeriodSeconds": period_seconds},
        }
        metadata = {"namespace": "shop", "name": name}
        body = {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue", "metadata": metadata, "spec": spec}
        self.observer.subscribe(parsed(body))

    async def told(self, count: int) -> dict[str, Reading]:
        """The next readings of so many resources, the first of each."""
        found: dict[str, Reading] = {}
        async with asyncio.timeout(SECONDS):
            while len(found) < count:
                name, reading = await self.readings.get()
                found.setdefault(name.name, reading)
        return found

    async def next(self) -> tuple[str, Reading]:
        """The next reading, and whose it is."""
        async with asyncio.timeout(SECONDS):
            name, reading = await self.readings.get()
        return name.name, reading


@asynccontextmanager
async def watching(  # type: ignore[no-untyped-def]
    secrets: Mapping[str, Mapping[str, bytes]] | None = None, allowed: Allowed | None = None
):
    watcher = Watcher(secrets or {}, allowed or Allowed())
    try:
        yield watcher
        assert watcher.observer.failed() == []
    finally:
        await watcher.observer.close()


async def test_a_cluster_is_read_and_its_first_request_is_heard(nodes: Nodes) -> None:
    """It once ended the operator: the subscription was asked for before any node was known."""
    client = connect(RedisOptions(nodes.addresses, mode="Cluster"))
    async with watching() as watcher:
        watcher.watch("n", {"addresses": list(nodes.addresses), "mode": "Cluster"}, period_seconds=300)
        reading = (await watcher.told(1))["n"]
        assert (reading.doubt, reading.shards[0].depth) == (None, 0)
        async with asyncio.timeout(SECONDS):
            while not (await client.pubsub_numsub("tube_awake", target_nodes="all"))[0][1]:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.05)

        await RedisStorage(client).register(Shard(HANDLER), Registration([Entry("0", 0, [b"[1]"])]))
        assert (await watcher.told(1))["n"].shards[0].depth == 1
    await close(client)


async def test_a_redis_that_does_not_answer_is_told_with_its_cause(redis_server: RedisServer) -> None:
    """A Cluster that is none once ended the operator, and what refused to connect was a mere `TimeoutError`."""
    closed, sentinel = f"127.0.0.1:{free_port()}", {"mode": "Sentinel", "sentinelMasterName": "m"}
    told = {
        "standalone": ({"addresses": [closed]}, f"no answer from {closed}: Error 111 connecting to"),
        "cluster": ({"addresses": [closed], "mode": "Cluster"}, "Error 111 connecting to"),
        "sentinel": ({"addresses": [closed], **sentinel}, "No master found for 'm' : network:ConnectionError"),
        "no-cluster": ({"addresses": [redis_server.address], "mode": "Cluster"}, "Cluster mode is not enabled"),
        "no-sentinel": ({"addresses": [redis_server.address], **sentinel}, "unknown command 'SENTINEL'"),
        "no-name": ({"addresses": ["a..b:6379"]}, "label empty"),  # before Python 3.13, "label empty or too long"
    }
    async with watching() as watcher:
        for name, (redis, _) in told.items():
            watcher.watch(name, redis)
        readings = await watcher.told(len(told))

    for name, (_, sentence) in told.items():
        doubt = readings[name].doubt
        assert doubt is not None, name
        assert doubt.reason == "RedisUnreachable"
        assert sentence in doubt.message


@asynccontextmanager
async def two_queues(redis_server: RedisServer) -> AsyncIterator[tuple[Redis, Watcher]]:
    """One Redis with requests of two queues: `sound`, and `odd`, which a test may do something to first."""
    async with Redis(host="127.0.0.1", port=redis_server.port) as redis, watching() as watcher:
        await redis.flushall()
        for handler in ("sound", "odd"):
            await RedisStorage(redis).register(Shard(handler), Registration([Entry("0", 0, [b"[1]"])]))
        yield redis, watcher


async def doubts_of(redis_server: RedisServer, watcher: Watcher) -> dict[str, Doubt | None]:
    for handler in ("sound", "odd"):
        watcher.watch(handler, {"addresses": [redis_server.address]}, handler=handler)
    return {name: reading.doubt for name, reading in (await watcher.told(2)).items()}


async def test_data_of_another_format_are_a_mismatch_of_releases(redis_server: RedisServer) -> None:
    """The Redis answers, and no change of its address will help."""
    async with two_queues(redis_server) as (redis, watcher):
        await redis.hset("tube_{odd}:counters", "format", 3)
        doubts = await doubts_of(redis_server, watcher)

    assert doubts["sound"] is None
    assert doubts["odd"] is not None
    assert doubts["odd"].reason == "ReleaseMismatch"
    assert "are of format 3, and this release of sharded-queue reads and writes format 2" in doubts["odd"].message


@pytest.mark.parametrize("layout", ["7", "seven threads"])
async def test_data_that_cannot_be_read_are_not_a_silent_redis(redis_server: RedisServer, layout: str) -> None:
    """A layout of one number was told as a server that does not speak the protocol of Redis."""
    async with two_queues(redis_server) as (redis, watcher):
        await redis.set("tube_{odd}:layout", layout)
        doubts = await doubts_of(redis_server, watcher)

    assert doubts["sound"] is None
    assert doubts["odd"] is not None
    assert doubts["odd"].reason == "DataUnreadable"
    assert "the counters and indices of odd cannot be read" in doubts["odd"].message
    assert "`sharded-queue check odd --repair` puts it right" in doubts["odd"].message


async def test_data_that_another_release_may_have_written_name_both_releases(redis_server: RedisServer) -> None:
    async with two_queues(redis_server) as (redis, watcher):
        await redis.set("tube_{odd}:layout", "7")
        workers = [f"{name} {release} 10 1700000000000" for name, release in (("a", "9.1.0"), ("b", "<i>"))]
        await redis.zadd("lock_{odd}:workers", dict.fromkeys(workers, time.time() * 1000))
        doubts = await doubts_of(redis_server, watcher)

    assert doubts["odd"] is not None
    assert doubts["odd"].reason == "ReleaseMismatch"
    assert f"its workers are of release 9.1.0, and this operator of {version('sharded-queue')}" in doubts["odd"].message
    assert "<i>" not in doubts["odd"].message


async def test_a_queue_of_later_workers_is_read(redis_server: RedisServer) -> None:
    async with two_queues(redis_server) as (redis, watcher):
        coordinator = RedisCoordinator(redis)
        await coordinator.bind(Shard("odd"), BindRequest("w/1", 1, 1, 15.0))
        await redis.set("tube_{odd}:layout", "1 4 0 later")
        await redis.hset("lock_{odd}:held", "0", await redis.hget("lock_{odd}:held", "0") + b" 0 0 later")
        await redis.zadd("lock_{odd}:workers", {"w/1 9.1.0 7 1700000000000 later": time.time() * 1000})
        watcher.watch("odd", {"addresses": [redis_server.address]}, handler="odd")
        reading = (await watcher.told(1))["odd"]

    assert reading.doubt is None
    assert ([hold.owner for hold in reading.shards[0].held], reading.shards[0].concurrencies) == (["w/1"], [7])


async def test_a_server_that_is_not_redis_is_reported_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """Each answer makes redis-py fall over in its own way; none is a fault of the operator."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(answering(answer)) for answer in GARBAGE]
        watcher = await stack.enter_async_context(watching())
        for number, address in enumerate(addresses):
            watcher.watch(f"standalone-{number}", {"addresses": [address]})
            watcher.watch(f"cluster-{number}", {"addresses": [address], "mode": "Cluster"})
            sentinel = {"addresses": [address], "mode": "Sentinel", "sentinelMasterName": "m"}
            watcher.watch(f"sentinel-{number}", sentinel)
        readings = await watcher.told(3 * len(GARBAGE))

    doubts = {name: reading.doubt for name, reading in readings.items()}
    assert [name for name, doubt in doubts.items() if doubt is None or doubt.reason != "RedisUnreachable"] == []
    assert [name for name, doubt in doubts.items() if doubt and "StorageUnavailable" in doubt.message] == []
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_answer_beyond_all_bounds_is_refused_before_it_takes_memory() -> None:
    """A parser that allocates what is announced would ask for 32 GB here, at each poll."""
    async with answering(b"*4000000000\r\n") as address, watching() as watcher:
        watcher.watch("hostile", {"addresses": [address]})
        doubt = (await watcher.told(1))["hostile"].doubt

    assert doubt is not None
    assert "a message of 4,000,000,000 elements is over the limit of" in doubt.message


async def test_what_a_stranger_answers_is_not_repeated() -> None:
    """Anyone who may write a resource could once read the answers of any server in its status."""
    answers = (
        b"SSH-2.0-OpenSSH_9.6 hunter2\r\n",
        b"-ERR token=hunter2\r\n",
        b"$-7 hunter2\r\n",
        b"-NOAUTH hunter2\r\n",
    )
    async with AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(watching())
        for number, answer in enumerate(answers):
            watcher.watch(f"n-{number}", {"addresses": [await stack.enter_async_context(answering(answer))]})
        readings = await watcher.told(len(answers))

    messages = [reading.doubt.message for reading in readings.values() if reading.doubt]
    assert len(messages) == len(answers)
    assert not [message for message in messages if "hunter2" in message]


async def test_a_server_that_is_not_allowed_is_not_asked(redis_server: RedisServer) -> None:
    async with watching(allowed=Allowed(("*.svc:6379",))) as watcher:
        watcher.watch("n", {"addresses": [redis_server.address]})
        doubt = (await watcher.told(1))["n"].doubt

    assert doubt is not None
    assert (doubt.reason, doubt.message.partition(" is not ")[0]) == ("RedisNotAllowed", redis_server.address)


async def test_a_server_that_another_names_is_held_to_the_same(sentinels: Sentinels) -> None:
    """A Sentinel may send the operator anywhere."""
    async with watching(allowed=Allowed(sentinels.addresses)) as watcher:
        watcher.watch("n", {"addresses": list(sentinels.addresses), "mode": "Sentinel", "sentinelMasterName": MASTER})
        doubt = (await watcher.told(1))["n"].doubt

    assert doubt is not None
    assert "is not a server that the operator may connect to" in doubt.message


async def test_a_secret_that_does_not_serve_is_told() -> None:
    """Bytes that are no text once ended the operator."""
    address, secrets = f"127.0.0.1:{free_port()}", {"binary": {"password": b"\xff\xfe"}, "noise": {"ca.crt": b"\xff"}}
    tls = {"mode": "Verify", "caSecretName": "noise"}
    told = {
        "absent": ({"authSecretName": "nowhere"}, "SecretMissing", "the Secret nowhere does not exist"),
        "binary": ({"authSecretName": "binary"}, "SecretInvalid", "a key of the Secret binary is not text"),
        "noise": ({"tls": tls}, "SecretInvalid", "the key ca.crt of the Secret noise does not hold a CA certificate"),
        "empty": ({"tls": tls | {"caSecretName": "binary"}}, "SecretMissing", "the Secret binary has no key ca.crt"),
    }
    async with watching(secrets) as watcher:
        for name, (redis, *_) in told.items():
            watcher.watch(name, {"addresses": [address], **redis})
        readings = await watcher.told(len(told))

    for name, (_, reason, sentence) in told.items():
        doubt = readings[name].doubt
        assert doubt is not None, name
        assert doubt.reason == reason
        assert sentence in doubt.message


async def test_a_server_that_speaks_tls_is_told(tmp_path: Path) -> None:
    require_redis()
    server = TlsServer(tmp_path / "tls", Authority(tmp_path / "authority"))
    server.start()
    try:
        async with watching() as watcher:
            watcher.watch("n", {"addresses": [f"localhost:{server.port}"]})
            doubt = (await watcher.told(1))["n"].doubt
    finally:
        server.kill()

    assert doubt is not None
    assert doubt.reason == "RedisUnreachable"
    assert "if it speaks TLS, set redis.tls.mode to Verify" in doubt.message


async def test_redis_that_refuse_connections_are_not_all_tried_in_the_same_moment() -> None:
    """Nine hundred of them held up the event loop for 0.25 s at a time, and others' readings came 1.5 s apart."""
    async with watching() as watcher:
        for number in range(20):
            watcher.watch(f"q{number}", {"addresses": [f"127.0.0.1:{number + 2}"]})
        await watcher.told(20)
        due = [poller._timetable.next_due for poller in watcher.observer.pollers.values()]

    assert max(due) - min(due) > 0.3  # of the second until they are tried again


@pytest.mark.parametrize("how", ["closed", "forgotten"])
async def test_a_poller_ends_though_its_client_forgot_the_cancellation(how: str) -> None:
    """redis-py sends within `wait_for`, which on Python 3.11 swallows a cancellation that comes as it ends."""

    async def opened() -> Any:
        if not opening.is_set():  # a second cancellation would be one too many to forget
            opening.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        raise ConnectionError("cut")

    opening = asyncio.Event()
    async with watching() as watcher, asyncio.timeout(SECONDS):
        watcher.watch("n", {"addresses": [f"127.0.0.1:{free_port()}"]}, period_seconds=300)
        (poller,), (task,) = watcher.observer.pollers.values(), watcher.observer.tasks.values()
        poller.connection.open = opened  # type: ignore[method-assign]
        await opening.wait()
        if how == "closed":
            await watcher.observer.close()
        else:
            watcher.observer.forget(Name("shop", "n"))
        await asyncio.gather(task, return_exceptions=True)


async def test_each_queue_is_read_in_its_own_period(redis_server: RedisServer) -> None:
    """One that asks to be read every five minutes once silenced all others of its Redis for as long."""
    async with watching() as watcher:
        watcher.watch("slow", {"addresses": [redis_server.address]}, period_seconds=300)
        await watcher.told(1)
        watcher.watch("fast", {"addresses": [redis_server.address], "keyPrefix": "other"}, period_seconds=1)

        assert [(await watcher.next())[0] for _ in range(4)] == ["fast"] * 4


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "tube_{broken.H}:ready", "x"),
        ("HSET", "tube_{broken.H}:counters", "depth", "9" * 400),
        ("HSET", "tube_{broken.H}:counters", "depth", "nan"),
        ("ZADD", "tube_{broken.H}:deep", "inf", "t"),
        ("SET", "tube_{broken.H}:layout", "x"),
    ],
    ids=lambda command: command[1].rpartition(":")[2] + command[-1][:3],
)
async def test_garbage_in_one_queue_leaves_the_others_known(
    redis_server: RedisServer, command: tuple[str, ...]
) -> None:
    """What cannot be read is unknown and never zero."""
    client = connect(RedisOptions((redis_server.address,)))
    await client.flushall()
    for handler in (HANDLER, "broken.H"):
        await RedisStorage(client).register(Shard(handler), Registration([Entry("0", 0, [b"[1]"])]))
    await client.execute_command(*command)
    async with watching() as watcher:
        watcher.watch("well", {"addresses": [redis_server.address]})
        watcher.watch("broken", {"addresses": [redis_server.address]}, handler="broken.H")
        readings = await watcher.told(2)

        assert (readings["well"].doubt, readings["well"].shards[0].depth) == (None, 1)
        assert readings["broken"].doubt is not None
        assert "`sharded-queue check broken.H --repair`" in readings["broken"].doubt.message
    await client.flushall()
    await close(client)


async def test_a_shorter_period_holds_at_once(redis_server: RedisServer) -> None:
    async with watching() as watcher:
        watcher.watch("n", {"addresses": [redis_server.address]}, period_seconds=300)
        await watcher.told(1)
        watcher.watch("n", {"addresses": [redis_server.address]}, period_seconds=1)

        assert [(await watcher.next())[0] for _ in range(4)] == ["n"] * 4


async def test_thousands_of_shards_on_one_redis_are_read_in_parts(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once are more than their namespace may be read of within the time of an answer."""
    parts, read = list[int](), Reader.read

    async def note(reader: Reader, subscriptions: Subscriptions, read_at: float) -> dict[Name, Reading]:
        parts.append(sum(len(each.shards) for each in subscriptions.values()))
        return await read(reader, subscriptions, read_at)

    monkeypatch.setattr(Reader, "read", note)
    async with watching() as watcher:
        for number in range(60):
            watcher.watch(f"q{number}", {"addresses": [redis_server.address]}, 300, f"a.H{number}", shards=64)
        readings = await watcher.told(60)

    assert max(parts) <= PART_SHARDS
    assert {reading.doubt for reading in readings.values()} == {None}
    assert {len(reading.shards) for reading in readings.values()} == {64}


async def test_first_requests_that_follow_each_other_closely_are_read_together(redis_server: RedisServer) -> None:
    """A thousand queues that are woken in a second are no thousand polls."""
    async with watching() as watcher:
        watcher.watch("n", {"addresses": [redis_server.address]}, period_seconds=300)
        moments = [(await watcher.next())[1].read_at]
        while len(moments) < 5:
            watcher.observer.hurry(Name("shop", "n"))
            with suppress(asyncio.QueueEmpty):
                moments.append(watcher.readings.get_nowait()[1].read_at)
            await asyncio.sleep(0.001)

    assert min(later - earlier for earlier, later in pairwise(moments)) >= GATHER_SECONDS


@asynccontextmanager
async def hanging_up() -> AsyncIterator[tuple[str, list[None]]]:
    """The address of a server that ends each connection as it begins, and the connections so far."""
    calls: list[None] = []

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(None)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        yield "{}:{}".format(*server.sockets[0].getsockname()), calls


async def test_a_redis_in_doubt_is_tried_once_a_poll() -> None:
    """Seven tries a second for each queue whose Redis was gone once kept a core busy with five hundred of them."""
    async with watching() as watcher, hanging_up() as (address, calls):
        watcher.watch("n", {"addresses": [address]})
        await watcher.next()
        before = len(calls)
        await watcher.next()
        await watcher.next()

    assert len(calls) - before == 2


async def test_when_redis_answers_again_all_its_queues_are_read_at_once(tmp_path: Path) -> None:
    require_redis()
    redis = RedisServer(tmp_path)
    async with watching() as watcher:
        watcher.watch("slow", {"addresses": [redis.address]}, period_seconds=300)
        watcher.watch("fast", {"addresses": [redis.address]}, period_seconds=1)
        readings = await watcher.told(2)
        assert all(reading.doubt for reading in readings.values())
        redis.start()
        try:
            known = set()
            while known != {"slow", "fast"}:
                name, reading = await watcher.next()
                known |= {name} if reading.doubt is None else set()
        finally:
            redis.stop()


async def test_news_that_comes_after_the_end_is_no_error() -> None:
    """The watches end after the observer, and tell of resources meanwhile."""
    async with watching() as watcher:
        watcher.watch("n", {"addresses": [f"127.0.0.1:{free_port()}"]})
        await watcher.observer.close()

        watcher.observer.forget(Name("shop", "n"))
