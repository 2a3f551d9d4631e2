"""Deployments of our own and workloads of users, before an API server that has one."""

from math import inf
from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.contest import UNDONE_SECONDS
from sharded_queue_operator.cluster.rollouts import Rollouts
from sharded_queue_operator.cluster.workloads import Workloads, owner_of, pause
from sharded_queue_operator.errors import Claimed, NotOurs
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, parsed
from sharded_queue_operator.resource.workload import Workload


def test_an_owner_of_another_kind_is_not_ours() -> None:
    metadata = {"namespace": "shop", "ownerReferences": [{"kind": "Other", "name": "x"}]}

    assert owner_of({"metadata": metadata}) is None


class Server:
    """Has one Deployment, which may be taken away."""

    def __init__(self, **metadata: Any) -> None:
        metadata = {"namespace": "shop", "name": "mine", "resourceVersion": "1"} | metadata
        self.body: dict[str, Any] | None = {"metadata": metadata, "spec": {"replicas": 2}}

    async def find(self, path: str) -> dict[str, Any] | None:
        return self.body

    async def get(self, path: str) -> dict[str, Any]:
        assert self.body
        return self.body

    async def merge(self, path: str, body: dict[str, Any]) -> None:
        self.scale(body["spec"]["replicas"])

    def scale(self, replicas: int) -> None:
        """All pods come at once: the Deployment is at rest."""
        status = {"replicas": replicas, "readyReplicas": replicas}
        self.body = {**(self.body or {}), "spec": {"replicas": replicas}, "status": status}


def resource(name: str, created: str = "", **runs: Any) -> Resource:
    spec = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}], **runs}
    metadata = {"namespace": "shop", "name": name, "uid": name, "creationTimestamp": created}
    return parsed(
        {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue", "metadata": metadata, "spec": spec}
    )


async def test_the_oldest_of_two_scales_a_workload() -> None:
    """They once took turns for ever, each undoing what the other had done."""
    workloads, mine = Workloads(cast("Api", Server()), Rollouts(5)), {"scaleTargetRef": {"name": "mine"}}
    old, new = resource("z", "2026-01-01T00:00:00Z", **mine), resource("a", "2026-01-02T00:00:00Z", **mine)
    workloads.claim(new)
    workloads.claim(old)

    assert (await workloads.find(old)) is not None
    with pytest.raises(Claimed, match="Deployment mine is scaled by the ShardedQueue z, which is older"):
        await workloads.find(new)

    workloads.forget(old.name)
    assert (await workloads.find(new)) is not None
    workloads.forget(new.name)
    assert workloads.claims == {}


def test_a_release_that_its_controller_has_not_seen_yet_is_on_its_way() -> None:
    """The status of the release before stood for the new one, for as long as that took."""

    def body(generation: int, image: str, replicas: int, observed: int) -> dict[str, Any]:
        metadata = {"namespace": "shop", "name": "mine", "resourceVersion": str(generation), "generation": generation}
        status = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": observed}
        return {"metadata": metadata, "spec": {"replicas": replicas, "template": {"image": image}}, "status": status}

    workloads = Workloads(cast("Api", Server()), Rollouts(5))
    steps = [(1, "old", 1, 1), (2, "old", 3, 1), (3, "new", 3, 1), (4, "new", 4, 2), (5, "new", 4, 5)]
    rolling = []
    for step in steps:
        workloads.keep(body(*step))
        rolling.append(workloads.known[Name("shop", "mine")].workload.is_rolling_out)

    assert rolling == [False, False, True, True, False]


async def test_a_deployment_that_another_resource_owns_is_not_a_target() -> None:
    server = Server(ownerReferences=[{"kind": "ShardedQueue", "name": "n", "uid": "1"}])

    with pytest.raises(Claimed, match="is owned by the ShardedQueue n"):
        await Workloads(cast("Api", server), Rollouts(5)).find(resource("a", scaleTargetRef={"name": "mine"}))


async def test_a_deployment_of_another_owner_is_read_anew() -> None:
    """No watch reports its end: it once counted as existing for ever."""
    server = Server()
    workloads = Workloads(cast("Api", server), Rollouts(5))
    queue = resource("n", worker={"image": "i", "modules": ["m"]})
    with pytest.raises(NotOurs, match="is not owned by this resource"):
        await workloads.find(queue)

    server.body = None
    assert await workloads.find(queue) is None


def test_a_target_at_rest_is_read_once_a_minute() -> None:
    """A thousand of them were 97 reads of the API server a second."""
    assert pause(Workload(3, 3, 3, "app=n"), inf) == 60
    assert pause(Workload(3, 2, 2, "app=n"), inf) == 5
    assert pause(Workload(3, 3, 2, "app=n"), inf) == 5


def test_a_target_is_read_often_while_our_write_may_be_undone() -> None:
    """An HPA that undid it after 15 s was noticed after a minute, too late to be distinguished from a person."""
    assert pause(Workload(3, 3, 3, "app=n"), 0) == 5
    assert pause(Workload(3, 3, 3, "app=n"), UNDONE_SECONDS) == 5
    assert pause(Workload(3, 3, 3, "app=n"), UNDONE_SECONDS + 1) == 60


async def test_a_number_that_is_undone_is_noticed_though_the_target_is_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [1000.0]
    monkeypatch.setattr("sharded_queue_operator.cluster.workloads.monotonic", lambda: seconds[0])
    server = Server()
    workloads = Workloads(cast("Api", server), Rollouts(5))
    queue = resource("n", scaleTargetRef={"name": "mine"})
    await workloads.ensure(queue, await workloads.find(queue), 3)
    assert await wanted(workloads, queue) == 3

    server.scale(6)
    seconds[0] += 15
    assert await wanted(workloads, queue) == 6


async def wanted(workloads: Workloads, queue: Resource) -> int:
    found = await workloads.find(queue)
    assert found
    return found.wanted
