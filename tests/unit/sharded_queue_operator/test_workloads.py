"""Deployments of our own, before an API server that has one."""

from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.rollouts import Rollouts
from sharded_queue_operator.cluster.workloads import Workloads
from sharded_queue_operator.errors import NotOurs
from sharded_queue_operator.resource.deployment import MANAGED_BY, QUEUE, deployment
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, parsed

STRANGER = {"kind": "Other", "name": "n", "uid": "2", "controller": True}


class Server:
    """Has one Deployment, which may be taken away."""

    def __init__(self, **metadata: Any) -> None:
        metadata = {"namespace": "shop", "name": "mine", "resourceVersion": "1"} | metadata
        self.body: dict[str, Any] | None = {"metadata": metadata, "spec": {"replicas": 2}}

    async def find(self, path: str) -> dict[str, Any] | None:
        return self.body

    async def apply(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self.applied = manifest
        return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": "2"}}


def resource(name: str, created: str = "", **runs: Any) -> Resource:
    spec = {"redis": {"addresses": ["redis:6379"]}, "handlers": [{"name": "a"}], **runs}
    metadata = {"namespace": "shop", "name": name, "uid": name, "creationTimestamp": created}
    return parsed(
        {"apiVersion": "shardedqueue.dev/v1alpha1", "kind": "ShardedQueue", "metadata": metadata, "spec": spec}
    )


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


async def test_a_deployment_of_another_owner_is_read_anew() -> None:
    """No watch reports its end: it once counted as existing for ever."""
    server = Server()
    workloads = Workloads(cast("Api", server), Rollouts(5))
    queue = resource("n", worker={"image": "i", "modules": ["m"]})
    with pytest.raises(NotOurs, match="is not owned by this resource"):
        await workloads.find(queue)

    server.body = None
    assert await workloads.find(queue) is None


def orphan(**labels: str) -> dict[str, Any]:
    """What `kubectl delete shq n --cascade=orphan` leaves, with other *labels*."""
    queue = resource("n", worker={"image": "i", "modules": ["m"]})
    body = deployment(queue, 3)
    del body["metadata"]["ownerReferences"]
    body["metadata"] |= {"uid": "1", "resourceVersion": "1", "labels": body["metadata"]["labels"] | labels}
    return body


async def test_an_orphan_is_adopted_by_the_queue_of_its_labels() -> None:
    """As a Deployment adopts pods. It was somebody else's for ever, and the new queue had no workers."""
    server = Server()
    server.body = orphan()
    workloads = Workloads(cast("Api", server), Rollouts(5))
    anew = resource("n", worker={"image": "i", "modules": ["m"]})
    found = await workloads.find(anew)
    assert found
    assert found.wanted == 3

    await workloads.ensure(anew, found, 3)
    assert [owner["uid"] for owner in server.applied["metadata"]["ownerReferences"]] == ["n"]


@pytest.mark.parametrize(
    "body",
    [
        orphan(**{QUEUE: "other"}),
        orphan(**{MANAGED_BY: "Helm"}),
        orphan() | {"spec": orphan()["spec"] | {"selector": {"matchLabels": {"app": "n"}}}},
        orphan() | {"metadata": orphan()["metadata"] | {"ownerReferences": [STRANGER]}},
    ],
    ids=["another-queue", "another-manager", "another-selector", "another-controller"],
)
async def test_what_may_be_somebody_elses_is_not_adopted(body: dict[str, Any]) -> None:
    server = Server()
    server.body = body
    with pytest.raises(NotOurs):
        await Workloads(cast("Api", server), Rollouts(5)).find(resource("n", worker={"image": "i", "modules": ["m"]}))
