"""A slot of a Redis Cluster on its way to another node: nothing is begun there before all of it has come."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from sharded_queue import StorageUnavailable, settings
from sharded_queue.backends.redis.client import Client
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.backends.redis.storage import RedisStorage
from tests.contract.backend import LEASE_SECONDS, SHARD, RedisBackend, handed
from tests.harness.redis_groups import Nodes, told
from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis
SECONDS = 60.0
KEY = f"tube_{{{SHARD.handler}}}"


class Slot:
    """The slot of the handler, and the two nodes between which it moves."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes.nodes
        self.number = self._told(self.nodes[0], "keyslot", KEY)
        ids = {self._told(node, "myid"): node for node in self.nodes}
        (line,) = [line for line in self._told(self.nodes[0], "nodes").splitlines() if self._is_in(line)]
        self.source = ids[line.split()[0]]
        self.target = next(node for node in self.nodes if node is not self.source)

    def _is_in(self, line: str) -> bool:
        ranges = [part.split("-") for part in line.split()[8:] if not part.startswith("[")]
        return any(int(ends[0]) <= int(self.number) <= int(ends[-1]) for ends in ranges)

    def _told(self, node: RedisServer, *words: str) -> str:
        return told(node.port, "cluster", *words).strip()

    def set_off(self) -> None:
        """Nothing has left yet."""
        self._told(self.target, "setslot", self.number, "importing", self._told(self.source, "myid"))
        self._told(self.source, "setslot", self.number, "migrating", self._told(self.target, "myid"))

    def arrive(self) -> None:
        while keys := self._told(self.source, "getkeysinslot", self.number, "100").split():
            told(self.source.port, "migrate", "127.0.0.1", str(self.target.port), "", "0", "60000", "keys", *keys)
        for node in (self.target, self.source, *self.nodes):
            self._told(node, "setslot", self.number, "node", self._told(self.target, "myid"))

    def stay(self) -> None:
        for node in (self.source, self.target):
            self._told(node, "setslot", self.number, "stable")


@pytest.fixture
def slot(nodes: Nodes, on_cluster: Client) -> Iterator[Slot]:
    moving = Slot(nodes)
    yield moving
    moving.stay()


@pytest.fixture
def backend(on_cluster: Client) -> RedisBackend:
    return RedisBackend(on_cluster)


class Refusals:
    """Counts what Redis refuses to a keeper; *first* is set with the first."""

    def __init__(self, keeper: RedisStorage | RedisCoordinator) -> None:
        self.first, self._send = asyncio.Event(), keeper.link.send
        keeper.link.send = self._watching  # type: ignore[method-assign]

    async def _watching(self, key: str, *command: Any, seconds: float) -> Any:
        try:
            return await self._send(key, *command, seconds=seconds)
        except Exception:
            self.first.set()
            raise


async def test_what_is_registered_while_a_slot_moves_waits_for_it(slot: Slot, backend: RedisBackend) -> None:
    await backend.register("a", "1")
    slot.set_off()
    fresh = RedisBackend(backend.redis)  # a process that has just started, whose producer Redis does not know
    refusals = Refusals(fresh.redis_storage)
    registering = asyncio.create_task(fresh.register("a", "2"))
    async with asyncio.timeout(SECONDS):
        await refusals.first.wait()
        slot.arrive()
        await registering

    assert await backend.waiting("a") == ["1", "2"]


async def test_a_slot_that_does_not_arrive_is_named(slot: Slot, backend: RedisBackend) -> None:
    settings.redis_retry = 0.2
    await backend.register("a", "1")
    slot.set_off()

    with pytest.raises(
        StorageUnavailable, match=f"slot {slot.number} of .*{SHARD.handler}.* is being moved to"
    ) as raised:
        await RedisBackend(backend.redis).register("a", "2")
    assert not raised.value.is_uncertain, "nothing of it was done"
    slot.stay()
    assert await backend.waiting("a") == ["1"]


async def test_nothing_is_begun_at_the_node_that_a_slot_goes_to(slot: Slot, backend: RedisBackend) -> None:
    """To follow ASK would start the script on a part of its keys."""
    settings.redis_retry = 0.2
    slot.set_off()
    with pytest.raises(StorageUnavailable):
        await backend.register("a", "1")

    assert told(slot.target.port, "cluster", "countkeysinslot", slot.number).strip() == "0"


async def test_a_lease_and_its_batch_are_kept_while_a_slot_moves(slot: Slot, backend: RedisBackend) -> None:
    await backend.register("a", "1", "2")
    batch = await backend.bind_one(wanted=1)
    coordinator = backend.coordinator
    assert isinstance(coordinator, RedisCoordinator)
    slot.set_off()
    renewal, settlement = Refusals(coordinator), Refusals(backend.redis_storage)
    renewing = asyncio.create_task(coordinator.renew([batch.lease], LEASE_SECONDS))
    settling = asyncio.create_task(backend.settle(batch, wanted=1))
    async with asyncio.timeout(SECONDS):
        await renewal.first.wait()
        await settlement.first.wait()
        slot.arrive()

        assert await renewing == []
        assert handed((await settling).batch) == ["2"]
