"""A Redis Cluster of which a part does not answer: the rest of it is served as if nothing were."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster
from redis.crc import key_slot

from sharded_queue import Handler, Queue, RedisCoordinator, RedisStorage, StorageUnavailable, Worker, settings
from sharded_queue.backends.redis.client import Client, RedisOptions, close, connect
from sharded_queue.coordinator import BindRequest, Outlook
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from sharded_queue.worker import lookout
from sharded_queue.worker.lookout import Lookout
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend
from tests.harness.redis_groups import Nodes, told
from tests.harness.requirements import require_redis
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis
SECONDS = 60.0
SLOTS_A_NODE = 5462


def named_at(node: int) -> str:
    """A name of a handler whose keys are at that node."""
    names = (f"tests.Handler{number}" for number in range(1000))
    return next(name for name in names if key_slot(name.encode()) // SLOTS_A_NODE == node)


HUNG, SOUND = Shard(named_at(0)), Shard(named_at(1))
"""The first node is the one that redis-py asks before it serves any."""


@pytest.fixture
def own_nodes(tmp_path: Path) -> Iterator[Nodes]:
    """As in the seconds before a node that hangs is replaced: the others go on."""
    require_redis()
    group = Nodes(tmp_path, **{"cluster-node-timeout": "60000", "cluster-require-full-coverage": "no"})
    yield group
    group.kill()


@pytest.fixture
async def on_own_nodes(own_nodes: Nodes) -> AsyncIterator[Client]:
    settings.redis_timeout = 1.0
    client = connect(RedisOptions(own_nodes.addresses, mode="Cluster", timeout_seconds=1.0))
    yield client
    own_nodes.nodes[0].resume()
    await close(client)


async def test_leases_at_other_nodes_are_renewed_while_one_node_hangs(own_nodes: Nodes, on_own_nodes: Client) -> None:
    backend = RedisBackend(on_own_nodes)
    leases = []
    for shard in (HUNG, SOUND):
        await backend.storage.register(shard, Registration([Entry("a", 0, [b"1"])]))
        (batch,) = (await backend.coordinator.bind(shard, BindRequest("w/1", 1, 1, LEASE_SECONDS))).batches
        leases.append(batch.lease)
    own_nodes.nodes[0].pause()
    with pytest.raises(StorageUnavailable):  # that it hangs is known then
        await backend.coordinator.renew(leases[:1], 0.2)
    both = asyncio.create_task(backend.coordinator.renew(leases, SECONDS))
    lost = await backend.coordinator.renew(leases[1:], LEASE_SECONDS)
    own_nodes.nodes[0].resume()

    assert lost == []
    assert await both == []


async def test_a_batch_at_another_node_goes_on_while_one_node_hangs(own_nodes: Nodes, on_own_nodes: Client) -> None:
    settings.coordinator_lease, settings.worker_concurrency = 3.0, 2
    began, cut_off, calls = asyncio.Event(), asyncio.Event(), []

    class HungHandler(Handler):
        name = HUNG.handler

        async def perform(self, *requests: int) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cut_off.set()

    class SoundHandler(Handler):
        name = SOUND.handler

        async def perform(self, *requests: int) -> None:
            calls.append(requests)
            await began.wait()
            await renewed(own_nodes.nodes[1])
            own_nodes.nodes[0].pause()
            await cut_off.wait()
            await renewed(own_nodes.nodes[1])
            own_nodes.nodes[0].resume()
            worker.stop()

    queue = Queue(RedisStorage(on_own_nodes))
    await queue.register(HungHandler, 1)
    await queue.register(SoundHandler, 2)
    worker = Worker(RedisCoordinator(on_own_nodes), queue, handlers=[HungHandler, SoundHandler])
    settings.worker_drain = 0.5
    async with asyncio.timeout(SECONDS):
        await worker.loop()

    assert calls == [(2,)]


async def renewed(node: RedisServer) -> None:
    end = await asyncio.to_thread(lease_end, node)
    while await asyncio.to_thread(lease_end, node) == end:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.05)


def lease_end(node: RedisServer) -> str:
    return told(node.port, "ZRANGE", f"lock_{{{SOUND.handler}}}:leases", "0", "-1", "WITHSCORES").split()[1]


async def test_a_look_leaves_out_what_a_hung_node_has_and_waits_for_it_only_once(
    own_nodes: Nodes, on_own_nodes: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(shards: Sequence[Shard], seconds: float) -> dict[Shard, Outlook]:
        asked.append(list(shards))
        return await RedisCoordinator.look(coordinator, shards, seconds)

    backend = RedisBackend(on_own_nodes)
    coordinator, asked = RedisCoordinator(on_own_nodes), list[list[Shard]]()
    monkeypatch.setattr(coordinator, "look", look)
    monkeypatch.setattr(lookout, "LEAST_SILENT_SECONDS", 60.0)  # this machine may stand still between the two looks
    await backend.storage.register(SOUND, Registration([Entry("a", 0, [b"1"])]))
    own_nodes.nodes[0].pause()
    watching = Lookout(coordinator)
    found = [await watching.look([HUNG, SOUND]) for _ in range(2)]

    assert found == [{SOUND: Outlook(1, None)}] * 2
    assert asked == [[HUNG, SOUND], [SOUND]]


async def test_a_slot_that_no_node_serves_is_waited_for(own_redis: Callable[..., RedisServer]) -> None:
    """Also by a client that was told to do without the whole of the Cluster."""
    server = own_redis(**{"cluster-enabled": "yes", "cluster-require-full-coverage": "no"})
    slot = key_slot(SHARD.handler.encode())
    told(server.port, "CLUSTER", "ADDSLOTSRANGE", "0", str(slot - 1), str(slot + 1), "16383")
    client = RedisCluster("127.0.0.1", server.port, require_full_coverage=False)
    backend = RedisBackend(client)
    settings.redis_retry = 0.2
    with pytest.raises(StorageUnavailable, match=rf"no node .* serves slot {slot} of .*{SHARD.handler}"):
        await backend.register("a", "1")
    settings.redis_retry = SECONDS
    registering = asyncio.create_task(backend.register("a", "2"))
    told(server.port, "CLUSTER", "ADDSLOTS", str(slot))
    await registering

    assert await backend.waiting("a") == ["2"]
    await close(client)
