"""
Whether the workers that were asked for can run, and if not, what keeps them from it. Pure.

A Deployment tells of pods that cannot be made and of a roll-out that does not come to its end. A pod tells of a node,
an image or a program that is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})

Manifest = Mapping[str, Any]


class Problem(NamedTuple):
    """Why workers do not run: a word for machines and a sentence for people."""

    reason: str
    message: str


ORDER = (
    "QuotaExceeded",
    "PodsRefused",
    "ImagePullBackOff",
    "ContainerRefused",
    "CrashLooping",
    "Unschedulable",
    "ProgressDeadlineExceeded",
)
"""What is named where several are true: what is nearest to the cause first."""


def of_deployment(body: Manifest) -> Problem | None:
    """What a Deployment says about pods that it cannot make, or that do not become ready in time."""
    conditions = {each["type"]: each for each in (body.get("status") or {}).get("conditions") or []}
    failure, progress = conditions.get("ReplicaFailure", {}), conditions.get("Progressing", {})
    if failure.get("status") == "True":
        message = failure.get("message", "")
        return Problem("QuotaExceeded" if "exceeded quota" in message else "PodsRefused", message)
    if progress.get("status") == "False":
        return Problem("ProgressDeadlineExceeded", progress.get("message", ""))
    return None


def of_pod(body: Manifest) -> Problem | None:
    """What keeps a pod from becoming ready; None for one that is ready, or on its way."""
    status, name = body.get("status") or {}, body["metadata"]["name"]
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    if conditions.get("Ready", {}).get("status") == "True":
        return None
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Problem("Unschedulable", f"pod {name} has no node: {scheduled.get('message', '')}")
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((found for each in containers for found in _of_container(name, each)), None)


def _of_container(pod: str, container: Manifest) -> Iterator[Problem]:
    where = f"container {container['name']} of pod {pod}"
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if reason in IMAGE_REASONS:
        # The kubelet's own message is another one at each try, and a status would follow it.
        yield Problem("ImagePullBackOff", f"the image {container.get('image', '')!r} of {where} cannot be pulled")
    elif reason in CONFIG_REASONS:
        yield Problem("ContainerRefused", f"{where} cannot be created: {message or reason}")
    elif ended and container.get("restartCount", 0) and not container.get("ready"):
        exit_code, times = ended.get("exitCode"), container["restartCount"]
        yield Problem("CrashLooping", f"{where} ended with exit code {exit_code} and was started again {times} times")


def worst(problems: Sequence[Problem]) -> Problem | None:
    """The one to name; always the same of the same ones, so that a status does not alternate."""
    return min(problems, key=lambda each: (ORDER.index(each.reason), each.message), default=None)
