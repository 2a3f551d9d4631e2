"""Leader election, before a fake API server with one Lease."""

from copy import deepcopy
from typing import Any

import pytest

from sharded_queue_operator.cluster.leader import Deposed, Leader
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.name import Name


class Server:
    """With the Lease that a chart brings: without a holder."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.keep({"metadata": {"namespace": "op", "name": "lease", "uid": "of the chart"}, "spec": {}})

    async def find(self, path: str) -> dict[str, Any] | None:
        return deepcopy(self.lease)

    async def get(self, path: str) -> dict[str, Any] | None:
        return await self.find(path)

    async def create(self, path: str, lease: dict[str, Any]) -> None:
        if self.lease:
            raise ApiRefused(409, "it is there already")
        self.keep(lease | {"metadata": lease["metadata"] | {"uid": f"uid-{self.version}"}})

    async def replace(self, path: str, lease: dict[str, Any]) -> None:
        if self.lease is None or lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiRefused(409, "somebody wrote since")
        self.keep(lease)

    def keep(self, lease: dict[str, Any]) -> None:
        self.version += 1
        self.lease = deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)


@pytest.fixture
def server() -> Server:
    return Server()


def leader(server: Server, identity: str, lease_seconds: float = 600) -> Leader:
    return Leader(server, Name("op", "lease"), identity, lease_seconds)  # type: ignore[arg-type]


async def test_a_lease_that_was_deleted_is_left_to_its_holder(server: Server) -> None:
    """An operator that waited once took it at once, and two led until the first one's lease was over."""
    first, second = leader(server, "first"), leader(server, "second")
    await first.acquire()
    assert not await second.attempt()
    server.lease = None

    assert not await second.attempt()
    assert await first.attempt()
    assert not await second.attempt()


async def test_a_lease_that_a_chart_made_again_is_left_to_its_holder(server: Server) -> None:
    """It names no holder, and its former holder does not know yet."""
    first, second = leader(server, "first"), leader(server, "second")
    await first.acquire()
    assert not await second.attempt()
    server.keep({"metadata": {"namespace": "op", "name": "lease", "uid": "anew"}, "spec": {}})

    assert not await second.attempt()
    assert await first.attempt()


async def test_an_operator_that_starts_just_after_the_lease_was_deleted_leaves_it_to_its_holder(server: Server) -> None:
    """It never saw the Lease, took its place at once, and two led."""
    first, newcomer = leader(server, "first"), leader(server, "newcomer")
    await first.acquire()
    server.lease = None

    assert not await newcomer.attempt()
    assert await first.attempt()
    assert not await newcomer.attempt()


async def test_a_lease_that_was_given_back_is_taken_at_once(server: Server) -> None:
    first, second = leader(server, "first"), leader(server, "second")
    await first.acquire()
    assert not await second.attempt()
    await first.resign()

    assert await second.attempt()


async def test_a_waiting_operator_takes_a_deleted_lease_when_its_holder_does_not(server: Server) -> None:
    first, second = leader(server, "first"), leader(server, "second", lease_seconds=0)
    await first.acquire()
    await second.take()
    server.lease = None

    assert await second.take()


async def test_the_first_operator_takes_a_lease_without_a_holder(server: Server) -> None:
    assert await leader(server, "first").attempt()


async def test_a_leader_that_sees_another_one_ends_its_term_at_once(server: Server) -> None:
    first = leader(server, "first")
    await first.acquire()
    server.lease = None
    await leader(server, "second", lease_seconds=0).take()

    with pytest.raises(Deposed, match="second holds op/lease now, not first"):
        await first.attempt()
