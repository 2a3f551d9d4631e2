"""Lists replace what is known of resources and of Deployments, and find what deleted resources have left."""

from typing import Any, cast

import pytest

from sharded_queue_operator.cluster.api import Api
from sharded_queue_operator.controller.controller import Controller
from sharded_queue_operator.controller.resync import Resync
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.mark import ORIGINAL, SCALED_BY
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


class Marked(Server):
    """Has a StatefulSet that the ShardedQueue `n` has scaled to zero, and may have that queue."""

    def __init__(self, *queues: dict[str, Any]) -> None:
        super().__init__()
        mark = {"labels": {SCALED_BY: "n"}, "annotations": {ORIGINAL: "3"}}
        metadata = {"namespace": "shop", "name": "mine", "resourceVersion": "1", **mark}
        self.set = {"metadata": metadata, "spec": {"replicas": 0}}
        self.items = {"statefulsets": [self.set], "deployments": [], "shardedqueues": list(queues)}
        self.asked: list[str] = []
        self.patches: list[dict[str, Any]] = []
        self.forbids = False

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        kind = path.rpartition("/")[2]
        self.asked.append(kind)
        if self.forbids and kind == "statefulsets":
            raise ApiRefused(403, "no right to list them")
        return {"items": self.items[kind]}

    async def find(self, path: str) -> Any:
        assert path == "/apis/apps/v1/namespaces/shop/statefulsets/mine"
        return self.set

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.patches.append(patch)
        return {}


async def restore(server: Marked) -> Controller:
    """What a new operator makes of its first list, and of its first work."""
    controller = Controller(cast("Api", server), Settings())
    await Resync(cast("Api", server), controller, Settings()).list_targets("")
    for _ in range(len(controller.queue)):
        async with controller.queue.next() as name:
            await controller.reconcile(name)
    await controller.observer.close()
    return controller


async def test_what_a_resource_scaled_is_restored_by_the_next_operator() -> None:
    """It was deleted while no operator ran: its workers stayed at zero for ever."""
    server = Marked()
    await restore(server)

    (patch,) = server.patches
    assert patch["spec"] == {"replicas": 3}
    assert patch["metadata"]["annotations"] == {ORIGINAL: None}


@pytest.mark.parametrize("handlers", [[{"name": "a"}], []], ids=["valid", "invalid"])
async def test_what_a_resource_still_scales_is_left_alone(handlers: list[dict[str, str]]) -> None:
    """A new operator knows no resource before its list; one with an invalid spec changes nothing."""
    queue = body(handlers=handlers, scaleTargetRef={"name": "mine", "kind": "StatefulSet"})
    del queue["spec"]["worker"]
    server = Marked(queue)
    controller = Controller(cast("Api", server), Settings())
    resync = Resync(cast("Api", server), controller, Settings())
    await resync.list_targets("")

    assert server.asked == ["deployments", "statefulsets", "shardedqueues"]
    await controller.workloads.targets.release(NAME)
    assert server.patches == []
    await controller.observer.close()


async def test_a_list_of_targets_that_is_forbidden_keeps_no_operator_from_work() -> None:
    server = Marked()
    server.forbids = True
    await restore(server)

    assert server.patches == []
