"""What the object of one pod says."""

from typing import Any

from sharded_queue_operator.cluster.pod import COST, Pod, compact_pod


def test_a_pod_is_read_as_far_as_it_has_come() -> None:
    body: dict[str, Any] = {"metadata": {"name": "a", "annotations": {COST: "-5"}}}
    assert Pod.of(body) == Pod("a", "", progress=0, cost="-5")

    body |= {"spec": {"nodeName": "n"}, "status": {"phase": "Pending"}}
    assert Pod.of(body).progress == 1
    body["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    assert Pod.of(body).progress == 2
    body["status"]["conditions"][0]["status"] = "True"
    assert Pod.of(body).progress == 3
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {COST: "dear"}}
    assert Pod.of(body) == Pod("a", "", cost="dear", is_leaving=True)


def test_of_a_listed_pod_only_what_is_used_is_kept() -> None:
    """Ten thousand whole pods took 370 MiB."""
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "worker", "restartCount": 2, "lastState": {"terminated": {"exitCode": 1}}}],
        "podIP": "10.0.0.1",
    }
    metadata = {
        "namespace": "shop",
        "name": "n-worker-1",
        "uid": "1",
        "resourceVersion": "7",
        "labels": {"shardedqueue.dev/queue": "n"},
        "annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "n-worker", "uid": "2", "controller": True}],
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubelet"}],
    }
    whole = {"metadata": metadata, "spec": {"nodeName": "node-1", "containers": [{"name": "worker"}]}, "status": status}
    compact = compact_pod(whole)

    assert Pod.of(compact) == Pod.of(whole)
    assert "managedFields" not in compact["metadata"]
    assert compact["spec"] == {"nodeName": "node-1"}
