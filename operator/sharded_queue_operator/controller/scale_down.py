"""
Scale-down in the cluster: the cordons, the deletion costs, and how far the replicas may fall at this reading.

`scaling/surplus.py` has the rule. Only a number that a person ordered, by `spec.replicas` or `spec.suspend`, is set
while workers still hold threads; these then have the time of a drain.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

from sharded_queue.printable import counted
from sharded_queue_operator.cluster.pod import Pod, worker_of
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.cluster.victims import costs
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES
from sharded_queue_operator.polling.observer import FindCoordinator
from sharded_queue_operator.resource.conditions import SCALE_DOWN_WAITS, Condition
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.decide import Decision
from sharded_queue_operator.scaling.observation import Observation
from sharded_queue_operator.scaling.surplus import (
    SWAPS,
    Candidate,
    Cordons,
    Plan,
    Removal,
    Stage,
    count_swaps,
    plan_scale_down,
)

log = logging.getLogger(__name__)

CORDON_SECONDS = 15.0
"""Time for the pods to be stopped, beside two poll periods. One that is not stopped by then takes threads again."""

RENEWALS = 3
"""How often a cordon is renewed in its time while its worker is awaited."""

ORDERS = frozenset({"Pinned", "Suspended"})
"""Reasons of decisions that a person made."""

CALM = Condition(SCALE_DOWN_WAITS, "False", "NoneWaits", "no surplus worker has anything left to finish")


class Step(NamedTuple):
    """
    What may be done of a decision now, and the condition that says what waits. *is_prepared*: False just after workers
    were cordoned, as only the next reading says who holds nothing. *is_urgent*: a person waits for that reading.
    """

    decision: Decision
    condition: Condition = CALM
    is_prepared: bool = True
    is_urgent: bool = False


class Placed(NamedTuple):
    """
    Cordons of one workload, and when they were last renewed. *gone*: workers that were let go, perhaps not stopped yet.
    Nothing lifts their cordons, which end by themselves.
    """

    cordons: Cordons = Cordons()
    at: float = float("-inf")
    gone: frozenset[str] = frozenset()


class ScaleDown:
    def __init__(self, pods: PodTracker, find_coordinator: FindCoordinator) -> None:
        self._pods = pods
        self._find_coordinator = find_coordinator
        self._placed: dict[Name, Placed] = {}
        self._unmarked: set[Name] = set()
        """Resources whose pods take no deletion cost from us."""

    async def follow(
        self,
        resource: Resource,
        workload: Workload | None,
        seen: Observation,
        decision: Decision,
        sharers: Sequence[Resource] = (),
    ) -> Step:
        """
        How far *decision* may be carried out now. *sharers*: other resources whose requests the same workers handle;
        *seen* has the holds of these too.
        """
        before = self._in_force(resource)
        if decision.leaves_cordons(seen, len(before.cordons.since)):
            return Step(decision)
        if workload is None or decision.replicas is None or decision.replicas >= workload.wanted:
            await self.uncordon(resource, sharers)
            return Step(decision)
        pods = await self._pods.of(resource, workload)
        is_order = decision.reason in ORDERS
        removal = self._removal(resource, pods, is_order=is_order)
        workers = _candidates(resource, pods, seen)
        read_at = seen.read_at if _is_conclusive(seen) else float("-inf")
        plan = plan_scale_down(
            workers,
            workload.wanted,
            decision.replicas,
            before.cordons,
            read_at,
            removal,
            workload.first_ordinal,
        )
        if is_order:
            return await self._obey(resource, seen, decision, pods, plan, before, sharers)
        if sum(not pod.is_leaving for pod in pods) < min(workload.existing, workload.wanted):
            is_idle = _is_conclusive(seen) and not any(state.held for state in seen.shards)
            return Step(decision) if is_idle else _unnamed(decision, seen)
        return await self._wait(resource, seen, decision, pods, plan, before, sharers, removal)

    async def _wait(
        self,
        resource: Resource,
        seen: Observation,
        decision: Decision,
        pods: Sequence[Pod],
        plan: Plan,
        before: Placed,
        sharers: Sequence[Resource],
        removal: Removal,
    ) -> Step:
        """Lower by the workers that are empty; the others finish what they hold."""
        is_new = bool(plan.surplus - before.cordons.since.keys())
        if not await self._place(resource, plan, before, sharers):
            return Step(replace(decision, replicas=None), _waits(plan, removal))
        is_lower = plan.replicas < seen.replicas
        if is_lower and removal is Removal.CHOSEN and not await self._mark(resource, pods, plan.names(Stage.GONE)):
            self._unmarked.add(resource.name)
            return Step(replace(decision, replicas=None), is_prepared=False)
        if plan.replicas == decision.replicas:
            return Step(decision)
        if is_new and plan.replicas == seen.replicas:
            return Step(replace(decision, replicas=None), is_prepared=False)
        return _partly(decision, seen, plan, removal)

    async def _obey(
        self,
        resource: Resource,
        seen: Observation,
        decision: Decision,
        pods: Sequence[Pod],
        plan: Plan,
        before: Placed,
        sharers: Sequence[Resource],
    ) -> Step:
        """A person's number: the victims are cordoned, and go with the next reading, whatever they hold."""
        since = before.cordons.since
        if plan.surplus - since.keys() and before.cordons.swaps < SWAPS and seen.doubt is None:
            if await self._place(resource, plan, before, sharers):
                return Step(replace(decision, replicas=None), is_prepared=False, is_urgent=True)
        elif any(since.get(name, float("-inf")) > seen.read_at for name in plan.surplus):
            return Step(replace(decision, replicas=None), is_prepared=False, is_urgent=True)
        if self._removal(resource, pods, is_order=True) is Removal.CHOSEN:
            await self._mark(resource, pods, plan.surplus)
        self.forget(resource.name)
        return Step(decision)

    async def _mark(self, resource: Resource, pods: Sequence[Pod], going: Set[str]) -> bool:
        """Have the ReplicaSet choose those that are *going*; whether all costs were set."""
        return await self._pods.set_deletion_costs(resource.name, costs(pods, going))

    def _removal(self, resource: Resource, pods: Sequence[Pod], *, is_order: bool) -> Removal:
        """A Deployment that rolls out spreads its replicas over the old pods and the new ones as it likes."""
        ref = resource.spec.scale_target_ref
        if ref is not None and ref.kind == "StatefulSet":
            return Removal.HIGHEST
        is_rolling = not is_order and len({pod.controller.uid for pod in pods if not pod.is_leaving}) > 1
        return Removal.UNKNOWN if is_rolling or resource.name in self._unmarked else Removal.CHOSEN

    # Cordons

    def _in_force(self, resource: Resource) -> Placed:
        """Cordons that may have ended since do not count."""
        placed = self._placed.get(resource.name, Placed())
        return placed if monotonic() < placed.at + _cordon_seconds(resource) else Placed()

    async def _place(self, resource: Resource, plan: Plan, before: Placed, sharers: Sequence[Resource]) -> bool:
        """Cordon the surplus, and lift the cordons of workers that are wanted again; whether Redis did it."""
        since, surplus = before.cordons.since, plan.surplus
        is_due = monotonic() >= before.at + _cordon_seconds(resource) / RENEWALS
        placed_at = before.at
        if surplus - since.keys() or (surplus and is_due):
            if not await self._cordon(resource, surplus, _cordon_seconds(resource), sharers):
                return False
            placed_at = monotonic()
        await self._cordon(resource, since.keys() - surplus - before.gone, 0, sharers)
        cordons = Cordons({name: since.get(name, placed_at) for name in surplus}, count_swaps(before.cordons, surplus))
        self._placed[resource.name] = Placed(cordons, placed_at, before.gone | plan.names(Stage.GONE))
        return True

    async def uncordon(self, resource: Resource, sharers: Sequence[Resource] = ()) -> None:
        """The replicas stay after all: the workers that were cordoned may take threads again."""
        self._unmarked.discard(resource.name)
        if before := self._placed.pop(resource.name, None):
            await self._cordon(resource, before.cordons.since.keys() - before.gone, 0, sharers)

    async def _cordon(
        self, resource: Resource, names: Set[str], seconds: float, sharers: Sequence[Resource] = ()
    ) -> bool:
        if not names:
            return True
        workers = sorted(worker_of(resource.name, name) for name in names)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for each in (resource, *sharers):
                    coordinator = await self._find_coordinator(each.name)
                    for shard in each.spec.shards:
                        await coordinator.cordon(shard, workers, seconds)
            return True
        except REDIS_FAILURES as error:
            log.warning("%s: its workers cannot be cordoned: %s", resource.name, error)
            return False

    def forget(self, resource: Name) -> None:
        self._placed.pop(resource, None)
        self._unmarked.discard(resource)


