"""
What keeps wanted workers from running. Pure.

A Deployment reports pods that cannot be created, and a rollout that makes no progress. A pod reports a missing node, an
image that cannot be pulled, or a program that exits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sharded_queue.printable import counted
from sharded_queue_operator.resource.conditions import condition

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})

COMPLETE = "NewReplicaSetAvailable"
"""The reason of `Progressing` once a revision has been complete."""

REVISION = "deployment.kubernetes.io/revision"

Manifest = Mapping[str, Any]


class Problem(NamedTuple):
    """Why workers do not run: a word for machines and a sentence for people."""

    reason: str
    message: str


PRECEDENCE = (
    "QuotaExceeded",
    "PodsRefused",
    "ImagePullBackOff",
    "ContainerRefused",
    "CrashLooping",
    "Unschedulable",
    "ProgressDeadlineExceeded",
)
"""If several are true, the first one here is named: it is nearest to the cause."""


def deployment_problem(body: Manifest) -> Problem | None:
    """Why a Deployment cannot create its pods, or why they are not ready in time."""
    status = body.get("status") or {}
    failure, progress = condition(status, "ReplicaFailure"), condition(status, "Progressing")
    if failure.get("status") == "True":
        message = failure.get("message", "")
        return Problem("QuotaExceeded" if "exceeded quota" in message else "PodsRefused", message)
    if progress.get("status") == "False":
        return Problem("ProgressDeadlineExceeded", progress.get("message", ""))
    return None


def is_rolling_out(body: Manifest) -> bool:
    """
    Whether another revision of a Deployment or StatefulSet is on its way. A change of the replicas is none: the
    Deployment controller keeps `NewReplicaSetAvailable` for a revision that was complete once. As kstatus has it:
    github.com/kubernetes-sigs/cli-utils, pkg/kstatus/status/core.go, deploymentConditions and stsConditions.
    """
    status = body.get("status") or {}
    if "updateRevision" in status:
        return _is_set_rolling_out(body["spec"], status)
    progress = condition(status, "Progressing")
    is_complete = not progress or progress.get("reason") == COMPLETE
    return not is_complete or status.get("replicas", 0) > status.get("updatedReplicas", 0)


def _is_set_rolling_out(spec: Manifest, status: Manifest) -> bool:
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return False
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    is_partial = status.get("updatedReplicas", 0) < max(0, status.get("replicas", 0) - partition)
    return is_partial or (not partition and status["updateRevision"] != status.get("currentRevision"))


def revision_of(body: Manifest) -> str:
    """What tells the release of a workload from the ones before it."""
    annotations, status = body["metadata"].get("annotations") or {}, body.get("status") or {}
    return str(annotations.get(REVISION) or status.get("updateRevision") or "")


def pod_problem(body: Manifest) -> Problem | None:
    """What keeps a pod from becoming ready; None if it is ready or still starting."""
    status, name = body.get("status") or {}, body["metadata"]["name"]
    if condition(status, "Ready").get("status") == "True":
        return None
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Problem("Unschedulable", f"pod {name} cannot be scheduled: {scheduled.get('message', '')}")
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((found for each in containers for found in _container_problem(name, each)), None)


def _container_problem(pod: str, container: Manifest) -> Iterator[Problem]:
    where = f"container {container['name']} of pod {pod}"
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE_REASONS:
        # The kubelet's message changes with each try; a status that quoted it would be written each time.
        yield Problem("ImagePullBackOff", f"the image {container.get('image', '')!r} of {where} cannot be pulled")
    elif reason in CONFIG_REASONS:
        yield Problem("ContainerRefused", f"{where} cannot be created: {message or reason}")
    elif container.get("restartCount", 0) and not container.get("ready"):
        yield Problem("CrashLooping", f"{where} was {_restarted(container)}")


def _restarted(container: Manifest) -> str:
    """How often, and how its program last ended, as far as the kubelet tells: it may remove what ended before."""
    ends = ((container.get(state) or {}).get("terminated") or {} for state in ("lastState", "state"))
    code = next((f", last after exit code {end['exitCode']}" for end in ends if end), "")
    return f"restarted {counted(container['restartCount'], 'time')}{code}"


def worst(problems: Sequence[Problem]) -> Problem | None:
    """The problem to name. It depends on the set alone, so that a status does not alternate."""
    return min(problems, key=lambda each: (PRECEDENCE.index(each.reason), each.message), default=None)
