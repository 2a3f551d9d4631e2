"""The Deployment or StatefulSet that runs the workers, as the API server has it. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sharded_queue_operator.resource.availability import Problem, deployment_problem, is_rolling_out, revision_of
from sharded_queue_operator.resource.deployment import MANAGER, Manifest, selector_text


class Workload(NamedTuple):
    """*wanted* replicas are those of its spec, *existing* and *ready* ones those of its status."""

    wanted: int
    existing: int
    ready: int
    selector: str
    uid: str = ""
    problem: Problem | None = None
    writer: str = ""
    """The field manager that set the wanted replicas."""
    first_ordinal: int = 0
    """Of a StatefulSet."""
    updated: int = 0
    """Replicas of the newest revision."""
    is_rolling_out: bool = False
    revision: str = ""
    applier: str = ""
    """Another manager that applies the replicas, such as a GitOps tool: it will set its number again."""

    @classmethod
    def of(cls, body: Manifest) -> "Workload":
        spec, status = body["spec"], body.get("status") or {}
        return cls(
            spec.get("replicas", 1),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            selector_text((spec.get("selector") or {}).get("matchLabels") or {}),
            body["metadata"].get("uid", ""),
            deployment_problem(body),
            writer_of(body),
            (spec.get("ordinals") or {}).get("start", 0),
            status.get("updatedReplicas", 0),
            is_rolling_out(body),
            revision_of(body),
            applier_of(body),
        )


def writer_of(body: Mapping[str, Any]) -> str:
    """
    The field manager of `spec.replicas`; of several, one that is not the operator. Empty if the server names none.
    """
    fields = body["metadata"].get("managedFields") or []
    managers = [each.get("manager", "") for each in fields if "f:replicas" in _spec_of(each)]
    return next((manager for manager in managers if manager != MANAGER), MANAGER if managers else "")


def applier_of(body: Mapping[str, Any]) -> str:
    """A manager other than the operator that owns `spec.replicas` by server-side apply; empty if there is none."""
    fields = body["metadata"].get("managedFields") or []
    appliers = [each for each in fields if each.get("operation") == "Apply" and each.get("manager") != MANAGER]
    return next((str(each.get("manager", "")) for each in appliers if "f:replicas" in _spec_of(each)), "")


def _spec_of(managed: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = (managed.get("fieldsV1") or {}).get("f:spec") or {}
    return spec
