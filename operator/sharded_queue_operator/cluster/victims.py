"""
Who goes when there are to be fewer workers. Pure.

The ReplicaSet takes pods that are not ready first, then those with the lowest deletion cost: victims are chosen in that
order too, so that both choose the same. A StatefulSet takes its highest ordinals, and nothing else.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from sharded_queue_operator.resource.availability import Problem, of_pod

COST = "controller.kubernetes.io/pod-deletion-cost"
VICTIM_COST = "-1000000"
"""Below all that people give. Pods without a cost count as 0, so they need no write to be dearer."""

OWN_COST = "shardedqueue.dev/own-deletion-cost"
"""Annotation of a victim: the cost that its author gave it, to be given back when it stays after all."""

FINAL_PHASES = frozenset({"Succeeded", "Failed"})

Annotations = Mapping[str, str | None]
"""A change of annotations; None removes one."""


class Maker(NamedTuple):
    """The controller that a pod names as its maker."""

    kind: str = ""
    name: str = ""
    uid: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Maker":
        owners = body["metadata"].get("ownerReferences") or []
        return next((cls(each["kind"], each["name"], each["uid"]) for each in owners if each.get("controller")), cls())


class Member(NamedTuple):
    """
    A pod of workers. *progress* tells how far it has come, in the steps of the ReplicaSet: 0 without a node, 1 not
    running, 2 not ready, 3 ready. *cost* and *own_cost* are its annotations.
    """

    name: str
    created: str
    progress: int = 3
    cost: str | None = None
    own_cost: str | None = None
    is_leaving: bool = False
    maker: Maker = Maker()
    problem: Problem | None = None
    """What keeps it from becoming ready."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Member":
        metadata = body["metadata"]
        annotations = metadata.get("annotations") or {}
        return cls(
            metadata["name"],
            metadata.get("creationTimestamp", ""),
            progress(body),
            annotations.get(COST),
            annotations.get(OWN_COST),
            bool(metadata.get("deletionTimestamp")),
            Maker.of(body),
            of_pod(body),
        )

    @property
    def ordinal(self) -> int:
        """Its place in a StatefulSet."""
        number = self.name.rpartition("-")[2]
        return int(number) if number.isdecimal() else -1


def progress(body: Mapping[str, Any]) -> int:
    status = body.get("status") or {}
    if not (body.get("spec") or {}).get("nodeName"):
        return 0
    if status.get("phase") != "Running":
        return 1
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
    return 3 if conditions.get("Ready") == "True" else 2


def victims(
    members: Sequence[Member], loads: Mapping[str, int], replicas: int, dismissed: Set[str] = frozenset()
) -> set[str]:
    """
    The pods that go so that *replicas* stay: those whose workers hold least first, of these the ones that were
    *dismissed* already, then the newest. *loads*: how many threads with requests a pod holds, by its name.
    """
    staying = sorted((m for m in members if not m.is_leaving), key=lambda member: member.created, reverse=True)
    staying.sort(key=lambda member: (member.progress, loads.get(member.name, 0), member.name not in dismissed))
    return {member.name for member in staying[: max(0, len(staying) - replicas)]}


def highest(members: Sequence[Member], replicas: int) -> set[str]:
    """The pods of a StatefulSet that go so that *replicas* stay."""
    pods = sorted(members, key=lambda member: member.ordinal)
    return {member.name for member in pods[replicas:] if not member.is_leaving}


def costs(members: Sequence[Member], going: Set[str]) -> dict[str, Annotations]:
    """The annotations that must change: those of victims, and of pods that once were to be some."""
    staying = [member for member in members if not member.is_leaving]
    low = {m.name: marked(m) for m in staying if m.name in going and m.cost != VICTIM_COST}
    return low | {m.name: given_back(m) for m in staying if m.name not in going and m.cost == VICTIM_COST}


def marked(member: Member) -> Annotations:
    return {COST: VICTIM_COST, OWN_COST: member.cost}


def given_back(member: Member) -> Annotations:
    return {COST: member.own_cost, OWN_COST: None}
