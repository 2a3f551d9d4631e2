"""
Whatever opens connections of its own does so in each way that Redis may be reached: the product of topology, TLS and
users. What the scripts do is the same everywhere, and held by the other tests.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sharded_queue import Handler, Queue, RedisCoordinator, Worker, settings
from sharded_queue.backends.redis.client import close, connect
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue_operator.polling.observer import Observer
from sharded_queue_operator.polling.reader import Reading
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import parsed
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.contract.topologies import WAYS, Topology, Way
from tests.harness.certificates import Authority
from tests.harness.cli_process import CliProcess
from tests.harness.requirements import require_redis

pytestmark = pytest.mark.redis
SECONDS = 60.0
ELSEWHERE = Shard("tests.Second")
"""On the other node of a Cluster."""


def params(*ways: Way) -> list[Any]:
    """Where tests run side by side, those of one way stay together: they share its servers."""
    return [pytest.param(way, id=str(way), marks=pytest.mark.xdist_group(str(way))) for way in ways]


@pytest.fixture(scope="module", params=params(*WAYS))
def topology(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Topology]:
    require_redis()
    group = Topology(request.param, tmp_path_factory.mktemp(str(request.param)), authority)
    try:
        yield group.start()
    finally:
        group.kill()


@asynccontextmanager
async def of(topology: Topology, user: str) -> AsyncIterator[RedisBackend]:
    """The backend as *user* has it."""
    client = connect(topology.options(user))
    try:
        yield RedisBackend(client)
    finally:
        await close(client)


@pytest.fixture
async def producer(topology: Topology) -> AsyncIterator[RedisBackend]:
    topology.clear()
    async with of(topology, "producer") as backend:
        yield backend


@pytest.fixture
async def worker(topology: Topology) -> AsyncIterator[RedisBackend]:
    async with of(topology, "worker") as backend:
        yield backend


async def test_leases_are_renewed_by_the_twin_in_its_own_loop(producer: RedisBackend, worker: RedisBackend) -> None:
    """As the renewer does it: with a client made from that of the worker, in an OS thread of its own."""
    await producer.register("a", "1")
    batch = await worker.bind_one()

    async def renew() -> list[Any]:
        clone = worker.coordinator.clone()
        assert isinstance(clone, RedisCoordinator)
        try:
            return list(await clone.renew([batch.lease], LEASE_SECONDS))
        finally:
            await clone.close()

    lost = await asyncio.to_thread(lambda: asyncio.run(renew()))

    assert (handed(batch), lost) == (["1"], [])


async def test_who_waits_is_called_by_the_first_request(producer: RedisBackend, worker: RedisBackend) -> None:
    shards = [SHARD, ELSEWHERE]
    async with asyncio.timeout(SECONDS):
        waiting = asyncio.create_task(worker.coordinator.wait(shards, "w/1", SECONDS))
        await producer.storage.register(ELSEWHERE, Registration([Entry("a", 0, [b"1"])]))

        assert await waiting == ELSEWHERE


async def test_the_commands_read(topology: Topology, producer: RedisBackend, tmp_path: Path) -> None:
    await producer.register("a", "1", "2")
    program = CliProcess("tubes", SHARD.handler, "--json", place=tmp_path, environment=topology.environment("admin"))

    assert await asyncio.to_thread(program.ended) == 0, program.text
    program.kill()
    assert '"depth":2' in program.text


async def test_the_operator_reads_and_hears_of_first_requests(topology: Topology, producer: RedisBackend) -> None:
    async with observing(topology) as readings, asyncio.timeout(SECONDS):
        while (doubt := (await readings.get()).doubt) is not None:  # a slow machine may take longer than one try
            assert "nothing within" in doubt.message
        while not await asyncio.to_thread(is_subscribed, topology):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.05)
        await producer.register("a", "1")

        assert (await readings.get()).shards[0].depth == 1


@asynccontextmanager
async def observing(topology: Topology) -> AsyncIterator["asyncio.Queue[Reading]"]:
    """The readings of a resource on this Redis, which is polled once only."""
    secrets, readings = topology.secrets(), asyncio.Queue[Reading]()

    async def read_secret(name: Name) -> Mapping[str, Any]:
        encoded = {key: base64.b64encode(value).decode() for key, value in secrets[name.name].items()}
        return {"metadata": {"resourceVersion": "1"}, "data": encoded}

    observer = Observer(read_secret, lambda _, reading: readings.put_nowait(reading))
    try:
        observer.subscribe(parsed(resource(topology)))
        yield readings
    finally:
        await observer.close()


def resource(topology: Topology) -> dict[str, Any]:
    spec = {
        "redis": topology.spec(),
        "handlers": [{"name": SHARD.handler}],
        "scaleTargetRef": {"name": "mine"},
        "scaling": {"pollPeriodSeconds": 300},
    }
    metadata = {"namespace": "shop", "name": "queue"}
    return {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue", "metadata": metadata, "spec": spec}


def is_subscribed(topology: Topology) -> bool:
    told = [topology.told(server, "PUBSUB", "NUMSUB", "tube_awake") for server in topology.keepers]
    return any(numbers.split()[-1] == "1" for numbers in told)


@pytest.mark.parametrize("topology", params(Way("Sentinel", tls=True, users=True)), indirect=True)
async def test_a_batch_that_takes_longer_than_its_lease_is_handled_once(
    topology: Topology, producer: RedisBackend, worker: RedisBackend
) -> None:
    """Without renewals it would be begun again and again, for ever."""
    settings.coordinator_lease = 3.0
    calls: list[tuple[str, ...]] = []

    class LongHandler(Handler):
        async def perform(self, *requests: str) -> None:
            calls.append(requests)
            await passed(topology, LongHandler.name)

    await Queue(producer.storage).register(LongHandler, "x")
    async with asyncio.timeout(SECONDS):
        await Worker(worker.coordinator, Queue(worker.storage), handlers=[LongHandler]).loop(1)

    assert calls == [("x",)]


async def passed(topology: Topology, handler: str) -> None:
    """Once the lease on a thread of *handler* has been prolonged, and its first end is over by the clock of Redis."""
    first = await asyncio.to_thread(lease_end, topology, handler)
    while not await asyncio.to_thread(lambda: lease_end(topology, handler) > first < now(topology)):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def lease_end(topology: Topology, handler: str) -> int:
    leases = topology.told(topology.keepers[0], "ZRANGE", f"lock_{{{handler}}}:leases", "0", "-1", "WITHSCORES")
    return int(leases.split()[1])


def now(topology: Topology) -> int:
    seconds, microseconds = topology.told(topology.keepers[0], "TIME").split()
    return int(seconds) * 1000 + int(microseconds) // 1000
