"""
Scale-down takes two steps. First cordon the victims: their workers get no new threads. Once a reading taken after that
shows which pods hold no thread, set their deletion cost for the ReplicaSet and lower the replicas.

A StatefulSet takes its highest ordinals, whatever their cost: these are cordoned, and go.
"""

import asyncio
import logging
from collections.abc import Set
from time import monotonic
from typing import NamedTuple

from sharded_queue_operator.cluster.pod import worker_of
from sharded_queue_operator.cluster.pods import PodTracker
from sharded_queue_operator.cluster.victims import choose_victims, costs, is_stateful_set
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES
from sharded_queue_operator.polling.observer import FindCoordinator
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.observation import Observation

log = logging.getLogger(__name__)

CORDON_SECONDS = 15.0
"""Time for the pods to be stopped. A worker that was not stopped by then takes threads again."""

ROUNDS = 3
"""
Choices of victims for one scale-down. A worker may take a thread just before it is cordoned, and then another one is
chosen: a limit ends that.
"""


class Cordoned(NamedTuple):
    """Pods whose workers were cordoned, when, and how many choices it took so far."""

    names: frozenset[str] = frozenset()
    at: float = float("-inf")
    rounds: int = 0


class ScaleDown:
    def __init__(self, pods: PodTracker, find_coordinator: FindCoordinator) -> None:
        self._pods = pods
        self._find_coordinator = find_coordinator
        self._cordoned: dict[Name, Cordoned] = {}

    async def prepare(self, resource: Resource, workload: Workload, seen: Observation, replicas: int) -> bool:
        """Whether the victims are ready and the replicas may be lowered now. If not, ask again at the next reading."""
        pods = await self._pods.of(resource, workload)
        before = self._cordoned.get(resource.name, Cordoned())
        going = choose_victims(resource, pods, seen.loads, replicas, before.names)
        if going - before.names and before.rounds < ROUNDS and seen.doubt is None:
            if await self._replace_victims(resource, before, going):
                return False
        elif before.at > seen.read_at:
            return False
        if not is_stateful_set(resource):
            await self._pods.set_deletion_costs(resource.name, costs(pods, going))
        self.forget(resource.name)
        return True

    async def _replace_victims(self, resource: Resource, before: Cordoned, going: Set[str]) -> bool:
        """Cordon *going* and uncordon the pods that they replace; whether Redis did it."""
        if not await self._cordon(resource, going, CORDON_SECONDS):
            return False
        await self._cordon(resource, before.names - going, 0)
        self._cordoned[resource.name] = Cordoned(frozenset(going), monotonic(), before.rounds + 1)
        return True

    async def uncordon(self, resource: Resource) -> None:
        """The replicas stay after all: the workers that were cordoned may take threads again."""
        if before := self._cordoned.pop(resource.name, None):
            await self._cordon(resource, before.names, 0)

    async def _cordon(self, resource: Resource, names: Set[str], seconds: float) -> bool:
        if not names:
            return True
        workers = sorted(worker_of(resource.name, name) for name in names)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                coordinator = await self._find_coordinator(resource.name)
                for shard in resource.spec.shards:
                    await coordinator.cordon(shard, workers, seconds)
            return True
        except REDIS_FAILURES as error:
            log.warning("%s: its workers cannot be cordoned: %s", resource.name, error)
            return False

    def forget(self, resource: Name) -> None:
        self._cordoned.pop(resource, None)