def _cordon_seconds(resource: Resource) -> float:
    return CORDON_SECONDS + 2 * resource.spec.scaling.poll_period_seconds


def _is_conclusive(seen: Observation) -> bool:
    """Whether a worker that is not listed as a holder holds nothing."""
    return seen.doubt is None and not seen.unlisted_holds


def _candidates(resource: Resource, pods: Sequence[Pod], seen: Observation) -> list[Candidate]:
    """A worker that bears the bare name of its pod, as workers of earlier versions do, holds threads as well."""
    loads, holds = seen.loads, Counter(hold.worker for state in seen.shards for hold in state.held)

    def candidate(pod: Pod) -> Candidate:
        names = pod.name, worker_of(resource.name, pod.name)
        threads, held = (sum(count[name] for name in names) for count in (loads, holds))
        return Candidate(pod.name, threads, held, pod.progress, pod.created, pod.ordinal)

    return [candidate(pod) for pod in pods if not pod.is_leaving]


def _partly(decision: Decision, seen: Observation, plan: Plan, removal: Removal) -> Step:
    """The part of a decision that can be carried out now."""
    waits = _waits(plan, removal)
    replicas = plan.replicas if plan.replicas != seen.replicas else None
    message = f"{decision.message}; {waits.message}"
    return Step(replace(decision, replicas=replicas, reason="FinishingRequests", message=message), waits)


def _waits(plan: Plan, removal: Removal) -> Condition:
    if removal is Removal.UNKNOWN:
        return _unknown_victims()
    count = len(plan.names(Stage.CORDONED))
    message = f"{counted(count, 'surplus worker')} take no new threads, and go when they have finished what they hold"
    return Condition(SCALE_DOWN_WAITS, "True", "FinishingRequests", message)


def _unnamed(decision: Decision, seen: Observation) -> Step:
    waits = _unknown_victims()
    message = f"{decision.message}; {waits.message}"
    return Step(replace(decision, replicas=None, reason="FinishingRequests", message=message), waits)


def _unknown_victims() -> Condition:
    message = (
        "which pods the workload would remove is not known, as it rolls out or the operator may not list or mark its"
        " pods; its replicas fall when none of its workers holds anything"
    )
    return Condition(SCALE_DOWN_WAITS, "True", "VictimsUnknown", message)
