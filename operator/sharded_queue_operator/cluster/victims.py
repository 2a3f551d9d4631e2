"""
Which pods go when there are to be fewer workers. Pure.

The ReplicaSet takes pods that are not ready first, then pods with the lowest deletion cost. Victims are chosen in the
same order, so that both choose the same pods. A StatefulSet takes its highest ordinals, whatever their cost.
"""

from collections.abc import Mapping, Sequence, Set

from sharded_queue_operator.cluster.pod import COST, OWN_COST, Pod, worker_of
from sharded_queue_operator.resource.spec import Resource

VICTIM_COST = "-1000000"
"""Below all costs that people give. Pods without one count as 0, so pods that stay need no write."""

Annotations = Mapping[str, str | None]
"""A change of annotations; None removes one."""


def choose_victims(
    resource: Resource, pods: Sequence[Pod], loads: Mapping[str, int], replicas: int, cordoned: Set[str]
) -> set[str]:
    """
    The pods that go so that *replicas* stay. *loads*: how many threads with requests each worker holds, by its name.

    A worker that bears the bare name of its pod, as workers of earlier versions do, holds threads as well.
    """
    if is_stateful_set(resource):
        return highest(pods, replicas)
    held = {pod.name: loads.get(pod.name, 0) + loads.get(worker_of(resource.name, pod.name), 0) for pod in pods}
    return victims(pods, held, replicas, cordoned)


def victims(pods: Sequence[Pod], loads: Mapping[str, int], replicas: int, cordoned: Set[str] = frozenset()) -> set[str]:
    """
    Pods whose workers hold the fewest threads go first, among equals the *cordoned* ones, then the newest. *loads*: how
    many threads with requests a pod holds, by its name.
    """
    staying = sorted((pod for pod in pods if not pod.is_leaving), key=lambda pod: pod.created, reverse=True)
    staying.sort(key=lambda pod: (pod.progress, loads.get(pod.name, 0), pod.name not in cordoned))
    return {pod.name for pod in staying[: max(0, len(staying) - replicas)]}


def highest(pods: Sequence[Pod], replicas: int) -> set[str]:
    """The pods of a StatefulSet that go so that *replicas* stay."""
    ordered = sorted(pods, key=lambda pod: pod.ordinal)
    return {pod.name for pod in ordered[replicas:] if not pod.is_leaving}


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
