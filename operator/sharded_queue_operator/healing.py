"""
Threads that a pod still holds after it is gone are freed at once, instead of when its lease ends.

A name that was never a pod of the workload is left alone, and so is one whose pod exists: a container that started
again has its pod's name, and only the lease tells its incarnations apart.
"""

import asyncio
import logging
from collections.abc import Set

from sharded_queue.coordinator import Coordinator
from sharded_queue_operator import metrics
from sharded_queue_operator.decide import Observation, count
from sharded_queue_operator.dismissal import Coordinate
from sharded_queue_operator.members import Members
from sharded_queue_operator.observe import ANSWER_SECONDS, TROUBLE
from sharded_queue_operator.resource import Name, Resource
from sharded_queue_operator.status import Event
from sharded_queue_operator.workload import Workload

log = logging.getLogger(__name__)

NAMED = 5
"""Threads that an event lists."""


class Healer:
    def __init__(self, members: Members, coordinate: Coordinate) -> None:
        self.members = members
        self.coordinate = coordinate

    async def heal(self, resource: Resource, workload: Workload, seen: Observation) -> list[Event]:
        """Free what gone pods hold; what to tell of it."""
        owners = {hold.owner.partition("/")[0] for state in seen.shards for hold in state.held}
        if owners:
            await self.members.look(resource, workload)
        gone = await self.gone(resource.name, owners, seen.read_at)
        if not gone:
            return []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                freed = await self.freed(await self.coordinate(resource.name), resource, gone)
        except TROUBLE as error:
            log.warning("%s: threads of gone pods wait for their leases: %s", resource.name, error)
            return []
        self.settle(resource.name, gone)
        metrics.freed.labels(*resource.name).inc(len(freed))
        return [event(gone, freed)] if freed else []

    async def gone(self, resource: Name, owners: Set[str], read_at: float) -> set[str]:
        """Pods that hold threads and are gone by the word of the server; those that exist are no suspects any more."""
        suspects = self.members.suspects(resource, owners, read_at)
        there = {name for name in suspects if not await self.members.is_gone(Name(resource.namespace, name))}
        self.settle(resource, there)
        return suspects - there

    async def freed(self, coordinator: Coordinator, resource: Resource, gone: Set[str]) -> list[str]:
        return [
            f"{thread} of {shard.handler}"
            for shard in resource.spec.shards
            for thread in await coordinator.evict(shard, sorted(gone))
        ]

    def settle(self, resource: Name, names: Set[str]) -> None:
        """Once is enough: what a ghost binds afterwards is left to its lease."""
        for name in names:
            self.members.departed.get(resource, {}).pop(name, None)


def event(gone: Set[str], freed: list[str]) -> Event:
    pods = ", ".join(sorted(gone)[:NAMED])
    threads = ", ".join(freed[:NAMED]) + (f" and {len(freed) - NAMED} more" if len(freed) > NAMED else "")
    be = "is" if len(gone) == 1 else "are"
    return Event("Warning", "LeasesFreed", f"{pods} {be} gone; {count(len(freed), 'thread')} freed: {threads}")
