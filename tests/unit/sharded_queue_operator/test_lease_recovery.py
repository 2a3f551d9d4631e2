"""Threads of ended pods: freed at once, or left to their leases."""

from time import monotonic
from typing import Any

import pytest

from sharded_queue_operator.cluster import pods as module
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.controller.lease_recovery import LeaseRecovery
from sharded_queue_operator.resource.name import Name
from tests.unit.sharded_queue_operator.pod_server import (
    FOUR,
    NAME,
    PodServer,
    RecordingCoordinator,
    ended,
    pod,
    resource,
    seen,
)


@pytest.fixture
def lease_recovery(pods: PodTracker, coordinator: RecordingCoordinator) -> LeaseRecovery:
    async def find_coordinator(_: Name) -> Any:
        return coordinator

    return LeaseRecovery(pods, find_coordinator)


async def test_threads_of_a_pod_that_has_ended_are_freed_once(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    assert pods.drop(ended(pod_server.pods.pop("b"))) == NAME
    (event,) = await lease_recovery.reclaim(resource(), FOUR, seen("a", "b"))

    assert coordinator.evicted == ["shop.b"]
    assert event.message == "b has ended; 1 thread freed: thread of shop.b of a"
    assert await lease_recovery.reclaim(resource(), FOUR, seen("a", "b")) == []


async def test_of_a_pod_that_is_merely_gone_the_lease_decides(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """A forced deletion: its process lived on, and two workers held one thread."""
    assert pods.drop(pod_server.pods.pop("b")) is None
    del pod_server.pods["c"]
    await pods.replace_all(list(pod_server.pods.values()), "")

    assert await lease_recovery.reclaim(resource(), FOUR, seen("b", "c")) == []
    assert coordinator.evicted == []


async def test_of_a_pod_that_failed_with_its_node_the_lease_decides(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """The pod garbage collector says that it failed; no kubelet has seen its containers end."""
    pod_server.pods["b"]["status"]["phase"] = "Failed"
    for body in (pod_server.pods["b"], pod("c") | {"status": {"phase": "Failed"}}):
        assert pods.keep(body) is None
        assert pods.drop(body) is None

    assert await lease_recovery.reclaim(resource(), FOUR, seen("b", "c")) == []
    assert coordinator.evicted == []


async def test_a_container_that_will_start_again_has_not_ended(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    ended(pod_server.pods["b"], phase="Running")

    assert pods.keep(pod_server.pods["b"]) is None
    assert await lease_recovery.reclaim(resource(), FOUR, seen("b")) == []


async def test_a_reading_from_before_the_pod_went_proves_nothing(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    early = seen("b")
    pods.drop(ended(pod_server.pods.pop("b")))

    assert await lease_recovery.reclaim(resource(), FOUR, early) == []
    assert await lease_recovery.reclaim(resource(), FOUR, seen("b")) != []


async def test_a_name_that_another_pod_has_by_now_is_left_alone(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    pods.drop(ended(pod_server.pods["b"]))
    pod_server.pods["b"] = pod("b", uid="another")

    assert await lease_recovery.reclaim(resource(), FOUR, seen("b")) == []
    assert coordinator.evicted == []


async def test_pods_with_a_foreign_controller_free_nothing(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """They may have the labels of our pods, the names of workers, and a controller with the name of ours."""
    forged = pod("x", "other")
    forged["metadata"]["ownerReferences"][0]["name"] = "n-77"
    for body in (forged, pod("y", "other")):
        pod_server.pods[body["metadata"]["name"]] = body
        pods.keep(body)
        pods.drop(ended(body))

    assert await lease_recovery.reclaim(resource(), FOUR, seen("x", "y")) == []
    assert coordinator.evicted == []


async def test_workers_of_another_namespace_are_left_alone(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """A pod with the name of one that runs elsewhere once freed its threads."""
    pods.drop(ended(pod_server.pods.pop("b")))

    assert await lease_recovery.reclaim(resource(), FOUR, seen("theirs.b")) == []
    assert coordinator.evicted == []


async def test_pods_of_a_stateful_set_are_left_to_their_leases(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """The next pod has the same name."""
    theirs = resource(scaleTargetRef={"name": "n", "kind": "StatefulSet"})
    pods.drop(ended(pod_server.pods.pop("b")))

    assert await lease_recovery.reclaim(theirs, FOUR, seen("b")) == []


async def test_threads_of_a_listed_pod_of_the_users_deployment_are_freed(
    lease_recovery: LeaseRecovery, pod_server: PodServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pod that its node evicted, whose object is kept for inspection."""
    monkeypatch.setattr(module, "LIST_SECONDS", 0.0)
    pod_server.pods = {name: pod(name, "mine") for name in "wx"}
    mine, workload = resource(scaleTargetRef={"name": "mine"}), FOUR._replace(uid="deployment-mine")
    await lease_recovery.reclaim(mine, workload, seen("w"))
    ended(pod_server.pods["w"])
    assert await lease_recovery.reclaim(mine, workload, seen("w", read_at=monotonic() - 60)) == []

    assert len(await lease_recovery.reclaim(mine, workload, seen("w"))) == 1


async def test_without_the_right_to_read_pods_the_lease_decides(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    """The refusal once ended all scaling of the queue."""
    pods.drop(ended(pod_server.pods.pop("b")))
    pod_server.refuses = True

    assert await lease_recovery.reclaim(resource(), FOUR, seen("b")) == []


async def test_names_that_never_were_pods_of_the_workload_are_left_alone(
    lease_recovery: LeaseRecovery, coordinator: RecordingCoordinator
) -> None:
    assert await lease_recovery.reclaim(resource(), FOUR, seen("laptop", "a")) == []
    assert coordinator.evicted == []


async def test_without_redis_reclaiming_is_tried_again(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    pods.drop(ended(pod_server.pods.pop("b")))
    coordinator.is_away = True
    assert await lease_recovery.reclaim(resource(), FOUR, seen("b")) == []

    coordinator.is_away = False
    assert len(await lease_recovery.reclaim(resource(), FOUR, seen("b"))) == 1


async def test_a_pod_that_ended_without_threads_is_forgotten(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer
) -> None:
    pods.drop(ended(pod_server.pods.pop("b"), phase="Succeeded"))
    await lease_recovery.reclaim(resource(), FOUR, seen("a"))

    assert pods.ended_holders(NAME, {"shop.b"}, monotonic()) == {}


async def test_a_list_makes_up_for_an_end_that_no_watch_reported(
    lease_recovery: LeaseRecovery, pods: PodTracker, pod_server: PodServer, coordinator: RecordingCoordinator
) -> None:
    ended(pod_server.pods["b"])
    await pods.replace_all(list(pod_server.pods.values()), "")
    await lease_recovery.reclaim(resource(), FOUR, seen("b"))

    assert coordinator.evicted == ["shop.b"]
