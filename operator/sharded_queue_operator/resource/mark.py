"""
What the operator writes on a user's workload that a resource scales: the name of the resource, and the number of
replicas that the workload had before. Pure.

By the mark, the number is restored when the resource is deleted, also while no operator runs. A label, so that a list
finds it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sharded_queue_operator.resource.deployment import MANAGER, Manifest
from sharded_queue_operator.resource.spec import GROUP
from sharded_queue_operator.resource.workload import Workload

SCALED_BY = f"{GROUP}/scaled-by"
"""Label: the ShardedQueue that scales a workload."""

ORIGINAL = f"{GROUP}/original-replicas"
"""Annotation: the number of replicas before the first change by the operator, and at least 1."""

MOST_REPLICAS = 10_000


class Mark(NamedTuple):
    """The resource that scales a workload, "" where nobody says, and the number that its deletion restores."""

    queue: str
    original: int

    @classmethod
    def of(cls, body: Manifest) -> "Mark | None":
        """The mark of a workload; None where it has none, or none that can be read."""
        metadata = body["metadata"]
        number = (metadata.get("annotations") or {}).get(ORIGINAL, "")
        if not (number.isascii() and number.isdecimal() and len(number) <= len(str(MOST_REPLICAS))):
            return None
        return cls((metadata.get("labels") or {}).get(SCALED_BY, ""), max(1, min(int(number), MOST_REPLICAS)))


def mark(body: Manifest, queue: str) -> Manifest:
    """The patch that marks a workload as scaled by *queue*. A number that is written down already stays."""
    before = Mark.of(body)
    original = before.original if before else max(1, Workload.of(body).wanted)
    return _patch(body, {SCALED_BY: queue}, {ORIGINAL: str(original)})


def unmark(body: Manifest) -> Manifest:
    """The patch that removes the mark, and leaves the replicas."""
    return _patch(body, {SCALED_BY: None}, {ORIGINAL: None})


def restore(body: Manifest) -> Manifest:
    """The patch that removes the mark and restores the number, unless somebody else has set another one since."""
    found, writer = Mark.of(body), Workload.of(body).writer
    if found is None or writer not in {"", MANAGER}:
        return unmark(body)
    return {**unmark(body), "spec": {"replicas": found.original}}


def _patch(body: Manifest, labels: Mapping[str, Any], annotations: Mapping[str, Any]) -> Manifest:
    """Refused when the workload was written after *body* was read."""
    version = body["metadata"]["resourceVersion"]
    return {"metadata": {"resourceVersion": version, "labels": labels, "annotations": annotations}}
