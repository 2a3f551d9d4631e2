"""Lists replace what is known of resources and of Deployments."""

from typing import cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.controller.resync import Resync
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.settings import Settings
from tests.unit.sharded_queue_operator.api_server import NAME, Server, body

DEPLOYMENT = {
    "metadata": {
        "namespace": "shop",
        "name": "n-worker",
        "resourceVersion": "1",
        "ownerReferences": [{"kind": "ShardedQueue", "name": "n", "uid": "1-2"}],
    },
    "spec": {"replicas": 3},
}


@pytest.fixture
def resync(server: Server, controller: Controller) -> Resync:
    return Resync(cast("Api", server), controller, Settings())


async def test_a_list_is_read_to_its_last_page(resync: Resync, controller: Controller, server: Server) -> None:
    other = body()
    other["metadata"]["name"] = "m"
    server.lists = [{"metadata": {"continue": "1"}, "items": [body()]}, {"metadata": {}, "items": [other]}]
    await resync.list_resources("")

    assert set(controller.entries) == {NAME, Name("shop", "m")}
    controller.queue.forget(Name("shop", "m"))


@pytest.mark.parametrize(("listed_at", "handler"), [(6, "b"), (10, "a")], ids=["versions-went-back", "late-list"])
async def test_a_list_replaces_what_is_known_also_when_versions_went_back(
    resync: Resync, controller: Controller, server: Server, listed_at: int, handler: str
) -> None:
    """After etcd is restored every version is older, and the news of the watch once stayed for ever."""
    controller.resource_changed(body(version=9))
    restored = body(version=5, handlers=[{"name": "b"}])
    server.lists = [{"metadata": {"resourceVersion": str(listed_at)}, "items": [restored]}]
    await resync.list_resources("")

    resource = controller.entries[NAME].resource
    assert resource
    assert [each.name for each in resource.spec.handlers] == [handler]


async def test_a_restored_deployment_is_believed(resync: Resync, controller: Controller, server: Server) -> None:
    late = {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "resourceVersion": "9"}}
    controller.workload_changed(late)
    server.lists = [{"metadata": {"resourceVersion": "6"}, "items": [{**DEPLOYMENT, "spec": {"replicas": 7}}]}]
    await resync.list_workloads("")

    (known,) = controller.workloads.known.values()
    assert known.workload.wanted == 7


async def test_a_deployment_that_a_list_does_not_hold_is_gone(resync: Resync, controller: Controller) -> None:
    """When the watch missed its end, it once counted as existing for ever."""
    controller.workload_changed(DEPLOYMENT)
    assert len(controller.workloads.known) == 1
    await resync.list_workloads("")

    assert not controller.workloads.known
