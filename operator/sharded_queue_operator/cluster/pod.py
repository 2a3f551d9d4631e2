"""
What the object of one pod says: how far the pod has come, whether it has ended, and who made it. Pure.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sharded_queue_operator.resource.availability import Problem, pod_problem
from sharded_queue_operator.resource.deployment import QUEUE, Manifest, worker_name
from sharded_queue_operator.resource.name import Name

COST = "controller.kubernetes.io/pod-deletion-cost"

OWN_COST = "shardedqueue.dev/own-deletion-cost"
"""Annotation of a victim: the cost that its author gave it, to be given back when the pod stays after all."""

FINAL_PHASES = frozenset({"Succeeded", "Failed"})

METADATA = (
    *("namespace", "name", "uid", "resourceVersion", "labels", "annotations", "ownerReferences"),
    *("creationTimestamp", "deletionTimestamp"),
)
STATUS = ("phase", "reason", "conditions", "containerStatuses", "initContainerStatuses")
"""What the operator reads of a pod."""


class ControllerRef(NamedTuple):
    """The controller that a pod names as its own, such as a ReplicaSet."""

    kind: str = ""
    name: str = ""
    uid: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "ControllerRef":
        owners = body["metadata"].get("ownerReferences") or []
        return next((cls(each["kind"], each["name"], each["uid"]) for each in owners if each.get("controller")), cls())


class Pod(NamedTuple):
    """
    A pod of workers. *progress* counts the steps by which a ReplicaSet compares pods: 0 without a node, 1 not running,
    2 not ready, 3 ready. *cost* and *own_cost* are annotations; *problem* keeps the pod from becoming ready.
    """

    name: str
    created: str
    progress: int = 3
    cost: str | None = None
    own_cost: str | None = None
    is_leaving: bool = False
    controller: ControllerRef = ControllerRef()
    problem: Problem | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Pod":
        metadata = body["metadata"]
        annotations = metadata.get("annotations") or {}
        return cls(
            metadata["name"],
            metadata.get("creationTimestamp", ""),
            _progress(body),
            annotations.get(COST),
            annotations.get(OWN_COST),
            bool(metadata.get("deletionTimestamp")),
            ControllerRef.of(body),
            pod_problem(body),
        )

    @property
    def ordinal(self) -> int:
        """The pod's number in a StatefulSet; -1 elsewhere."""
        number = self.name.rpartition("-")[2]
        return int(number) if number.isdecimal() else -1


def _progress(body: Mapping[str, Any]) -> int:
    status = body.get("status") or {}
    if not (body.get("spec") or {}).get("nodeName"):
        return 0
    if status.get("phase") != "Running":
        return 1
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
    return 3 if conditions.get("Ready") == "True" else 2


def is_final(body: Manifest) -> bool:
    """Whether the API server says that a pod has ended, though the object is still there."""
    return (body.get("status") or {}).get("phase") in FINAL_PHASES


def has_ended(body: Manifest) -> bool:
    """
    Whether a kubelet says that all containers have ended and will not restart.

    A missing object proves nothing, and neither does the phase alone: after a forced deletion, or the loss of a node,
    the API server says that a pod has ended while its processes may go on.
    """
    containers = (body.get("status") or {}).get("containerStatuses") or []
    return is_final(body) and bool(containers) and all("terminated" in (each.get("state") or {}) for each in containers)


def resource_of(body: Manifest) -> Name | None:
    """The resource that the label of a pod names; anyone may write that label."""
    metadata = body["metadata"]
    queue = (metadata.get("labels") or {}).get(QUEUE)
    return Name(metadata["namespace"], queue) if queue else None


def worker_of(resource: Name, pod: str) -> str:
    """The name of the worker in a pod of a resource."""
    return worker_name(Name(resource.namespace, pod))


def compact_pod(body: Manifest) -> Manifest:
    """What the operator reads of a pod: a tenth of the object, which counts where there are ten thousand."""
    metadata, status = body["metadata"], body.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in METADATA if key in metadata},
        "spec": {"nodeName": (body.get("spec") or {}).get("nodeName")},
        "status": {key: status[key] for key in STATUS if key in status},
    }
