"""Deployments of our own, before an API server that has one."""

from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.cluster.rollouts import Rollouts
from sharded_queue_operator.cluster.workloads import Workloads
from sharded_queue_operator.errors import NotOurs
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource, parsed


class Server:
    """Has one Deployment, which may be taken away."""

    def __init__(self, **metadata: Any) -> None:
        metadata = {"namespace": "shop", "name": "mine", "resourceVersion": "1"} | metadata
        self.body: dict[str, Any] | None = {"metadata": metadata, "spec": {"replicas": 2}}

    async def find(self, path: str) -> dict[str, Any] | None:
        return self.body


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
