"""
Who goes when there are to be fewer workers. Pure.

The ReplicaSet takes pods that are not ready first, then those with the lowest deletion cost: victims are chosen in that
order too, so that both choose the same.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

COST = "controller.kubernetes.io/pod-deletion-cost"
VICTIM_COST = -1_000_000
"""Below all that people give. Pods that nobody gave a cost have 0, and need no write to be dearer."""

FINAL_PHASES = frozenset({"Succeeded", "Failed"})


class Member(NamedTuple):
    """
    A worker pod. *progress* tells how far it has come, in the steps of the ReplicaSet: 0 without a node, 1 not running,
    2 not ready, 3 ready.
    """

    name: str
    created: str
    progress: int = 3
    cost: int = 0
    is_leaving: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Member":
        metadata = body["metadata"]
        cost = str((metadata.get("annotations") or {}).get(COST, "0"))
        return cls(
            metadata["name"],
            metadata.get("creationTimestamp", ""),
            progress(body),
            int(cost) if cost.lstrip("-").isdecimal() else 0,
            bool(metadata.get("deletionTimestamp")),
        )


def progress(body: Mapping[str, Any]) -> int:
    status = body.get("status") or {}
    if not (body.get("spec") or {}).get("nodeName"):
        return 0
    if status.get("phase") != "Running":
        return 1
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
    return 3 if conditions.get("Ready") == "True" else 2


def victims(members: Sequence[Member], holders: Set[str], replicas: int, dismissed: Set[str] = frozenset()) -> set[str]:
    """
    The pods that go so that *replicas* stay: idle ones first, of these the ones that were *dismissed* already, then the
    newest.
    """
    staying = sorted((m for m in members if not m.is_leaving), key=lambda member: member.created, reverse=True)
    staying.sort(key=lambda member: (member.progress, member.name in holders, member.name not in dismissed))
    return {member.name for member in staying[: max(0, len(staying) - replicas)]}


def costs(members: Sequence[Member], going: Set[str]) -> dict[str, int]:
    """The deletion costs that must change: those of victims, and of pods that once were to be some."""
    staying = [member for member in members if not member.is_leaving]
    low = {m.name: VICTIM_COST for m in staying if m.name in going and m.cost != VICTIM_COST}
    return low | {m.name: 0 for m in staying if m.name not in going and m.cost == VICTIM_COST}
