"""
How a ReplicaSet is told which pods go when there are to be fewer. Pure.

It takes pods that are not ready first, then pods with the lowest deletion cost. `scaling/surplus.py` chooses them, in
the same order. A StatefulSet takes its highest ordinals, whatever their cost.
"""

from collections.abc import Mapping, Sequence, Set

from sharded_queue_operator.cluster.pod import COST, OWN_COST, Pod
from sharded_queue_operator.resource.spec import Resource

VICTIM_COST = "-1000000"
"""Below all costs that people give. Pods without one count as 0, so pods that stay need no write."""

Annotations = Mapping[str, str | None]
"""A change of annotations; None removes one."""


def is_stateful_set(resource: Resource) -> bool:
    ref = resource.spec.scale_target_ref
    return ref is not None and ref.kind == "StatefulSet"


def costs(pods: Sequence[Pod], going: Set[str]) -> dict[str, Annotations]:
    """The annotations that must change: of victims, and of pods that were victims and stay after all."""
    staying = [pod for pod in pods if not pod.is_leaving]
    marked = {pod.name: _marked(pod) for pod in staying if pod.name in going and pod.cost != VICTIM_COST}
    return marked | {pod.name: _unmarked(pod) for pod in staying if pod.name not in going and pod.cost == VICTIM_COST}


def _marked(pod: Pod) -> Annotations:
    return {COST: VICTIM_COST, OWN_COST: pod.cost}


def _unmarked(pod: Pod) -> Annotations:
    return {COST: pod.own_cost, OWN_COST: None}
