"""
Fewer workers, in two steps: those who will go are given no new threads; and when a reading that is younger than that
shows who holds none, the pods are marked for the ReplicaSet and the replicas are lowered. A StatefulSet takes its
highest ordinals and heeds no mark: they are given no new threads, and go.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from time import monotonic
from typing import NamedTuple

from sharded_queue.coordinator import Coordinator
from sharded_queue_operator.cluster.pods import Members, worker_of
from sharded_queue_operator.cluster.victims import Member, costs, highest, victims
from sharded_queue_operator.polling.connection import ANSWER_SECONDS, REDIS_FAILURES
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource
from sharded_queue_operator.resource.workload import Workload
from sharded_queue_operator.scaling.observation import Observation

log = logging.getLogger(__name__)

DISMISSED_SECONDS = 15.0
"""For the pods to be told to stop; a worker that is not, takes threads again after that."""

ROUNDS = 3
"""Workers may take a thread just before they are dismissed; others are chosen then, but not for ever."""

Coordinate = Callable[[Name], Awaitable[Coordinator]]


class Dismissed(NamedTuple):
    """Pods whose workers were given notice, when, and how many choices it took so far."""

    names: frozenset[str] = frozenset()
    at: float = float("-inf")
    rounds: int = 0


class Dismissals:
    def __init__(self, members: Members, coordinate: Coordinate) -> None:
        self.members = members
        self.coordinate = coordinate
        self.dismissed: dict[Name, Dismissed] = {}

    async def may_lower(self, resource: Resource, workload: Workload, seen: Observation, replicas: int) -> bool:
        """Whether to lower the replicas now, the victims being marked; otherwise the next reading will tell."""
        members = await self.members.of(resource, workload)
        before = self.dismissed.get(resource.name, Dismissed())
        going = chosen(resource, members, seen.loads, replicas, before.names)
        if going - before.names and before.rounds < ROUNDS and seen.doubt is None:
            if await self.exchange(resource, before, going):
                return False
        elif before.at > seen.read_at:
            return False
        if not is_ordinal(resource):
            await self.members.mark(resource.name, costs(members, going))
        self.forget(resource.name)
        return True

    async def exchange(self, resource: Resource, before: Dismissed, going: Set[str]) -> bool:
        """Dismiss *going* and recall whom they replace; whether Redis took it."""
        if not await self.tell(resource, going, DISMISSED_SECONDS):
            return False
        await self.tell(resource, before.names - going, 0)
        self.dismissed[resource.name] = Dismissed(frozenset(going), monotonic(), before.rounds + 1)
        return True

    async def recall(self, resource: Resource) -> None:
        """The replicas stay after all: whoever was dismissed for nothing may take threads again."""
        if before := self.dismissed.pop(resource.name, None):
            await self.tell(resource, before.names, 0)

    async def tell(self, resource: Resource, names: Set[str], seconds: float) -> bool:
        if not names:
            return True
        workers = sorted(worker_of(resource.name, name) for name in names)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                coordinator = await self.coordinate(resource.name)
                for shard in resource.spec.shards:
                    await coordinator.cordon(shard, workers, seconds)
            return True
        except REDIS_FAILURES as error:
            log.warning("%s: workers could not be told to take no more threads: %s", resource.name, error)
            return False

    def forget(self, resource: Name) -> None:
        self.dismissed.pop(resource, None)


def chosen(
    resource: Resource, members: Sequence[Member], loads: Mapping[str, int], replicas: int, dismissed: Set[str]
) -> set[str]:
    """
    The pods that go. A worker that bears the bare name of its pod, as those of earlier versions, holds threads as well
    as one that is called as it should be.
    """
    if is_ordinal(resource):
        return highest(members, replicas)
    names = {member.name: (member.name, worker_of(resource.name, member.name)) for member in members}
    held = {name: sum(loads.get(each, 0) for each in called) for name, called in names.items()}
    return victims(members, held, replicas, dismissed)


def is_ordinal(resource: Resource) -> bool:
    ref = resource.spec.scale_target_ref
    return ref is not None and ref.kind == "StatefulSet"
